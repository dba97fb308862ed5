"""R2, answer consistency: does the solver answer what each sub-question asks?

e_i is what Q'_i asks about, ê_i what A'_i gives a value for. A reply gives a value only where one was found in
it; so an echo of the sub-question, or a refusal, gives none. No sub-questions: 0. After Juneja et al. (EMNLP
2023), reconstructed; ``authors_code`` as their published code computes.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewards.modes import Part
from rewards.text import TextResources, sentences
from rollout.records import Episode, Turn


def answer_consistency(matches: Sequence[bool], cosines: Sequence[float], mode: str) -> list[float]:
    """The value of each sub-question; the part is their sum (paper, authors_code) or their mean (bounded)."""
    if mode == "paper":
        return [float(match) + cosine for match, cosine in zip(matches, cosines, strict=True)]
    if mode == "authors_code":
        return [0.25 * cosine for cosine in cosines]
    return [0.5 * (match + max(0.0, cosine)) for match, cosine in zip(matches, cosines, strict=True)]


def valued_sentence(turn: Turn) -> str:
    """The sentence of the reply that states the answer; empty where there is no answer."""
    if not turn.answer:
        return ""
    found = [part for part in sentences(turn.text) if turn.answer in part]
    return found[-1] if found else ""


def score(episode: Episode, subquestions: Sequence[str], resources: TextResources, mode: str) -> Part:
    """The part and each sub-question's share of it. A repeated sub-question counts once, as first answered,
    in bounded mode."""
    turns = {turn.question: turn for turn in reversed(episode.turns)}
    asked = list(dict.fromkeys(subquestions)) if mode == "bounded" else list(subquestions)
    pairs = [(question, turns.get(question, Turn(question, ""))) for question in asked]
    if not pairs:
        return Part(0.0, [])
    nouns = resources.nouns([*(question for question, _ in pairs), *(valued_sentence(turn) for _, turn in pairs)])
    half = len(pairs)
    matches = [bool(nouns[half + i]) and nouns[i] <= nouns[half + i] for i in range(half)]
    context = ""
    if mode == "authors_code":
        context = " ".join(sentences(episode.problem.question)[:-1]) + " "
    cosines = resources.cosine([context + question for question, _ in pairs], [turn.text for _, turn in pairs])
    values = answer_consistency(matches, cosines, mode)
    if mode != "bounded":
        return Part(sum(values), None)
    shares, owed = [], dict(zip(asked, values, strict=True))
    for question in subquestions:
        shares.append(owed.pop(question, 0.0) / half)
    return Part(sum(values) / half, shares)
