"""The plan says for which models it is, and doubts one for GPUs that is for the shipped models."""

from __future__ import annotations

import pytest

from launch.plan import main

TINY = "that the project ships, so this memory is not that of larger ones: add"


@pytest.mark.parametrize(
    ("arguments", "models", "doubt"),
    [
        (["cluster=node8_7b_full"], "decomposer package:tiny_branched_decomposer, solver package:tiny_branched_solver",
         f"the decomposer and the solver are tiny models {TINY} --model SIZE --solver SIZE ("),
        (["cluster=node8", "--model", "7b"], "decomposer 7b, solver package:tiny_branched_solver",
         f"the solver is a tiny model {TINY} --solver SIZE ("),
        (["cluster=node8", "--model", "7b", "--solver", "14b"], "decomposer 7b, solver 14b", None),
        (["cluster=node8", "--model", "7b", "solver=openai", "solver.model=big"], "decomposer 7b, solver big", None),
        ([], "decomposer package:tiny_branched_decomposer, solver package:tiny_branched_solver", None),
        (["--model", "7b"], "decomposer 7b, solver package:tiny_branched_solver",
         "no role has a GPU here, so the size of the decomposer changes nothing"),
    ],
)  # fmt: skip
def test_the_first_line_says_for_which_models_the_plan_is(arguments, models, doubt, capsys):
    assert main(arguments) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == f"Planned for {models}"
    assert second.startswith(f"warning: {doubt}" if doubt else "The plan")
