"""R2, answer consistency: does the solver answer what each sub-question asks?

e_i is what Q'_i asks about, ê_i what A'_i gives a value for. A reply gives a value only where one was found in
it; so an echo of the sub-question, or a refusal, gives none. No sub-questions: 0. After Juneja et al. (EMNLP
2023), reconstructed; ``authors_code`` as their published code computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources, sentences, words
from rewards.reward import Part
from rollout.records import Episode, Turn


def answer_consistency(matches: Sequence[bool], cosines: Sequence[float], mode: str) -> list[float]:
    """Return the value of each sub-question; the part is their sum (paper, authors_code) or their mean (bounded)."""
    if mode == "paper":
        return [float(match) + cosine for match, cosine in zip(matches, cosines, strict=True)]
    if mode == "authors_code":
        return [0.25 * cosine for cosine in cosines]
    return [0.5 * (match + max(0.0, cosine)) for match, cosine in zip(matches, cosines, strict=True)]


def valued_sentence(turn: Turn) -> str:
    """Return the sentence of the reply that states the answer; empty where there is no answer."""
    if not turn.answer:
        return ""
    found = [part for part in sentences(turn.text) if turn.answer in part]
    return found[-1] if found else ""


def score(episode: Episode, resources: TextResources, settings: Rewards) -> Part:
    """Return the part and each sub-question's share of it. In bounded mode a repeated sub-question counts once, as
    first answered."""
    entries = consistency_entries(episode, resources, settings)
    if settings.formulas != "bounded":
        return Part(sum(entry.value for entry in entries), [entry.value for entry in entries])
    shares, owed = [], {_key(entry.question): entry.value / len(entries) for entry in entries}
    for question in episode.subquestions:
        shares.append(owed.pop(_key(question), 0.0))
    return Part(sum(shares), shares)


@dataclass(frozen=True)
class Entry:
    """One sub-question's account: nouns asked for and answered, whether they match, cosine, value before the mean."""

    question: str
    reply: str
    asked: frozenset[str]
    answered: frozenset[str]
    match: bool
    cosine: float
    value: float


def _key(question: str) -> tuple[str, ...]:
    return tuple(words(question))


def consistency_entries(episode: Episode, resources: TextResources, settings: Rewards) -> list[Entry]:
    """Return one entry a sub-question, in bounded mode one a distinct sub-question."""
    mode, subquestions = settings.formulas, episode.subquestions
    turns = {_key(turn.question): turn for turn in reversed(episode.turns)}
    distinct = {_key(question): question for question in reversed(subquestions)}
    asked = [q for q in subquestions if distinct.pop(_key(q), None)] if mode == "bounded" else list(subquestions)
    replies = [turns.get(_key(question), Turn(question, "")) for question in asked]
    nouns = resources.nouns([*asked, *(valued_sentence(turn) for turn in replies)])
    wanted, given = nouns[: len(asked)], nouns[len(asked) :]
    matches = [bool(found) and want <= found for want, found in zip(wanted, given, strict=True)]
    context = ""
    if mode == "authors_code":
        context = " ".join(sentences(episode.problem.question)[:-1]) + " "
    cosines = resources.cosine([context + question for question in asked], [turn.text for turn in replies])
    values = answer_consistency(matches, cosines, mode)
    texts = [turn.text for turn in replies]
    return [Entry(*row) for row in zip(asked, texts, wanted, given, matches, cosines, values, strict=True)]
