"""Builds of DeepSpeed's extensions: where they are kept, and what a killed one leaves."""

from __future__ import annotations

import subprocess
import sys

from conf.schema.places import ROOT
from trainer.learner.compiled_extensions import extensions_folder

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
        print("built", flush=True)
        baton.release()
import deepspeed
from deepspeed.accelerator import get_accelerator
deepspeed.ops.__compatible_ops__["spoken"] = True
type(get_accelerator()).create_op_builder = lambda self, name: Builder()
compile_extension("Spoken")
"""


def test_a_killed_build_holds_nobody_up(tmp_path):
    (tmp_path / "spoken").mkdir()
    (tmp_path / "spoken" / "lock").touch()
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        cwd=ROOT, env={"TORCH_EXTENSIONS_DIR": str(tmp_path), "DS_ACCELERATOR": "cpu", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "built" in done.stdout
    assert not (tmp_path / "spoken" / "lock").exists()


def test_extensions_are_kept_where_the_user_says_else_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert extensions_folder() == tmp_path
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert extensions_folder() == tmp_path / "home" / ".cache" / "decomposer_rl" / "extensions"
    (tmp_path / "env").mkdir()
    assert extensions_folder() == tmp_path / "env" / "extensions"
