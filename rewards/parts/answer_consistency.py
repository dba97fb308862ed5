"""R2, answer consistency: does the solver answer what each sub-question asks?

``paper``: e_i is what Q'_i asks about, and ê_i is what A'_i gives a number for; a reply without a number never matches.
After Juneja et al. (EMNLP 2023), reconstructed. ``authors_code`` computes what their published code computes.
``bounded`` looks for an answer of the kind that the sub-question asks for and checks it (``reply_value``); a missing
step of the gold solution counts as a sub-question without an answer. Without sub-questions the part is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from conf.schema.rewards import Rewards
from rewards.leak import shown, stated_in
from rewards.nouns_and_vectors import TextResources, sentences, word_key
from rewards.numbers_in_text import known_values
from rewards.overlap import content
from rewards.parts.gold_steps import gold_steps
from rewards.parts.reply_value import Situation, reply_value
from rewards.reward import Part
from rewards.turns import repeated, turns_of
from rollout.answers.extract import extract
from rollout.episode.parse_decomposition import references
from rollout.records import Episode, Turn
from rollout.turn_answer import kind_of, turn_answer


def answer_consistency(matches: Sequence[bool], cosines: Sequence[float], mode: str) -> list[float]:
    """Return the value of each sub-question in ``paper`` or ``authors_code``; the part is their sum."""
    if mode == "paper":
        return [float(match) + cosine for match, cosine in zip(matches, cosines, strict=True)]
    return [0.25 * cosine for cosine in cosines]


def bounded_consistency(values: Sequence[float], missing: int) -> list[float]:
    """Return what each sub-question adds to the part in ``bounded``: its value divided by the number of sub-questions
    plus the number of ``missing`` steps."""
    return [value / (len(values) + missing) for value in values]


@dataclass(frozen=True)
class Entry:
    """One sub-question with its reply and its value. In bounded mode ``kind`` is the kind of reply asked for. The other
    modes have the nouns asked for and answered, whether they match, and the cosine."""

    question: str
    reply: str
    value: float
    kind: str = ""
    asked: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()
    match: bool = False
    cosine: float = 0.0


def score(episode: Episode, resources: TextResources, settings: Rewards) -> Part:
    """Return the part and each sub-question's share of it. In bounded mode a repeat earns nothing."""
    entries, missing = consistency_entries(episode, resources, settings)
    values = [entry.value for entry in entries]
    if settings.formulas != "bounded":
        return Part(sum(values), values)
    again = repeated(episode)
    paid = iter(bounded_consistency(values, missing))
    shares = [0.0 if index in again else next(paid) for index in range(len(episode.subquestions))]
    return Part(sum(shares), shares)


def consistency_entries(episode: Episode, resources: TextResources, settings: Rewards) -> tuple[list[Entry], int]:
    """Return one entry per sub-question (in bounded mode without repeats), and the number of missing steps."""
    if settings.formulas == "bounded":
        return _bounded_entries(episode)
    mode, asked = settings.formulas, episode.subquestions
    turns = _turns(episode)
    replies = [turns.get(word_key(question), Turn(question, "")) for question in asked]
    kind = episode.problem.answer_type
    nouns = resources.tagged_nouns([*asked, *(valued_sentence(turn, kind) for turn in replies)])
    wanted, given = nouns[: len(asked)], nouns[len(asked) :]
    matches = [bool(found) and want <= found for want, found in zip(wanted, given, strict=True)]
    context = " ".join(sentences(episode.problem.question)[:-1]) + " " if mode == "authors_code" else ""
    cosines = resources.cosine([context + question for question in asked], [turn.text for turn in replies])
    values = answer_consistency(matches, cosines, mode)
    texts = [turn.text for turn in replies]
    rows = zip(asked, texts, values, [""] * len(asked), wanted, given, matches, cosines, strict=True)
    return [Entry(*row) for row in rows], 0


def _bounded_entries(episode: Episode) -> tuple[list[Entry], int]:
    """Read the replies in order: the values in a reply are known to the replies after it."""
    problem, again = episode.problem, repeated(episode)
    gold, words_of_problem = gold_steps(problem), content(shown(problem))
    stated = stated_in(problem)
    known, replied, entries = stated, frozenset[Decimal](), []
    for index, (question, turn) in enumerate(zip(episode.subquestions, turns_of(episode), strict=True)):
        if index in again:
            continue
        reply, asked = (turn.text, turn.asked or question) if turn else ("", question)
        kind, last = kind_of(question, problem.answer_type), index == len(episode.subquestions) - 1
        at = Situation(kind, asked, words_of_problem, known, replied, gold.gold(question, last=last))
        ahead = any(number > index for number in references(question, episode.numbers))
        entries.append(Entry(question, reply, 0.0 if ahead else reply_value(reply, at), kind))
        said = known_values(reply)
        known, replied = known | said, replied | (said - stated)
    return entries, gold.missing(episode, [entry.question for entry in entries]) if entries else 0


def valued_sentence(turn: Turn, answer_type: str) -> str:
    """Return the sentence of the reply that states its number; empty if there is none. If the record gives an answer
    other than the one read from the reply by its kind, that answer is taken as the number."""
    own = turn.answer is not None and turn.answer != turn_answer(turn, answer_type)
    answer = turn.answer if own else extract(turn.text, "number").answer
    found = [part for part in sentences(turn.text) if answer and answer in part]
    return found[-1] if found else ""


def _turns(episode: Episode) -> dict[tuple[str, ...], Turn]:
    """Return the first turn of each distinct sub-question."""
    return {word_key(turn.question): turn for turn in reversed(episode.turns)}
