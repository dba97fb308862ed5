"""The total reward of an episode: the weighted, clipped sum of its five parts, less its penalties.

Total = sum over the present parts of weight_k * clip_k(R_k). An absent part is left out, never counted as 0.
A non-finite value raises ValueError: it is an error, not a reward.
"""

from __future__ import annotations

import math
import re

from rewards import answer_consistency, answers, correctness, cot_proximity, entity_coverage, operation_order
from rewards.modes import Part, Reward, RewardSettings
from rewards.text import TextResources
from rollout.records import Episode


def score_episode(episode: Episode, resources: TextResources, settings: RewardSettings) -> Reward:
    """Score one episode. Answers missing from the record are read from the texts first."""
    _fill_answers(episode)
    mode = "bounded" if settings.mode == "outcome" else settings.mode
    subquestions = episode.decomposition.subquestions if episode.decomposition else []
    parts: dict[str, Part] = {
        "entity_coverage": entity_coverage.score(episode, subquestions, resources, mode),
        "answer_consistency": answer_consistency.score(episode, subquestions, resources, mode),
        "operation_order": operation_order.score(episode, mode),
        "cot_proximity": cot_proximity.score(episode, resources, mode),
        "correctness": correctness.score(episode, mode, settings.correctness_baseline),
    }
    penalties = _penalties(episode, subquestions, settings)
    total = -sum(penalties.values())
    by_subquestion = [0.0] * len(subquestions)
    for name, part in parts.items():
        if part.value is None:
            continue
        if not math.isfinite(part.value):
            raise ValueError(f"{name} of problem {episode.problem.id} is {part.value}")
        weight = settings.weights.get(name, 0.0)
        clipped = _clip(part.value, settings.clip.get(name))
        total += weight * clipped
        if part.by_subquestion and clipped == part.value:
            by_subquestion = [
                have + weight * share for have, share in zip(by_subquestion, part.by_subquestion, strict=True)
            ]
    return Reward(
        parts={name: part.value for name, part in parts.items()},
        total=total,
        penalties=penalties,
        by_subquestion=by_subquestion,
        correct=answers.score(episode.problem, episode.final.answer),
        correct_initial=answers.score(episode.problem, episode.initial.answer) if episode.initial else None,
    )


def _clip(value: float, bounds: tuple[float, float] | None) -> float:
    return value if bounds is None else min(max(value, bounds[0]), bounds[1])


def _fill_answers(episode: Episode) -> None:
    kind = episode.problem.answer_type
    for attempt in (episode.initial, episode.final):
        if attempt is not None and attempt.answer is None:
            attempt.answer = answers.extract(attempt.text, kind).answer
    for turn in episode.turns:
        if turn.answer is None:
            turn.answer = answers.extract(turn.text, "number").answer


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def is_copy(subquestion: str, question: str) -> bool:
    """Whether a sub-question only repeats the question or what it asks (its last sentence)."""
    last = re.split(r"(?<=[.?!])\s+", question.strip())[-1]
    return _words(subquestion) in (_words(question), _words(last))


def _penalties(episode: Episode, subquestions: list[str], settings: RewardSettings) -> dict[str, float]:
    """``copy``: charged once if any sub-question repeats the question; ``repeat``: charged once if any repeats an
    earlier one; ``invalid``: charged for a decomposition that could not be used as written."""
    charged: dict[str, float] = {}
    if any(is_copy(text, episode.problem.question) for text in subquestions):
        charged["copy"] = settings.penalty.get("copy", 0.0)
    if len({tuple(_words(text)) for text in subquestions}) < len(subquestions):
        charged["repeat"] = settings.penalty.get("repeat", 0.0)
    if episode.decomposition and episode.decomposition.invalid:
        charged["invalid"] = settings.penalty.get("invalid", 0.0)
    return charged
