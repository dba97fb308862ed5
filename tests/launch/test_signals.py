"""A command can be stopped from its first moment on: one line, 128 + the signal's number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conf.schema.places import ROOT


def _default_handlers() -> None:
    # What starts the tests may have the signals ignored; a terminal has not.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)


def _catches(pid: int, number: int) -> bool:
    """Return whether a process has a handler of this signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = int(next(line for line in lines if line.startswith("SigCgt")).split()[1], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize(
    ("module", "number", "after_s"),
    [
        ("launch.train", signal.SIGINT, 0.0), ("launch.train", signal.SIGTERM, 0.5),
        ("launch.plan", signal.SIGHUP, 0.5),
        ("launch.report", signal.SIGINT, 0.0), ("launch.prepare_data", signal.SIGINT, 0.1),
        ("rewards.score", signal.SIGINT, 0.3),
    ],
)  # fmt: skip
def test_a_signal_in_the_first_seconds_ends_a_command_in_one_line(module, number, after_s, tmp_path):
    status, said = _stopped(module, number, after_s, tmp_path)
    assert (status, said) == (128 + number, "stopped\n")


@pytest.mark.parametrize(("begun", "status"), [(False, 130), (True, 0)])
def test_an_import_that_drops_what_a_handler_raises_cannot_keep_a_command_that_has_begun_nothing(
    begun, status, tmp_path
):
    (tmp_path / "dropping.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept:\n    pass\n"
    )
    code = "from rollout.signals import handle_signals, stop_in_order; handle_signals();"
    code += f"{'stop_in_order();' if begun else ''} import sys; sys.path.append({str(tmp_path)!r}); import dropping"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, preexec_fn=_default_handlers
    )
    assert (done.returncode, done.stderr) == (status, "stopped\n")


def test_more_signals_while_a_followed_job_is_left_alone_say_nothing(tmp_path):
    """Take a second to end with the process, as Ray does."""
    (tmp_path / "follow.py").write_text(
        "import asyncio, atexit, sys, time\n"
        "from types import SimpleNamespace\n"
        "from rollout.signals import handle_signals\n"
        "handle_signals()\n"
        "from launch.submit.__main__ import _follow\n"
        "async def tail(job):\n"
        "    yield 'begun\\n'\n"
        "    await asyncio.sleep(60)\n"
        "atexit.register(time.sleep, 1)\n"
        "client = SimpleNamespace(get_job_info=lambda job: None, tail_job_logs=tail)\n"
        "sys.exit(_follow(client, 'http://head:8265', 'job'))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "follow.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_default_handlers, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    said = process.communicate(timeout=60)[1]
    assert said == "\njob goes on; stop it with: python -m launch.submit --address http://head:8265 --stop job\n"
    assert process.returncode == 130


def _stopped(module: str, number: int, after_s: float, folder: Path) -> tuple[int, str]:
    """Start a command, send it a signal so long after its first moment, and return its status and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--help" if module == "launch.train" else str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_default_handlers,
    )  # fmt: skip
    while not _catches(process.pid, signal.SIGHUP):
        assert process.poll() is None
        time.sleep(0.001)
    time.sleep(after_s)
    if process.poll() is not None:
        pytest.skip("it was done before the signal came")
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def test_a_signal_that_is_ignored_stays_ignored():
    code = (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); from rollout.signals import handle_signals;"
        "handle_signals(); print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_a_stop_while_a_configuration_is_composed_is_not_replaced_by_another_error():
    script = """
import os, signal
from omegaconf import OmegaConf
from rollout.signals import handle_signals
handle_signals()
OmegaConf.register_new_resolver("stop", lambda: os.kill(os.getpid(), signal.SIGTERM))
try:
    OmegaConf.create({"a": "${stop:}"}).a
finally:
    raise AttributeError("what a half-made node says")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGTERM, "stopped\n")
