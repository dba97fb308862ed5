"""Metrics of a batch: what nobody measured is absent, and not 0."""

from __future__ import annotations

from dataclasses import replace

from tests.trainer.samples import scored
from trainer.tracking.metrics_catalogue import CATALOGUE, episode_metrics


def batch(*marks):
    """Scored episodes with these marks of the initial attempt, None where none was made, and of the final answer."""
    items = [scored(number, [0]) for number in range(len(marks))]
    return [
        replace(item, reward=replace(item.reward, correct_initial=first, correct=last))
        for item, (first, last) in zip(items, marks, strict=True)
    ]


def test_a_strategy_without_an_attempt_has_no_accuracy_of_attempts_and_rescues_nothing():
    metrics = episode_metrics(batch((None, 1.0), (None, 0.0)))
    assert metrics["episode/accuracy_final"] == 0.5
    assert not {"episode/accuracy_initial", "episode/rescued", "episode/broken"} & metrics.keys()
    assert metrics.keys() <= CATALOGUE.keys()


def test_attempts_are_compared_with_the_answers_of_their_own_episodes():
    metrics = episode_metrics(batch((0.0, 1.0), (0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))
    shown = ("accuracy_initial", "accuracy_final", "rescued", "broken")
    assert [metrics[f"episode/{name}"] for name in shown] == [0.5, 0.5, 0.25, 0.25]
    # An episode that ended before its attempt, as by a prompt that is too long for the policy, says nothing of one.
    metrics = episode_metrics(batch((0.0, 1.0), (1.0, 1.0), (None, 0.0)))
    assert [metrics[f"episode/{name}"] for name in shown] == [0.5, 2 / 3, 0.5, 0.0]
