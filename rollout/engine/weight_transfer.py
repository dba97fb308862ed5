"""vLLM's own weight transfer as an engine takes part in it, step by step, also where a learner does not end it.

Invariant: from ``start`` on nothing is to be generated until all weights are of one version, which is after ``finish``,
or after an ordinary load of all of them if the learner is gone.
"""

from __future__ import annotations

import time
from typing import Any

import torch


class NotEnded(RuntimeError):
    """A transfer left behind what could not be cleared away."""


class Transfer:
    """The transfer of one engine; its methods are for the engine's thread."""

    def __init__(self) -> None:
        # Since when nothing is to be generated.
        self._held_since: float | None = None
        # Whether an update has begun that neither was finished nor given up.
        self.live = False
        # Whether it waits for the learner, which may be gone.
        self.waits = False
        # Whether vLLM is in an update.
        self._open = False

    def take(self, engine: Any, step: str, argument: Any) -> None:
        """Take one step: ``init``, ``start``, ``update``, ``finish``, or ``give_up``. Raises NotEnded for a transfer
        that was to be given up, and what vLLM raises."""
        if step in ("init", "give_up"):
            self._give_up(engine)
            self.live = False
        if step == "init":
            engine.collective_rpc("shutdown_weight_transfer_engine")
            self._wait(engine, "init_weight_transfer_engine", {"init_info": argument})
        elif step == "start":
            self.live = True
            # What stood still before goes on doing so. From here on it does even if vLLM fails.
            self._held_since = self._held_since or time.perf_counter()
            # vLLM loads on streams of its own, which do not wait for the one that the model ran on.
            engine.collective_rpc(_synchronize)
            self._start(engine)
        elif step == "update":
            try:
                self._wait(engine, "update_weights", {"update_info": argument})
            except BaseException:
                self._open = False  # by vLLM
                raise
        elif step == "finish":
            self._finish(engine)
            self.live = False

    def _give_up(self, engine: Any) -> None:
        """End an update that brings no more weights, if there is one; what is loaded now may be of two versions."""
        if not self.holds:
            return
        try:
            if not self._open:
                # vLLM ended the update when it failed, and left layers waiting for the rest of their weights, in which
                # a later update fails. Only the end of one clears that away.
                self._start(engine)
            self._finish(engine)
        except Exception as error:
            raise NotEnded(f"a weight transfer that was not finished could not be ended: {error}") from error

    def _start(self, engine: Any) -> None:
        engine.collective_rpc("start_weight_update")
        self._open = True

    def _finish(self, engine: Any) -> None:
        engine.collective_rpc("finish_weight_update")
        self._open = False

    @property
    def holds(self) -> bool:
        """Tell whether nothing is to be generated."""
        return self._held_since is not None

    def release(self) -> float:
        """Let generation go on; return since when it has stood still."""
        since, self._held_since = self._held_since, None
        assert since is not None
        return since

    def _wait(self, engine: Any, method: str, arguments: dict[str, Any]) -> None:
        self.waits = True
        try:
            engine.collective_rpc(method, kwargs=arguments)
        finally:
            self.waits = False


def _synchronize(_: Any) -> None:
    """Wait for the device of a vLLM worker."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
