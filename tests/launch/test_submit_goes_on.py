"""Jobs that go on with a run, and what is looked at before SLURM queues one."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from conf.schema.base import ConfigError
from launch.compose import compose
from launch.submit.__main__ import main
from launch.submit.job_request import DATA_ROOT, STOP_VARIABLE, check_run, go_on_command, prepare, runtime_env
from trainer.run_folder.paths import TYPED_IN
from trainer.run_folder.resume import OVERRIDES, check_resumable

ROW = '{"id": "1", "question": "How many are two and two?", "answer": "4"}\n'
TYPED = ["data=jsonl", "data.train=p.jsonl", "model.path=models/mine", "stages=[ppo]", "evaluation.every=0"]


@pytest.fixture
def typed_at(tmp_path, monkeypatch):
    """A folder with data, a model, and a run that began there with relative paths."""
    monkeypatch.chdir(tmp_path)
    for name in ("models/mine", "run"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "models" / "mine" / "config.json").write_text("{}")
    for folder in (tmp_path, tmp_path / "models"):
        (folder / "p.jsonl").write_text(ROW)
    (tmp_path / "run" / OVERRIDES).write_text(yaml.safe_dump(TYPED))
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(compose(TYPED).model_dump(mode="json")))
    return tmp_path


@pytest.mark.parametrize("given", [[], TYPED], ids=["by its folder alone", "typed again"])
def test_a_run_with_relative_paths_goes_on_as_a_job(typed_at, tmp_path_factory, monkeypatch, given):
    config, sent = prepare([*given, "run_dir=run", "resume=auto"])
    check_run(config)
    check_run(compose(sent))
    # The job runs in a copy of the project, with the folder of the command in its environment.
    monkeypatch.chdir(tmp_path_factory.mktemp("copy"))
    monkeypatch.setenv(TYPED_IN, str(typed_at))
    check_resumable(typed_at / "run", compose(sent))
    monkeypatch.setenv(TYPED_IN, str(Path.cwd()))
    with pytest.raises(ConfigError, match="is not allowed with resume=auto"):
        check_resumable(typed_at / "run", compose(sent))


def test_a_run_that_began_as_a_job_goes_on_with_relative_paths_and_not_with_others(typed_at):
    sent = prepare([*TYPED, "run_dir=other"])[1]
    (typed_at / "run" / "config.yaml").write_text(yaml.safe_dump(compose(sent).model_dump(mode="json")))
    again = [*TYPED, "run_dir=run", "resume=auto"]
    check_resumable(typed_at / "run", compose(again))
    with pytest.raises(ConfigError, match=r"data\.root: 'models' is not allowed with resume=auto"):
        check_resumable(typed_at / "run", compose([*again, "data.root=models"]))
    with pytest.raises(ConfigError, match=r"model\.path: 'owner/name' is not allowed with resume=auto"):
        check_resumable(typed_at / "run", compose([*again, "model.path=owner/name"]))


@pytest.fixture
def sbatch(typed_at, monkeypatch):
    """An sbatch that takes every job."""
    (typed_at / "sbatch").write_text("#!/bin/sh\necho 7\n")
    (typed_at / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{typed_at}{os.pathsep}{os.environ['PATH']}")


def test_a_run_of_the_same_name_in_the_mirror_is_refused_before_slurm_queues_the_job(typed_at, sbatch, capsys):
    copy = typed_at / "bucket" / "new"
    copy.mkdir(parents=True)
    (copy / "config.yaml").write_text("seed: 7\n")
    given = ["--slurm", "--", "run_dir=new", f"mirror=file://{typed_at}/bucket"]
    assert main(given) == 2
    said = f"mirror: 'file://{copy}' already holds a run; allowed: another run_dir, or resume=auto to go on with it\n"
    assert capsys.readouterr().err == said
    assert not (typed_at / "new").exists()
    assert main([*given, "resume=auto"]) == 0
    (copy / "config.yaml").unlink()
    assert main(given) == 0
    assert "resume=auto" in (typed_at / "new" / "logs" / "slurm.sh").read_text(), "queued again, it goes on"


def test_rows_that_are_no_problems_are_refused_before_slurm_queues_the_job(typed_at, sbatch, capsys):
    given = ["--slurm", "--", "data=jsonl", "data.train=p.jsonl", "stages=[ppo]", "evaluation.every=0", "run_dir=new"]
    (typed_at / "p.jsonl").write_text('{"id": "1", "question": "How many?"}\n')
    assert main(given) == 2
    assert capsys.readouterr().err.startswith("data: 1 bad rows")
    assert not (typed_at / "new").exists()
    (typed_at / "p.jsonl").write_text(ROW)
    assert main(given) == 0
    assert capsys.readouterr().out.startswith("submitted 7\n")


def go_on_words(*variables: str) -> list[str]:
    """Return the words of the command that goes on with a job that these variables were typed for."""
    given = argparse.Namespace(env=list(variables), image=None, runtime_env=None)
    job = SimpleNamespace(entrypoint="exec python -m launch.train run_dir=/a/b", runtime_env=runtime_env(given))
    return shlex.split(str(go_on_command(job, "http://head:8265")))


def test_what_was_typed_of_the_variables_that_are_sent_unasked_is_in_the_command_that_goes_on(monkeypatch):
    monkeypatch.setenv(DATA_ROOT, "/here/data")
    assert "--env" not in go_on_words()
    typed = [f"{DATA_ROOT}=/cluster/my data", f"{STOP_VARIABLE}=120", "MY_KEY=secret"]
    words = go_on_words(*typed)
    assert [words[place + 1] for place, word in enumerate(words) if word == "--env"] == [typed[0], "MY_KEY", typed[1]]
