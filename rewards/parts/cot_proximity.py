"""R4, chain-of-thought proximity: did guidance bring the solver's reasoning closer to the gold reasoning?

c_j = cos(S_j, Ŝ_j) and c0_j = cos(S_j, S0_j) over steps aligned by position: gold S, guided Ŝ, initial S0.
Without a gold solution the part is absent.
After Juneja et al. (EMNLP 2023), reconstructed; ``authors_code`` as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources, steps
from rewards.reward import Part
from rollout.records import Episode


def cot_proximity(guided: Sequence[float], initial: Sequence[float], mode: str) -> float:
    """Return the part from c_j and c0_j, one entry per step: a sum in paper and authors_code, the mean gain clipped to
    [-1, 1] in bounded; 0 without steps."""
    pairs = list(zip(guided, initial, strict=True))
    if not pairs:
        return 0.0
    if mode == "paper":
        return sum(c if c > c0 else -1 - c0 for c, c0 in pairs)
    if mode == "authors_code":
        return sum(0.5 * c0 if c > c0 else -1 - 0.5 * c0 for c, c0 in pairs)
    return max(-1.0, min(1.0, sum(c - c0 for c, c0 in pairs) / len(pairs)))


@dataclass(frozen=True)
class Step:
    """One gold step, its counterparts, and their similarities c_j and c0_j (0 if there is no counterpart)."""

    gold: str
    guided: str
    initial: str
    cosine: float
    cosine_initial: float


def aligned_steps(episode: Episode, resources: TextResources, mode: str) -> list[Step] | None:
    """Return steps aligned by position, as many as the shortest of the three texts has; in bounded mode all gold steps.
    None without a gold solution."""
    if episode.problem.solution is None:
        return None
    gold, guided = steps(episode.problem.solution), steps(episode.final.text)
    initial = steps(episode.initial.text) if episode.initial else []
    count = len(gold) if mode == "bounded" else min(len(gold), len(guided), len(initial))

    def side(other: list[str]) -> tuple[list[str], list[float]]:
        shared = min(count, len(other))
        missing = count - shared
        return other[:shared] + [""] * missing, resources.cosine(gold[:shared], other[:shared]) + [0.0] * missing

    (texts, cosines), (texts0, cosines0) = side(guided), side(initial)
    return [Step(*row) for row in zip(gold[:count], texts, texts0, cosines, cosines0, strict=True)]


def score(episode: Episode, resources: TextResources, settings: Rewards) -> Part:
    """Return the part of one episode."""
    mode = settings.formulas
    found = aligned_steps(episode, resources, mode)
    if found is None:
        return Part(None, None)
    value = cot_proximity([step.cosine for step in found], [step.cosine_initial for step in found], mode)
    return Part(value, None)
