"""Sweeps that go on although a trial ended early or was killed: with a copy elsewhere, in a search, and again."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from pathlib import Path

import pytest
import yaml

import launch.sweep
from conf.schema.base import ConfigError
from launch.sweep import trial_folder
from launch.train import main
from trainer.run_folder.mirror import Mirror

ACCURACY = {"ppo": {"mean": 0.5, "low": 0.4, "high": 0.6}}
SEARCH = ["-m", "hydra/sweeper=optuna", "learner.lr=tag(log, interval(1e-4, 1e-3))", "hydra.sweeper.n_trials=4"]
# The second trial spends its budget before it is evaluated.
SPENDING = """#!{python}
import json, pathlib, sys
folder = pathlib.Path(next(a for a in reversed(sys.argv) if a.startswith("run_dir="))[8:].strip("'"))
number = json.loads((folder / "trial.json").read_text())["number"]
accuracy = {{}} if number == 1 else {accuracy}
summary = {{"status": "finished" if accuracy else "out_of_budget", "seconds": {{}}, "accuracy": accuracy,
           "arguments": sys.argv}}
(folder / "summary.json").write_text(json.dumps(summary))
"""


def summary(status: str, accuracy: object) -> str:
    return json.dumps({"status": status, "steps": 1, "seconds": {}, "accuracy": accuracy})


@pytest.mark.parametrize("letter", ["q", "é", "问", "😀"])
def test_a_trial_of_a_long_value_has_a_folder_of_its_own_whatever_its_letters(tmp_path, letter):
    folders = [trial_folder(tmp_path, [f"x='{letter * 120}{end}'"]) for end in "ab"]
    for folder in folders:
        folder.mkdir()
        (tmp_path / f"{folder.name}-try-1").mkdir()
        assert len(folder.name.encode()) <= 109
    short = letter if letter.isalnum() else "_"
    assert trial_folder(tmp_path, [f"x={letter}"]).name.partition("-")[0] == f"x={short}"


@pytest.fixture
def ran(monkeypatch):
    """Runs that keep a copy as a real one does; the list of their seeds. Those of ``ran.stopped`` are stopped."""

    class Ran(list):
        stopped: tuple[int, ...] = ()

    done = Ran()

    def execute(config, _):
        folder = Path(config.run_dir)
        done.append(config.seed)
        mirror = None if config.mirror is None else Mirror(config.mirror, folder, pytest.fail)
        try:
            if mirror is not None:
                mirror.fetch(resume=config.resume is not None)
        except ConfigError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        with (folder / "metrics.jsonl").open("a") as file:
            file.write("{}\n")
        stopped = config.seed in done.stopped
        (folder / "config.yaml").write_text("seed: 0\n")
        (folder / "summary.json").write_text(summary("interrupted" if stopped else "finished", ACCURACY))
        if mirror is not None:
            mirror.end()
        return 130 if stopped else 0

    monkeypatch.setattr(launch.sweep, "execute", execute)
    monkeypatch.setattr(sys, "argv", ["train"])
    return done


def copied(bucket: Path, text: str = "metrics.jsonl") -> dict[str, str]:
    return {file.parent.name: file.read_text() for file in sorted(bucket.glob(f"*/{text}"))}


def test_a_killed_sweep_with_a_copy_elsewhere_goes_on_with_its_own_command(ran, tmp_path):
    bucket, ran.stopped = tmp_path / "bucket", (1,)
    arguments = ["-m", "seed=0,1", f"mirror=file://{bucket}"]
    assert main([*arguments, f"hydra.sweep.dir={tmp_path}/swept"]) == 130
    ran.stopped = ()
    assert main([*arguments, f"hydra.sweep.dir={tmp_path}/swept"]) == 0
    assert ran == [0, 1, 1]
    assert copied(bucket / "swept") == {"seed=0": "{}\n", "seed=1": "{}\n"}, "begun afresh, in the copy too"
    assert json.loads((bucket / "swept" / "seed=1" / "summary.json").read_text())["status"] == "finished"
    assert main([*arguments, f"hydra.sweep.dir={tmp_path}/second"]) == 0
    assert set(copied(bucket / "second")) == {"seed=0", "seed=1"}


def test_another_sweep_of_the_same_name_does_not_replace_a_copy(ran, tmp_path, capsys):
    bucket = tmp_path / "bucket"
    arguments = ["-m", "seed=1,2", f"mirror=file://{bucket}"]
    assert main([*arguments, f"hydra.sweep.dir={tmp_path}/swept"]) == 0
    before = copied(bucket / "swept", "config.yaml")
    for _ in range(2):
        with pytest.raises(SystemExit):
            main([*arguments, f"hydra.sweep.dir={tmp_path}/other/swept"])
        assert f"mirror: 'file://{bucket}/swept/seed=1' already holds a run" in capsys.readouterr().err
    assert copied(bucket / "swept", "config.yaml") == before


def test_the_copy_of_a_trial_is_found_by_the_key_of_an_own_option(ran, tmp_path):
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    own = {"mirror": f"file://{tmp_path}/bucket/"}
    (tmp_path / "own" / "experiment" / "kept.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(own)}")
    arguments = ["-m", "--config-dir", str(tmp_path / "own"), "experiment=kept", "seed=1,2"]
    assert main([*arguments, f"hydra.sweep.dir={tmp_path}/swept"]) == 0
    assert set(copied(tmp_path / "bucket" / "swept")) == {"seed=1", "seed=2"}


def test_an_earlier_try_is_not_needed_to_number_the_next(ran, tmp_path):
    arguments, ran.stopped = ["-m", "seed=1", f"hydra.sweep.dir={tmp_path}"], (1,)
    for _ in range(3):
        main(arguments)
    shutil.rmtree(tmp_path / "unfinished" / "seed=1-try-1")
    main(arguments)
    assert {path.name for path in (tmp_path / "unfinished").iterdir()} == {"seed=1-try-2", "seed=1-try-3"}
    assert len(ran) == 4


@pytest.mark.parametrize(
    ("status", "accuracy", "said"),
    [("out_of_budget", {}, "not evaluated"), ("nothing_to_learn", {"sft": ACCURACY["ppo"] | {"mean": 0.9}}, "0.900")],
)
def test_a_search_goes_on_after_a_trial_without_the_score_of_its_stages(
    tmp_path, monkeypatch, capsys, status, accuracy, said
):
    ran = []

    def execute(config, _):
        ran.append(config.learner.lr)
        text = summary(status, accuracy) if len(ran) == 2 else summary("finished", ACCURACY)
        (Path(config.run_dir) / "summary.json").write_text(text)
        return 0

    monkeypatch.setattr(launch.sweep, "execute", execute)
    monkeypatch.setattr(sys, "argv", ["train"])
    for _ in range(2):
        assert main([*SEARCH, f"hydra.sweep.dir={tmp_path}"]) == 0
        assert f": counts as 0 in the search ({status}, {said})" in capsys.readouterr().out
        assert len(ran) == 4, "the second time from their folders"
    best = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    assert best["best_value"] == 0.5


def test_a_trial_that_is_refused_does_not_end_those_beside_it(tmp_path, monkeypatch, capsys):
    script = tmp_path / "python"
    slow = SPENDING.replace("summary =", "import time; time.sleep(1); summary =")
    script.write_text(slow.format(python=sys.executable, accuracy=ACCURACY))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(sys, "argv", ["train"])
    prepare = launch.sweep.prepare

    def refusing(sweep, overrides, *others):
        if "seed=2" in overrides:
            raise ConfigError("run_dir: is in use by another process")
        return prepare(sweep, overrides, *others)

    monkeypatch.setattr(launch.sweep, "prepare", refusing)
    given = ["cluster=ray", "hydra/launcher=parallel", f"hydra.sweep.dir={tmp_path}/swept"]
    with pytest.raises(SystemExit):
        main(["-m", "seed=1,2,3", *given])
    assert "seed=2 cluster=ray: refused, run_dir: is in use" in capsys.readouterr().out
    done = {file.parent.name for file in (tmp_path / "swept").glob("*/summary.json")}
    assert done == {"seed=1", "seed=3"}


def test_a_search_side_by_side_goes_on_too_with_own_options_and_a_copy_of_each_trial(tmp_path, monkeypatch, capsys):
    script = tmp_path / "python"
    script.write_text(SPENDING.format(python=sys.executable, accuracy=ACCURACY))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text("# @package _global_\nmirror: file:///bucket\n")
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(sys, "argv", ["train"])
    own = ["--config-dir", str(tmp_path / "own"), "experiment=mine", "cluster=ray", "hydra/launcher=parallel"]
    for _ in range(2):
        assert main([*SEARCH, *own, f"hydra.sweep.dir={tmp_path}/swept"]) == 0
        shown = capsys.readouterr().out
        assert shown.count(": counts as 0 in the search (out_of_budget, not evaluated)") == 1
    assert "found finished, not evaluated" in shown
    trials = [json.loads(file.read_text()) for file in (tmp_path / "swept").glob("*/summary.json")]
    assert ["file:///bucket/swept" in str(trial["arguments"]) for trial in trials] == [True] * 4
