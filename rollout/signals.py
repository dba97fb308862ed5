"""Handle the signals that stop a command: Ctrl-C, SIGTERM from a cluster, SIGHUP from a closed terminal.

Invariant: a command that was stopped ends with 128 + the signal's number. Nothing heavy is imported here: a command
installs this before it imports anything else.

Until a command has something to end in order, a signal that comes during an import ends it at once: much of what runs
during an import (a callback of a weak reference, a hook of an abstract class, compiled code) prints and drops whatever
a handler raises. So does one that comes while OmegaConf composes, which restores a half-made node on the way out and
raises an error of its own instead.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_begun = threading.Event()


class Stopped(SystemExit):
    """A signal asked this process to stop. Python exits without a traceback, with status 128 + ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def exit_status(error: BaseException) -> int:
    """Return the exit status of a command that this error stopped."""
    return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)


def stop_commands() -> None:
    """Let signals stop this process if it is one of the project's commands, ``python -m PACKAGE.COMMAND``.

    The package calls this when it is imported, which is before the command and all slow imports.
    """
    if sys.argv[:1] == ["-m"]:
        handle_signals()


def handle_signals() -> None:
    """Let each signal raise Stopped, unless the process was started with it ignored, as nohup ignores SIGHUP."""
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a process that this one has forked
            os._exit(128 + number)
        leave_lost_terminal()
        with suppress(OSError):
            os.write(2, b"stopped\n")
        if not _begun.is_set() and _loses_what_is_raised(frame):
            os._exit(128 + number)
        raise Stopped(number)

    for number in STOPPING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, stop)


def stop_in_order() -> None:
    """Let signals raise Stopped during imports too, from now on: this process has begun what it must end in order."""
    _begun.set()


def ignore_signals() -> None:
    """Ignore signals from now on: this process ends at once, and would only do so less orderly."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _loses_what_is_raised(frame: FrameType | None) -> bool:
    """Return whether a frame, or one that called it, belongs to Python's import system or to OmegaConf."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib") or f"{os.sep}omegaconf{os.sep}" in file:
            return True
        frame = frame.f_back
    return False


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Restore the present handlers after the block; an event loop would leave Python's default handlers behind."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Only collect signals during the block, in the list that the block gets: the work that they ask for is already
    under way, and would be useless if it stopped halfway."""
    held: list[int] = []

    def note(number: int, _: object) -> None:
        held.append(number)
        leave_lost_terminal()

    kept = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in kept}
    try:
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def cancel_on_signals(stopped: Callable[[int], object]) -> None:
    """Have a signal cancel the present asyncio task, once ``stopped`` was told its number."""
    import asyncio

    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None

    def cancel(number: int) -> None:
        stopped(number)
        leave_lost_terminal()
        task.cancel()

    for number in STOPPING:
        if signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, cancel, number)


def leave_lost_terminal() -> None:
    """Discard further output if its terminal was closed, because writing to a closed terminal is an error."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
