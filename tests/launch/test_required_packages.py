"""A Python that lacks packages is told from the project's in one line, before anything fails for want of one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conf.schema.base import ConfigError
from conf.schema.places import ROOT
from launch import required_packages
from launch.compose import compose
from launch.job import execute
from launch.required_packages import HERE, IN_JOB, JOB_VARIABLE, MODULES, what_is_missing


@pytest.mark.parametrize(("environment", "remedy"), [({}, HERE), ({JOB_VARIABLE: "{}"}, IN_JOB)])
@pytest.mark.parametrize("command", ["train", "submit", "plan"])
def test_a_python_without_the_packages_ends_a_command_in_one_line(command, environment, remedy):
    # -S: without the folder in which packages are installed.
    bare = [sys.executable, "-S", "-m", f"launch.{command}", "seed=1"]
    done = subprocess.run(bare, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    names = ", ".join(MODULES)
    lacks = f"(Python 3.11) lacks {len(MODULES)} of the packages that a run needs: {names}"
    assert done.stderr == f"{sys.executable} {lacks}; {remedy}\n"


def test_a_run_is_refused_where_a_package_is_missing_that_it_would_ask_for_late(monkeypatch, tmp_path, capsys):
    found = required_packages.find_spec
    monkeypatch.setattr(required_packages, "find_spec", lambda name: None if name == "wordllama" else found(name))
    config = compose([f"run_dir={tmp_path}/run"])
    assert execute(config, []) == 2
    assert "lacks 1 of the packages that a run needs: wordllama; " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_older_python_is_named(monkeypatch):
    monkeypatch.setattr(required_packages, "PYTHON", (3, 99))
    assert what_is_missing() == f"{sys.executable} is Python 3.11, and a run needs 3.99; {HERE}"


def test_an_error_of_another_kind_is_shown_whole(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    required_packages.explain_missing()
    sys.excepthook(ConfigError, ConfigError("x"), None)
    sys.excepthook(ImportError, ImportError("no module of mine"), None)
    assert capsys.readouterr().err.splitlines() == [
        "conf.schema.base.ConfigError: x",
        "ImportError: no module of mine",
    ]
