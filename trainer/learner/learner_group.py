"""The learner's ranks as one: every call goes to all of them, together, and has a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from conf.schema.rules import DIRECT
from rollout.engine.weight_update import Update
from trainer.algorithm.experience import Experience, PackedExperience
from trainer.learner.process_group import NonFiniteLoss
from trainer.run_folder.shared_folder import leave_mark
from trainer.workers.errors import WaitTimeout, WorkerLost, answer, first_line, is_gone, log_tail

# A rank that lost another in the middle of a sum may fail before Ray has noticed that the other is gone.
GRACE_S = 10.0


class LearnerDied(RuntimeError):
    """A rank's process ended; none of the ranks can go on without it."""


class LearnerGroup:
    """Ray actors, one a rank, made by ``start``. Every call raises LearnerDied if a rank's process ends, and
    WaitTimeout if one does not answer in ``timeout_s``. ``anew``: every stage has processes of its own, since under
    ZeRO-3 DeepSpeed holds what an engine shared out for as long as its process lives."""

    def __init__(
        self,
        start: Callable[[], Sequence[Any]],
        workers: Sequence[Any] = (),
        transport: str = "object_store",
        timeout_s: float = 3600.0,
        log_folder: Path = Path(),
        *,
        anew: bool = False,
    ) -> None:
        self._start, self.ranks = start, list(start())
        self._anew, self._loaded = anew, False
        self.timeout_s, self.log_folder = timeout_s, log_folder
        self._workers = list(workers)
        self._direct, self._open = transport in DIRECT, False

    async def connect(self) -> list[int]:
        """Bring the ranks together; return their process ids. Raises FolderNotShared if one does not see the run's
        folder: it would be found at the first checkpoint otherwise."""
        host, port = (await self._all("address"))[0]
        mark = leave_mark(self.log_folder)
        try:
            await self._all("check_folder", str(mark))
        finally:
            mark.unlink(missing_ok=True)
        return list(await self._all("connect", host, port))

    async def restart(self) -> None:
        """End what is left of the ranks and start new ones, which hold no model yet."""
        for rank in self.ranks:
            ray.kill(rank)
        self.ranks = list(self._start())
        self._open = self._loaded = False
        await self.connect()

    async def setup(self, path: str, stage: str) -> None:
        """Load a model folder on every rank for a stage."""
        if self._anew and self._loaded:
            await self.restart()
        self._loaded = True
        await self._all("setup", path, stage)

    async def sft_step(self, rows: Sequence[tuple[str, str]], decay: float) -> dict[str, float]:
        """Take one step of stage 1 at ``decay`` times the learning rate; return the first rank's metrics, which are of
        all."""
        parts = [rows[rank :: len(self.ranks)] for rank in range(len(self.ranks))]
        calls = [rank.sft_step.remote(part, decay) for rank, part in zip(self.ranks, parts, strict=True)]
        return dict((await self._together("sft_step", calls))[0])

    async def use_words(self, rows: Sequence[tuple[str, str]]) -> int:
        """Have the softmax of stage 1 go over the words of these rows alone; return their number. Raises ConfigError
        where the model does not allow it."""
        return int((await self._all("use_words", list(rows)))[0])

    async def sft_loss(self, rows: Sequence[tuple[str, str]]) -> float:
        """Return the mean loss a token of these rows, of which every rank takes its share; nothing is learned."""
        return float((await self._all("sft_loss", list(rows)))[0])

    async def train_step(self, batch: Sequence[Experience | PackedExperience]) -> dict[str, float]:
        """Take one PPO step on a batch, of which every rank takes its share; return metrics of the whole batch."""
        return dict((await self._all("train_step", ray.put(list(batch))))[0])

    async def weights(self, batch: Sequence[Experience | PackedExperience] = ()) -> tuple[Update, Any, Any]:
        """Send the policy on its way; return it with probe sequences of the batch and their log-probabilities.

        With the object store the weights lie there, to be loaded by whoever is given the update; from GPU to GPU every
        rollout worker has loaded them, unless one was lost on the way.
        """
        update = await (self._send() if self._direct else self._gather())
        if not batch:
            return update, [], []
        (rows, expected), *_ = await self._all("probe", list(batch[:8]))
        return update, rows, expected

    async def refill(self) -> Update:
        """Return the whole policy in the object store, for a worker that is back and has no part in the transfer from
        GPU to GPU, which is begun anew with the next push."""
        self._open = False
        return await self._gather(whole=True)

    async def _gather(self, whole: bool = False) -> Update:
        updates: list[Update] = await self._all("gather", whole)
        return updates[0]

    async def _send(self) -> Update:
        """Have every worker load the policy from GPU to GPU. If one is lost, which the pipeline brings back, the others
        get it through the object store, and the way from GPU to GPU is made anew with the next push."""
        try:
            if not self._open:
                await self._end_transfers()
                host, port = (await self._all("free_address"))[0]
                await self._all("open_channel", self._workers, host, port)
                self._open = True
            updates: list[Update] = await self._all("send")
            return updates[0]
        except WorkerLost:  # the pipeline says so, and the first rank's log
            with suppress(WorkerLost):
                await self._end_transfers()
            return await self.refill()

    async def _end_transfers(self) -> None:
        """Have every worker give up what it still expects of a transfer, from a learner that died or with a worker that
        did. Raises WorkerLost, when all have, if one is gone."""
        what, key = "give up a weight transfer", "controller.learner_timeout_s"
        calls = (
            answer(worker.transfer.remote("give_up"), f"rollout-{index}", what, self.timeout_s, self.log_folder, key)
            for index, worker in enumerate(self._workers)
        )
        errors = await asyncio.gather(*calls, return_exceptions=True)
        for index, error in enumerate(errors):
            if isinstance(error, BaseException):
                if not is_gone(error):
                    raise error
                raise WorkerLost(f"rollout-{index} is gone: {first_line(error)}")

    async def checkpoint(self, folder: str) -> None:
        """Write a checkpoint's model and learner into a folder that whoever asks makes complete."""
        await self._all("checkpoint", folder)

    async def restore(self, folder: str) -> None:
        """Go on from a checkpoint, after ``setup``."""
        await self._all("restore", folder)

    async def save(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder."""
        await self._all("save", folder)

    async def _all(self, method: str, *arguments: Any) -> list[Any]:
        return await self._together(method, [getattr(rank, method).remote(*arguments) for rank in self.ranks])

    async def _together(self, method: str, calls: Sequence[Any]) -> list[Any]:
        """Return the results of a call on every rank. Raises the first error, of losses that are not finite on all that
        of a rank which found why, LearnerDied if a process is gone, or WaitTimeout if a rank does not answer."""
        tasks = [asyncio.ensure_future(call) for call in calls]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION, timeout=self.timeout_s)
        if pending and any(task.exception() for task in done):
            await asyncio.wait(pending, timeout=GRACE_S)
        for task in tasks:  # what comes too late to be told is not to be complained about
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        errors = [task.exception() if task.done() else None for task in tasks]
        for rank, error in enumerate(errors):
            if error is not None and is_gone(error):
                raise LearnerDied(f"learner-{rank} ended: {first_line(error)}") from None
        if raised := [error for error in errors if error is not None]:
            raise next(filter(_found_why, raised), raised[0])
        for rank, task in enumerate(tasks):
            if not task.done():
                name = f"learner-{rank}"
                raise WaitTimeout(
                    f"{name} did not answer {method} in {self.timeout_s:g} s (controller.learner_timeout_s); "
                    f"the end of its log:\n{log_tail(self.log_folder, name)}"
                )
        return [task.result() for task in tasks]


def _found_why(error: BaseException) -> bool:
    """Return whether a rank's error names what was not finite there: what broke a sum lies on few of the ranks."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return isinstance(cause, NonFiniteLoss) and bool(cause.found)
