"""Tell a part of the kit what to do, and keep its result file, which is rewritten whole with every figure.

A part is a function of a ``Task``. It adds figures as it has them, so that what ends it early leaves those before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from trainer.run_folder.files import read_json, write_json

Value = TypeVar("Value")


class Skipped(Exception):
    """A part, or a case of it, cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Task:
    """The work of one part: its name, the kit's folder of results, a folder for what is not kept, the time at which it
    must be over (``time.time()``), a pretrained model and a folder of data sets, if there are any."""

    part: str
    folder: str
    scratch: str
    deadline: float
    model: str | None = None
    data: str | None = None

    @property
    def file(self) -> Path:
        """The result file."""
        return result_file(Path(self.folder), self.part)

    @property
    def left_s(self) -> float:
        """Seconds until the part must be over."""
        return self.deadline - time.time()

    def add(self, name: str, figures: Any) -> None:
        """Add figures under a name to the result file."""
        found = read_json(self.file)
        found["figures"] = found.get("figures", {}) | {name: figures}
        write_json(self.file, found)

    def note(self, **values: Any) -> None:
        """Set the file's own entries, as its state."""
        write_json(self.file, read_json(self.file) | values)

    def case(self, name: str, function: Callable[..., Any], *arguments: Any, needs_s: float = 0.0) -> None:
        """Add what a function returns, called in a process of its own, under a name; or why there is nothing. A case
        that fails leaves the others, and the part is counted as failed."""
        try:
            if self.left_s < needs_s:
                raise Skipped(f"{self.left_s:.0f} s are left, and {needs_s:g} are needed")
            self.add(name, in_new_process(function, *arguments))
        except Skipped as reason:
            self.add(name, {"skipped": str(reason)})
        except Exception as error:  # noqa: BLE001 - whatever ends a case is its result
            self.add(name, {"failed": first_line(error)})

    def encoded(self) -> str:
        """Return the task as text for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def decoded(cls, text: str) -> Task:
        """Return the task of such a text."""
        return cls(**json.loads(text))


def result_file(folder: Path, part: str) -> Path:
    """Return the path of a part's result file."""
    return folder / f"{part}.json"


def in_new_process(function: Callable[..., Value], *arguments: Any) -> Value:
    """Return what a function returns in a new process, with which its memory on the GPU is free again."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def first_line(error: BaseException) -> str:
    """Return an error's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
