"""A run's folder belongs to one process at a time."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from conf.schema.base import ConfigError
from trainer.run_folder.lock import held_folder

HOLDER = """
import sys, time
from pathlib import Path
from trainer.run_folder.lock import held_folder
with held_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_that_another_process_holds_is_refused_until_that_is_killed(tmp_path):
    folder = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="another process is at work in") as refused, held_folder(folder):
            pass
        assert str(refused.value).startswith("run_dir: ")
        other.send_signal(signal.SIGKILL)
        with held_folder(folder, 10.0):
            pass


def test_a_folder_whose_logs_cannot_be_written_is_refused_and_an_error_in_the_block_is_not_taken_for_that(tmp_path):
    (tmp_path / "logs").write_text("")
    with pytest.raises(ConfigError, match=r"^run_dir: '.*' cannot be written: "), held_folder(tmp_path):
        pass
    with pytest.raises(PermissionError), held_folder(tmp_path / "run"):
        raise PermissionError("another file")


def test_a_folder_is_let_go_of_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), held_folder(tmp_path):
        _ = 1 / 0
    with held_folder(tmp_path):
        pass
