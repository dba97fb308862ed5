"""The study of a small solver that computes, which this machine cannot run: what its commands ask for."""

from __future__ import annotations

import re
import shlex

import pytest

from conf.schema.base import ConfigError
from conf.schema.places import ROOT
from launch.compose import compose

STUDY = (ROOT / "docs" / "studies.md").read_text().partition("## People's problems with a small solver")[2]
COMMANDS = re.findall(
    r"^python -m launch\.((?:sft|gate|train) (?:.*\\\n)*.*)", STUDY.partition("\n## ")[0], re.MULTILINE
)


@pytest.fixture
def overrides(tmp_path):
    """The overrides of a command, over a data set and models that are here."""
    (tmp_path / "gsm8k_socratic").mkdir()
    for name in ("train", "test"):
        (tmp_path / "gsm8k_socratic" / f"{name}.jsonl").write_text("{}\n")

    def of(command):
        command, *words = shlex.split(command.replace("\\\n", " "))
        models = [re.sub(r"(?<=path=|from=)runs/\S+", "package:tiny_solver", word) for word in words]
        stages = {"sft": ["stages=[sft]"], "gate": ["stages=[evaluate]"], "train": []}[command]
        return [*stages, *models, "model.path=package:tiny_decomposer", f"data.root={tmp_path}"]

    return of


def test_the_commands_of_the_study_are_taken_and_train_on_the_same_problems(overrides):
    solver, decomposer, gate, ppo = (compose(overrides(command)) for command in COMMANDS)
    for config in (solver, decomposer, gate, ppo):
        assert (config.data.subquestions, config.data.numeric_subanswers) == ([2, 3], True)
        assert config.data.held_out == ["gsm8k_socratic/test.jsonl"]
        assert {config.policy_dtype, config.learner.dtype, config.solver.dtype} == {"bfloat16"}
    assert [config.model.lora is not None for config in (solver, decomposer, gate, ppo)] == [False, True, True, True]
    assert (solver.model.layers, solver.sft.vocabulary) == (12, "examples")
    assert (solver.sft.role, solver.sft.annotated, solver.sft.direct) == ("solver", True, True)
    assert (decomposer.sft.role, decomposer.sft.annotated) == ("decomposer", False)
    assert [config.solver.calculator for config in (solver, decomposer, gate, ppo)] == [False, True, True, True]
    assert (gate.gate.problems, ppo.stages) == (500, ["ppo", "evaluate"])
    assert solver.strategy == ppo.strategy


def test_the_solver_must_be_given(overrides):
    with pytest.raises(ConfigError, match=r"solver\.path: None is not allowed"):
        compose([text for text in overrides(COMMANDS[1]) if not text.startswith("solver.path=")])
