"""A mixture of solvers in the configuration: its solvers have the keys of their backends, and what is wrong is said in
one line with the dotted key."""

from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from conf.schema.solver import WeightedOpenAI, WeightedProgram, WeightedVllm
from launch.compose import compose

SERVED = ["solver=mixture", "solver@solver.mixture.second=openai", "solver.mixture.second.model=m"]
PROGRAM = ["solver=mixture", "solver@solver.mixture.second=program"]


def test_the_solvers_of_a_mixture_are_options_of_the_group_each_with_a_weight():
    config = compose([*SERVED, "solver.mixture.tiny.weight=3", "+solver.mixture.rules={backend: program}"])
    assert {name: (type(one), one.weight) for name, one in config.solvers.items()} == {
        "solver.mixture.tiny": (WeightedVllm, 3.0),
        "solver.mixture.second": (WeightedOpenAI, 1.0),
        "solver.mixture.rules": (WeightedProgram, 1.0),
    }
    assert config.solver_names == config.mixture == ("tiny", "second", "rules")
    assert config.of_solver("tiny").solvers == {"solver": config.solver.mixture["tiny"]}
    alone = compose([])
    assert (alone.solver_names, alone.mixture, alone.of_solver(None)) == ((None,), (), alone)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["solver.mixture.tiny.weight=0"], "solver.mixture.tiny.weight: 0 is not allowed: input should be gr"),
        (["solver.mixture.tiny.weight=-1"], "solver.mixture.tiny.weight: -1 is not allowed: input should be g"),
        (["solver.mixture.tiny.modle=x"], "solver.mixture.tiny.modle: unknown key 'modle'"),
        (["+solver.mixture.tiny.base_url=x"], "solver.mixture.tiny.base_url: unknown key 'base_url' (a key of "
         "solver.mixture.tiny.backend openai"),
        (["+solver.workers=2"], "solver.workers: unknown key 'workers' (a key of solver.backend vllm"),
        (["~solver.mixture.second"], "solver.mixture: "),
        (["+solver.mixture.third={backend: mixture}"], "solver.mixture.third.backend: 'mixture' is not allowed: must "
         "be one of vllm, openai, program, "),
        (["+solver.mixture.a-b={backend: program}"], "solver.mixture: name 'a-b' becomes part of a file's"),
        (["solver@solver.mixture.second=openai"], "solver.mixture.second.model: "),
        (["solver@solver.mixture.second=openia"], "solver: 'openia' is unknown"),
        (["verifier=program", "verifier.backend=mixture"], "verifier.backend: 'mixture' is not allowed: must be one"),
        (["solver@solver.mixture.second=program", "policy.plays=solver", "policy.decomposer=solver", "stages=[ppo]"],
         "configuration: policy.decomposer: 'solver' has the model of the group solver write sub-questions, and "
         "solver.mixture.second.backend 'program' writes none"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_mixture_is_said_in_one_line(overrides, line):
    with pytest.raises(ConfigError) as error:
        compose(["solver=mixture", *overrides])
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["https://me:planted@example.org/v1", "{planted", "'https://a?planted'"])
def test_a_secret_of_a_mixture_is_not_repeated(value):
    with pytest.raises(ConfigError) as error:
        compose([*SERVED, f"solver.mixture.second.base_url={value}"])
    assert "planted" not in str(error.value)
    assert str(error.value).startswith("solver.mixture.second.base_url: ")


def test_a_layout_gives_a_mixture_no_gpus_of_its_own_accord_and_neighbours_are_all_of_it():
    assert [one.gpus for one in compose(["solver=mixture", "cluster=gpu8"]).solvers.values()] == [0, 0]
    crowded = [f"solver.mixture.{name}.{key}" for name in ("tiny", "second") for key in ("gpus=0.1",)]
    with pytest.raises(ConfigError, match="engines that share a GPU take"):
        compose(["solver=mixture", "cluster=gpu1", *crowded])
