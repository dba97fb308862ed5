"""Commands that are refused, in one line and before anything starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conf.schema.places import ROOT
from launch.ask.__main__ import main as ask
from launch.evaluate.__main__ import main as evaluate
from launch.gate.__main__ import main as gate
from launch.train import main
from trainer.tracking.tracker import EPISODES, METRICS
from trainer.workers.scored_episode_json import RECORDED


def test_the_command_says_one_line_and_exits_with_2():
    done = subprocess.run(
        [sys.executable, "-m", "launch.train", "data=nonsense"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "data" in done.stderr


@pytest.mark.parametrize(
    "override", ["data=nonsense", "learner.lr=-1", "rollout.no_such_key=1", "model.path=/no/such/folder"]
)
def test_what_is_refused_is_said_in_one_line_with_status_2(override, capsys):
    assert main([override]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert override.split("=")[0] in said.err


def test_a_machine_without_a_compiler_is_told_so_before_anything_starts(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CXX", "/no/such/c++")
    folder = tmp_path / "run"
    assert main([f"run_dir={folder}"]) == 2
    assert "'/no/such/c++' is not on this machine" in capsys.readouterr().err
    assert not folder.exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["cluster.address=127.0.0.1:9"], "cluster.address: no Ray cluster could be joined at '127.0.0.1:9': nothing "
         "answers there (Connection refused)"),
        (["learner=gpu", "rollout=gpu", "solver.gpus=1"], "GPU: the configuration wants 4 (learner 2 × 1, rollout 1 × "
         "1, solver 1 × 1), this machine has 0"),
    ],
    ids=["nobody there", "no GPUs"],
)  # fmt: skip
def test_what_is_not_there_is_said_in_one_line_before_anything_starts(monkeypatch, tmp_path, capsys, overrides, said):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert main([f"run_dir={tmp_path}/run", *overrides]) == 2
    assert capsys.readouterr().err == f"{said}\n"
    assert not (tmp_path / "run").exists()


def test_a_model_that_a_clusters_node_cannot_read_is_said_in_one_line(tmp_path, capsys):
    """A machine that submits to a cluster need not see the models, so nobody has looked for them before."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "no_such_kind"}')
    assert main([f"run_dir={tmp_path}/run", "cluster=node8", f"model.path={tmp_path}/model"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("model.path or solver.path: a model cannot be read on this machine: ")
    assert "no_such_kind" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_key_that_cannot_be_one_of_wandb_is_refused_where_it_is_needed(monkeypatch, tmp_path, capsys, sweep):
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    folder = f"hydra.sweep.dir={tmp_path}/run" if sweep else f"run_dir={tmp_path}/run"
    assert main([*sweep, "tracking=online", folder]) == 2
    assert capsys.readouterr().err == (
        "tracking.wandb: online, and the key of WANDB_API_KEY has 3 characters, fewer than 40 (it is not shown); copy "
        "the whole key, or tracking=offline\n"
    )
    assert not list(tmp_path.iterdir())


FILES = [METRICS, EPISODES, RECORDED, "summary.json", "learning_curve.png", "report.html"]
MATRIX = [
    "matrix=chained", "matrix.run=package:tiny_decomposer", "~matrix.decomposers.sft", "~matrix.decomposers.ppo",
    "~matrix.solvers.second", "matrix.equal_tokens.self_consistency.decomposer=base",
]  # fmt: skip


@pytest.mark.parametrize("place", ["file", "file/run", "n" * 300], ids=["file", "below a file", "nowhere"])
@pytest.mark.parametrize(
    ("command", "arguments", "key"),
    [
        (main, [], "run_dir"),
        (main, ["resume=auto"], "run_dir"),
        (main, ["-m", "seed=0,1"], "hydra.sweep.dir"),
        (evaluate, MATRIX, "run_dir"),
        (gate, [], "run_dir"),
    ],
    ids=["run", "resumed", "sweep", "matrix", "gate"],
)
def test_a_place_that_can_be_no_folder_is_said_in_one_line(tmp_path, capsys, command, arguments, key, place):
    (tmp_path / "file").write_text("")
    assert command([*arguments, f"{key}={tmp_path}/{place}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{key}: '{tmp_path}/{place}")
    assert "' cannot be " in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, []) for name in ("checkpoints/sft/config.json", "sft/examples.jsonl", *FILES)),
        ("checkpoints/step-10/model.pt", ["resume=auto"]),
        ("checkpoints/ppo/config.json", ["start_from={folder}/checkpoints/ppo"]),
    ],
    ids=str,
)
def test_a_folder_that_holds_what_a_run_would_write_over_is_left_as_it_is(tmp_path, capsys, name, more):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    assert main([f"run_dir={tmp_path}", *(text.format(folder=tmp_path) for text in more)]) == 2
    first = name.partition("/")[0]
    said = f"run_dir: '{tmp_path}' holds '{first}' of something else; allowed: a new or an empty folder\n"
    assert capsys.readouterr().err == said
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_in_the_place_of_the_sweeps_own_folder_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("")
    assert main(["-m", "seed=0,1"]) == 2
    assert capsys.readouterr().err == "hydra.sweep.dir: 'runs' cannot be written: it is a file\n"


def test_a_run_to_ask_that_nobody_can_look_into_is_said_in_one_line(capsys):
    assert ask(["/" + "n" * 300, "How many?"]) == 2
    assert capsys.readouterr().err == f"run_dir: '/{'n' * 300}' cannot be read: File name too long\n"


@pytest.mark.parametrize("key", ["model.path", "start_from", "rollout.replay"])
def test_a_model_or_file_that_nobody_can_look_at_is_said_in_one_line(capsys, key):
    assert main(["stages=[ppo]", f"{key}=/{'n' * 300}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{key}: '/nnn")
    assert "does not exist" in said
    assert len(said.splitlines()) == 1
