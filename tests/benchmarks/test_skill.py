"""The arms of the study of where the skill lives: what each trains and asks, and what the matrix evaluates."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks import skill
from conf.schema.model import shipped
from launch.compose import compose
from launch.evaluate.cells import cells
from launch.evaluate.matrix_table import write

# What the policy plays, and which arm's model is the other one; None: the frozen one that ships.
TRAINED = {
    "decomposer": ("decomposer", None), "solver": ("solver", "start"), "turn_1": ("decomposer", None),
    "turn_2": ("solver", "turn_1"), "turn_3": ("decomposer", "turn_2"), "turn_4": ("solver", "turn_3"),
    "one": ("both", None), "solver_as_many_tokens": ("solver", "start"), "one_as_many_tokens": ("both", None),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Return the study's folder with a model where each arm leaves one."""
    root = tmp_path / "of two words"
    for arm in skill.arms(root, 3):
        model = shipped("tiny_branched_solver" if "turn" in arm or "solver" in arm else "tiny_branched_decomposer")
        shutil.copytree(model, root / arm / "seed=3" / "checkpoints" / ("sft" if arm.endswith("start") else "ppo"))
    return root


def test_each_arm_trains_its_role_against_the_models_that_earlier_ones_made(folder):
    found = {
        arm: compose(["experiment=skill", *overrides, "seed=3", "run_dir=anywhere", "resume=auto"])
        for arm, overrides in skill.arms(folder, 3).items()
    }
    for arm, (plays, other) in TRAINED.items():
        config = found.pop(arm)
        frozen = skill.SOLVER_START if other is None else str(folder / other / "seed=3" / "checkpoints")
        assert config.policy.plays == plays, arm
        assert config.solver.path.removesuffix("/sft").removesuffix("/ppo") == frozen, arm
        assert (config.policy.decomposer == "solver") is (plays == "solver"), arm
    assert {arm: config.stages for arm, config in found.items()} == {"start": ["sft"], "one_start": ["sft"]}


def test_turns_have_as_many_episodes_as_one_arm():
    steps = compose(["experiment=skill"]).algorithm.steps
    assert steps == skill.STEPS
    assert steps == skill.TURNS * (steps // skill.TURNS)


def test_the_matrix_pairs_every_trained_model_with_one_that_it_never_saw(folder):
    arguments = ["matrix=skill", f"matrix.run='{folder}'", "seed=3", "run_dir=anywhere", "stages=[evaluate]"]
    names = {cell.name for cell in cells(compose(arguments), arguments)}
    never_seen = {("tiny", "decomposer"), ("program", "decomposer"), ("solver", "gold"), ("solver", "base")}
    assert {f"branched.{solver}.daslam.{decomposer}" for solver, decomposer in never_seen} <= names
    assert {name for name in names if "monolith" in name} == {
        f"branched.{one}.monolith.none" for one in ("one_start", "one", "one_as_many_tokens")
    }


def test_what_an_arm_was_trained_on_is_added_up_over_its_steps(tmp_path):
    run = tmp_path / "decomposer" / "seed=0"
    run.mkdir(parents=True)
    rows = [
        {"step": step, "tokens/policy": 10.0, "tokens/solver": 40.0, "episode/accuracy_final": step / 10}
        for step in range(1, 9)
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in [{"step": 4, "eval/ppo": 1}, *rows]))
    (row,) = skill.trained_on(tmp_path, [0])
    assert row == {
        "arm": "decomposer", "seed": 0, "steps": 8, "trained_tokens": 80, "solver_tokens": 320,
        "sampled_first": 0.15, "sampled_last": 0.75,
    }  # fmt: skip


def test_a_seeds_cells_are_read_with_their_accuracy_by_steps(tmp_path):
    for seed, right in ((0, 0.0), (3, 1.0)):
        rows = [
            {
                "problem": f"{steps}",
                "correct": right if steps == 5 else 0.5,
                "outcome": "ok",
                "error": None,
                "cost": 0.0,
            }
            | {"steps": steps, "subquestions": 3, "solver_tokens": 40, "solver_prompt_tokens": 9, "policy_tokens": 20}
            for steps in (4, 5)
        ]
        cell = {"data": "branched", "solver": "tiny", "strategy": "daslam", "decomposer": "start", "rows": rows}
        (tmp_path / "matrix" / f"seed={seed}").mkdir(parents=True)
        write(tmp_path / "matrix" / f"seed={seed}", [cell], compose(["matrix=skill", "matrix.run=x"]).matrix)
    first, second = skill.evaluated(tmp_path, [0, 3])
    assert [row["seed"] for row in (first, second)] == [0, 3]
    assert (second["solver"], second["strategy"], second["decomposer"]) == ("tiny", "daslam", "start")
    assert [float(second[name]) for name in ("accuracy", "steps_4", "steps_5")] == [0.75, 0.5, 1.0]
    assert [float(first[name]) for name in ("accuracy", "steps_4", "steps_5")] == [0.25, 0.5, 0.0]
