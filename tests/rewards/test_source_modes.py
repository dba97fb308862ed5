"""``paper`` and ``authors_code`` pay what their sources say, whatever that pays: values of fixed episodes."""

from __future__ import annotations

import pytest

from conf.schema.rewards import PARTS, Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.total import score_episode
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

PIES = Problem(
    "pies",
    "A bakery bakes 12 trays of 8 pies. In the morning it sells 41 pies. How many pies did the bakery sell all day if "
    "it keeps 9?",
    "87",
    solution="It bakes 12 * 8 = 96 pies.\nIt sells 96 - 9 = 87 pies.",
)
SHIPS = Problem(
    "ships",
    "Is the harbour of Rostock older than the one of Bremerhaven?",
    "yes",
    "boolean",
    solution="Rostock got its harbour in the 13th century.\nBremerhaven was founded in 1827.",
)
# name: (problem, sub-questions, replies, initial attempt, final answer)
EPISODES = {
    "honest": (
        PIES,
        ["How many pies does the bakery bake?", "How many pies did the bakery sell?"],
        ["It bakes 12 * 8 = 96 pies.", "The bakery sold 96 - 9 = 87 pies."],
        "12 + 8 = 20 pies.",
        "12 * 8 = 96\n96 - 9 = 87 pies.",
    ),
    "leak and copies": (
        PIES,
        ["As 12 * 8 = 96, how many are 96 - 9?", "How many did it sell?", "How many did it SELL?", PIES.question],
        ["87", "I cannot tell.", "How many did it sell? 5", "5 or 7"],
        "41 pies.",
        "The answer is 41.",
    ),
    "names and verdicts": (
        SHIPS,
        ["When was the harbour of Rostock built?", "Who founded Bremerhaven?", "Is #1 before #2?"],
        ["In the 13th century.", "Johann Smidt founded it in 1827. He was a mayor.", "Yes, 13 is before 1827."],
        "No.",
        "Yes, it is.",
    ),
}
# Of the code before the parts of ``bounded`` were made stricter: the five parts, the total.
VALUES = {
    ("honest", "paper"): (0.600000, 1.332700, 1.000000, -1.629837, 1.000000, 2.302862),
    ("honest", "authors_code"): (0.200000, 0.326679, 2.000000, -1.314919, 1.000000, 2.211760),
    ("leak and copies", "paper"): (1.000000, 0.231047, 0.000000, -1.350145, 0.000000, -0.119098),
    ("leak and copies", "authors_code"): (1.000000, 0.016902, 0.000000, -1.175072, 0.000000, -0.158171),
    ("names and verdicts", "paper"): (1.000000, 0.498207, 1.000000, -1.039846, 1.000000, 2.458361),
    ("names and verdicts", "authors_code"): (1.000000, 0.129203, 1.000000, -1.019923, 0.000000, 1.109280),
}


def episode(name: str) -> Episode:
    problem, plan, replies, initial, final = EPISODES[name]
    turns = [Turn(*pair) for pair in zip(plan, replies, strict=True)]
    return Episode(problem, "daslam", Attempt(initial), Decomposition("\n".join(plan), plan), turns, Attempt(final))


@pytest.fixture(scope="module")
def resources() -> TextResources:
    return TextResources()


@pytest.mark.parametrize(("name", "mode"), VALUES)
def test_the_values_of_the_sources_stay(name, mode, resources):
    reward = score_episode(episode(name), resources, Rewards.for_mode(mode))
    found = [*(reward.parts[part] for part in PARTS), reward.total]
    assert found == pytest.approx(VALUES[name, mode], abs=1e-5)
    assert sum(reward.penalties.values()) == 0
