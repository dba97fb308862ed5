"""R5, correctness: is the guided answer the gold answer?

1[ŷ = y] by the rules of ``rewards.answers``; ``authors_code`` compares the extracted strings. With the baseline
``gain`` the initial answer's correctness is taken off: rescues pay, breaking a right answer costs.
"""

from __future__ import annotations

from rewards.reward import Part
from rollout.answers import extract
from rollout.records import Episode


def score(episode: Episode, mode: str, baseline: str = "none") -> Part:
    """The part of one episode; ``baseline`` is ``none`` or ``gain``."""

    def correct(answer: str | None) -> float:
        if mode == "authors_code":
            return float(answer is not None and answer.strip() == episode.problem.answer.strip())
        return extract.score(episode.problem, answer)

    value = correct(episode.final.answer)
    if baseline == "gain":
        value -= correct(episode.initial.answer if episode.initial else None)
    return Part(value, None)
