"""The plan says for which models it is, and doubts one for GPUs that is for the shipped models."""

from __future__ import annotations

import itertools
import re

import pytest
import yaml

from launch.doctor.__main__ import examine
from launch.plan import main
from trainer.run_folder.resume import OVERRIDES

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


def test_the_plan_and_the_doctor_are_for_what_a_run_goes_on_with(tmp_path, capsys):
    (tmp_path / OVERRIDES).write_text(yaml.safe_dump(["solver=program", "learner.ranks=3"]))
    given = [f"run_dir={tmp_path}", "resume=auto"]
    assert main([*given, "seed=1"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Planned for decomposer package:tiny_branched_decomposer, solver program\n")
    assert re.search(r"learner +│ +3 │", shown)
    (tmp_path / OVERRIDES).write_text(yaml.safe_dump(["learner.ranks=25"]))
    found = {finding.name: finding for finding in itertools.islice(examine(given), 3)}
    assert "algorithm.minibatches times learner.ranks must be at most" in found["configuration"].text
    assert main(given) == 2
