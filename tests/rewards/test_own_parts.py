"""Hold a reward part of the user's own to what it may return."""

from __future__ import annotations

import json
import math

import numpy
import pytest

from conf.schema.base import ConfigError
from conf.schema.rewards import RECORDED, Rewards
from launch.compose import compose
from rewards import score
from rewards.nouns_and_vectors import TextResources
from rewards.reward import MEASURES, Part, Reward
from rewards.total import score_episode
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

ASKED = ["How many pens has Ann?", "How many pens has Bob?"]


def scored(monkeypatch: pytest.MonkeyPatch, part: object) -> Reward:
    monkeypatch.setattr("rewards.total.find_part", lambda place, known: lambda *read: part)
    episode = Episode(
        Problem("p", "Ann has 3 pens, Bob has 4 more. How many pens has Bob?", "7"),
        "daslam",
        decomposition=Decomposition("\n".join(ASKED), ASKED),
        turns=[Turn(question, "7") for question in ASKED],
        final=Attempt("7"),
    )
    settings = Rewards.for_mode("bounded").model_copy(update={"parts": {"mine": "a.b:c"}, "weights": {"mine": 1.0}})
    return score_episode(episode, TextResources(), settings)


def test_numbers_of_numpy_are_taken_and_can_be_written(monkeypatch):
    shares = numpy.array([0.5, 0.25], numpy.float32)
    reward = scored(monkeypatch, Part(shares.sum(), shares))
    assert json.loads(json.dumps([reward.parts["mine"], reward.shares["mine"]])) == [0.75, [0.5, 0.25]]
    assert (reward.total, reward.by_subquestion) == (0.75, [0.5, 0.25])


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (Part(math.nan, None), "mine of problem p is nan"),
        (Part(1.0, [0.5]), "mine of problem p has 1 shares for 2 sub-questions"),
        (Part(1.0, [0.5, 0.25, 0.25]), "mine of problem p has 3 shares for 2 sub-questions"),
        (Part(1.0, [1.0, math.nan]), "mine of problem p has a share that is nan"),
        (Part(None, [1.0, math.inf]), "mine of problem p has a share that is inf"),
        (Part("good", None), "mine of problem p is no Part of numbers"),
        (0.5, "mine of problem p is no Part of numbers"),
    ],
)
def test_what_no_reward_can_be_made_of_is_an_error_that_names_the_part(monkeypatch, part, line):
    with pytest.raises(ValueError, match=line):
        scored(monkeypatch, part)


@pytest.mark.parametrize("name", [*RECORDED, "correctness", "two-words"])
def test_a_name_under_which_a_record_holds_something_else_is_refused(name, capsys):
    with pytest.raises(ConfigError, match=f"the name '{name}' is not allowed"):
        compose([f"+rewards.parts={{{name}: 'operator:add'}}"])
    with pytest.raises(SystemExit):
        score.main(["episodes.jsonl", "--parts", f"{name}=operator:add"])
    assert f"the name '{name}' is not allowed" in capsys.readouterr().err
    assert set(RECORDED) > set(MEASURES)
