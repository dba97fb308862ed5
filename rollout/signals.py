"""Signals that stop a command: Ctrl-C, SIGTERM of a cluster, SIGHUP of a terminal that was closed.

Invariant: a command that was stopped ends with 128 + the signal's number. Nothing heavy is imported here: a command
installs this before it imports anything else.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(SystemExit):
    """A signal asked this process to stop. Python leaves without a traceback, with 128 + ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def exit_status(error: BaseException) -> int:
    """Return the exit status of a command that was stopped by this."""
    return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)


def stop_commands() -> None:
    """Have a signal stop this process if it is one of the project's commands, ``python -m PACKAGE.COMMAND``; the
    package is imported before the command, and so before all that takes seconds."""
    if sys.argv[:1] == ["-m"]:
        handle_signals()


def handle_signals() -> None:
    """Have a signal raise Stopped, unless whoever started this process has it ignored, as nohup does SIGHUP."""
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a process that this one has forked
            os._exit(128 + number)
        leave_lost_terminal()
        with suppress(OSError):
            os.write(2, b"stopped\n")
        raise Stopped(number)

    for number in STOPPING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, stop)


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Put back the present handlers after the block; an event loop leaves those of Python where it had its own."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """Only note signals for the block, in the list that it gets: what they ask for is being done, and half written it
    would be of no use."""
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


def leave_lost_terminal() -> None:
    """Send what is still said nowhere, if the terminal that it went to was closed: writing there is an error."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
