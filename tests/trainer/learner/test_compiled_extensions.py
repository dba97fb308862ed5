"""Builds of DeepSpeed's extensions: where they are kept, what a killed one leaves, and when none is needed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import psutil
import pytest

from conf.schema.places import ROOT
from trainer.learner import compiled_extensions
from trainer.learner.compiled_extensions import BUILD_VARIABLE, NOTE, _load, extensions_folder, made_from

COMPILE = """
import os, sys
from trainer.learner.compiled_extensions import compile_extension
class Builder:
    NAME = "spoken"
    def load(self):
        import torch.utils.cpp_extension as cpp, pathlib
        from torch.utils.file_baton import FileBaton
        folder = pathlib.Path(os.environ["TORCH_EXTENSIONS_DIR"]) / "spoken"
        folder.mkdir(exist_ok=True)
        baton = FileBaton(str(folder / "lock"))
        if not baton.try_acquire():
            baton.wait()
        # A compiler, as ninja starts it: in a process group of its own.
        import subprocess
        print("built", subprocess.Popen(["sleep", "60"], process_group=0).pid, flush=True)
        if "waits" in sys.argv:
            input()
        baton.release()
import deepspeed
from deepspeed.accelerator import get_accelerator
deepspeed.ops.__compatible_ops__["spoken"] = True
type(get_accelerator()).create_op_builder = lambda self, name: Builder()
compile_extension("Spoken")
"""


def build(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A process that builds, and its compiler, once that is at work."""
    own = {"TORCH_EXTENSIONS_DIR": str(folder), "DS_ACCELERATOR": "cpu", "PATH": "/usr/bin:/bin"}
    builder = subprocess.Popen(
        [sys.executable, "-c", COMPILE, *arguments], cwd=ROOT, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    line = next(line for line in builder.stdout if line.startswith("built"))
    return builder, psutil.Process(int(line.split()[1]))


def test_a_killed_build_holds_nobody_up_and_its_compilers_end_with_the_next(tmp_path):
    lock, foreign = tmp_path / "decomposer_rl" / made_from() / "spoken" / "lock", tmp_path / "other" / "lock"
    foreign.parent.mkdir()
    foreign.touch()
    killed, left = build(tmp_path, "waits")
    killed.kill()
    killed.wait()
    elsewhere = {BUILD_VARIABLE: str(tmp_path / "elsewhere")}
    other = subprocess.Popen(["sleep", "60"], env=os.environ | elsewhere)
    assert (left.is_running(), lock.exists()) == (True, True)
    again, own = build(tmp_path)
    assert again.wait(60) == 0
    left.wait(5)
    assert not lock.exists()
    assert foreign.exists(), "another program compiles there, with the same folder for extensions"
    assert other.poll() is None, "a compiler of another folder is none of its business"
    assert own.is_running()
    for process in (other, own):
        process.kill()
        process.wait(5)


def test_extensions_are_kept_where_the_user_says_else_by_what_they_are_made_from(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    own = extensions_folder()
    assert own == tmp_path / "decomposer_rl" / made_from()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(own))
    assert extensions_folder() == own, "as this process has set it for DeepSpeed"
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = extensions_folder()
    assert found == tmp_path / "home" / ".cache" / "decomposer_rl" / "extensions" / made_from()
    # Another checkout, with an environment of its own or a link to one.
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    assert extensions_folder() == found
    # A home folder that cannot be one.
    (tmp_path / "env").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert extensions_folder() == tmp_path / "env" / "extensions" / made_from()


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Leave no other place for extensions than temporary files, and return this user's folder there."""
    (tmp_path / "file").touch()
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"decomposer_rl-{os.geteuid()}"


def test_with_temporary_files_the_folder_is_this_users_alone(shared):
    for _ in range(2):
        assert extensions_folder() == shared / "extensions" / made_from()
        assert stat.S_IMODE(shared.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("made_by", ["a link", "all may write", "a group may write", "another user"])
def test_nothing_is_loaded_from_a_folder_that_another_user_may_have_filled(made_by, shared, tmp_path, monkeypatch):
    if made_by == "a link":
        (tmp_path / "theirs").mkdir()
        shared.symlink_to(tmp_path / "theirs")
    elif made_by == "another user":
        shared.mkdir(mode=0o700)
        real = Path.lstat
        theirs = SimpleNamespace(st_mode=stat.S_IFDIR | 0o700, st_uid=os.geteuid() + 1)
        monkeypatch.setattr(Path, "lstat", lambda path: theirs if path == shared else real(path))
    else:
        shared.mkdir()
        shared.chmod(0o777 if made_by == "all may write" else 0o770)
    with pytest.raises(PermissionError, match=r"this user alone.*TORCH_EXTENSIONS_DIR=FOLDER"):
        extensions_folder()


@pytest.mark.parametrize("changed", ["torch", "deepspeed", "Python", "processor"])
def test_what_an_extension_is_made_from_names_all_that_it_depends_on(changed, monkeypatch):
    before = made_from()
    assert made_from() == before
    if changed == "Python":
        monkeypatch.setattr(sysconfig, "get_config_var", lambda name: "cpython-312")
    elif changed == "processor":
        monkeypatch.setattr(Path, "read_text", lambda self, **_: "flags\t\t: fpu avx\n")
    else:
        monkeypatch.setattr(compiled_extensions, "version", lambda name: "0" if name == changed else version(name))
    assert made_from() != before


def test_what_was_compiled_from_the_same_is_loaded_and_not_compiled_again(tmp_path, monkeypatch):
    compiled = []

    class Builder:
        NAME = "spoken"
        _loaded_ops: ClassVar[dict[str, object]] = {}

        def load(self):
            compiled.append(self.NAME)
            tmp_path.joinpath("spoken.so").touch()

    monkeypatch.setattr(compiled_extensions, "_imported", lambda name, library: f"{name} of {library.name}")
    _load(Builder(), tmp_path)
    assert (compiled, Builder._loaded_ops) == (["spoken"], {})
    _load(Builder(), tmp_path)
    assert (compiled, Builder._loaded_ops) == (["spoken"], {"spoken": "spoken of spoken.so"})
    # Another version of what it is made from, and a build that was killed.
    tmp_path.joinpath(NOTE).write_text("another torch")
    _load(Builder(), tmp_path)
    tmp_path.joinpath(NOTE).unlink()
    _load(Builder(), tmp_path)
    assert compiled == ["spoken"] * 3
