"""A reward that needs the solver's log-probabilities is refused where nobody tells them, before anything starts."""

from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose
from tests.rollout.fakes import Telling

CHOSEN = "rewards=solver_likelihood"
SERVED = ["solver=openai", "solver.model=m"]


class Tells:
    """A class of a user's own that has the method; nothing of it is called here."""

    log_likelihood = Telling.log_likelihood


class TellsNot:
    """One that has not."""


OWN = "tests.conf.test_solver_likelihood"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (SERVED, "solver.backend 'openai' tells none; allowed with it: 0, or solver.backend vllm, or a class"),
        (["solver=program"], "solver.backend 'program' tells none; allowed with it: 0, or solver.backend vllm"),
        (["solver=own", f"solver.backend={OWN}:TellsNot"], f"solver.backend '{OWN}:TellsNot' tells none; allowed with"),
        (["solver=mixture", "solver@solver.mixture.second=program"], "solver.mixture.second.backend 'program' tells n"),
        (["policy.plays=both", "stages=[ppo]"], "with policy.plays 'both' the policy answers; allowed with it: 0, or"),
        (["policy.plays=solver", "stages=[ppo]"], "with policy.plays 'solver' the policy answers; allowed with it"),
    ],
)
def test_what_tells_no_log_probabilities_is_refused_in_one_line(overrides, line):
    with pytest.raises(ConfigError) as error:
        compose([CHOSEN, *overrides])
    message = str(error.value)
    assert "rewards.weights.solver_likelihood: 0.025 is paid by a frozen solver's log-probabilities, and " in message
    assert line in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["solver=second"],
        ["solver=mixture"],
        ["solver=own", f"solver.backend={OWN}:Tells"],
        # Nothing is measured in an evaluation or a fine-tuning, nor where a weight is 0.
        ["solver=program", "stages=[sft,evaluate]"],
        ["solver=program", "rewards.weights.solver_likelihood=0"],
    ],
)
def test_the_projects_own_engines_and_whoever_has_the_method_are_taken(overrides):
    compose([CHOSEN, *overrides])


@pytest.mark.parametrize("rewards", ["outcome", "bounded"])
def test_the_part_can_be_added_to_other_rewards(rewards):
    weight = "+rewards.weights.solver_likelihood=0.1"
    assert compose([f"rewards={rewards}", weight]).rewards.further_parts == ("solver_likelihood",)
    assert compose([f"rewards={rewards}"]).rewards.further_parts == ()
    with pytest.raises(ConfigError, match="'program' tells none"):
        compose([f"rewards={rewards}", weight, "solver=program"])


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("rewards.likelihood_floor=0", "rewards.likelihood_floor: 0"),
        ("strategy.gold_template=nine", "not allowed: {answer} or {solution} must be in it"),
        ("strategy.gold_template='{answer} {question}'", "unknown field {question}; allowed: {answer}, {solution}"),
        ("+rewards.parts={solver_likelihood: 'operator:add'}", "the name 'solver_likelihood' is not allowed"),
    ],
)
def test_what_is_wrong_in_its_keys_is_said_in_one_line(override, line):
    with pytest.raises(ConfigError) as error:
        compose([CHOSEN, override])
    assert line in str(error.value)
    assert "\n" not in str(error.value)
