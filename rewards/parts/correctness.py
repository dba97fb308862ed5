"""R5, correctness: is the guided answer the gold answer?

1[ŷ = y] by the rules of ``rollout.answers``; ``authors_code`` compares the extracted strings. With the baseline
``gain`` the initial answer's correctness is subtracted: a rescue pays, and breaking a right answer costs.
"""

from __future__ import annotations

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.reward import Part
from rollout.answers import extract
from rollout.records import Episode


def score(episode: Episode, resources: TextResources, settings: Rewards) -> Part:
    """Return the part of one episode."""

    def correct(answer: str | None) -> float:
        if settings.formulas == "authors_code":
            return float(answer is not None and answer.strip() == episode.problem.answer.strip())
        return extract.score(episode.problem, answer)

    value = correct(episode.final.answer)
    if settings.correctness_baseline == "gain":
        value -= correct(episode.initial.answer if episode.initial else None)
    return Part(value, None)
