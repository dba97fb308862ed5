"""Weights from the learner's GPUs to those of the rollout workers, by vLLM's own weight transfer: over NCCL between
GPUs, or through the memory of the GPU that a learner rank and a rollout worker share (CUDA IPC).

vLLM drives the exchange from the learner's first rank; what is here tells it where the weights come from, and how the
rollout workers are reached. vLLM receives and loads in one: generation stands still for the transfer too, and no
second copy of the weights is made.

Invariant: what vLLM does here ends. The first error of a worker, which may be that it does not answer in time, aborts
the broadcast, in which the first rank would wait for that worker, and is raised when all ranks are through; if that
does not help, the process ends, and is restarted as one that died.

Import it only where there are GPUs: it imports vLLM.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
import torch
from torch import Tensor
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from rollout.engine.weight_update import Entry, Update, bucketed
from trainer.workers.errors import WAIT_KEY, WaitTimeout, WorkerLost, first_line, is_gone

if TYPE_CHECKING:
    from trainer.learner.weight_sender import SendingRank

_LOG = logging.getLogger(__name__)
# A worker ends itself when a step takes too long; only one that does not is told of here, so many seconds later.
LATE_S = 10.0
# Seconds in which a broadcast that was aborted has to return.
ABORT_S = 30.0


class Policy(WeightSource):
    """The learner's policy as vLLM asks for it: metadata, and a pass over the tensors that all ranks make together."""

    def __init__(self, learner: SendingRank, limit: int) -> None:
        self._learner = learner
        self._limit = limit

    def metadata(self) -> list[ParamMeta]:
        """Return names, types and whole shapes; nothing is gathered."""
        return [
            ParamMeta(tensor.name, tensor.parts[0].dtype, tensor.shape) for tensor in self._learner.model.exported()
        ]

    @torch.no_grad()
    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        tensors = self._learner.model.exported()
        for chosen in bucketed([tensor.nbytes for tensor in tensors], self._limit):
            part = [tensors[index] for index in chosen]
            with self._learner.gathered([value for tensor in part for value in tensor.parts]):
                # What ZeRO-3 gathered is gone when the next bucket is, and vLLM may not have sent it by then.
                named = [(tensor.name, tensor.make().clone()) for tensor in part]
            yield from named


@dataclass
class Workers:
    """vLLM's client: its four calls, made to every rollout worker at once, with ``timeout_s`` for each. For NCCL each
    worker's engine has ``tensor_parallel`` ranks of the transfer's group, after the learner's, which is 0; IPC has no
    group (0).

    vLLM is not told of an error, so that the ranks, which gather the weights together, stay together: from then on no
    worker is asked anything, what it broadcasts goes nowhere, and ``watched`` raises the error in the end.
    """

    actors: Sequence[Any]
    tensor_parallel: int
    timeout_s: float
    version: int = 0
    # Has a broadcast return that waits for a worker; None while the group is not made.
    abort: Callable[[], object] | None = None
    error: Exception | None = None
    _watching: bool = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise after the block what a worker raised in it; end this process if the block hangs then.

        While the group is made, what vLLM raises here comes first, unless a worker is gone: the workers wait for this
        rank then, and their errors follow from its own.
        """
        self._watching = True
        try:
            yield
        except Exception:
            if self.error is None or (self.abort is None and not isinstance(self.error, WorkerLost)):
                raise
        finally:
            self._watching = False
        if self.error is not None:
            raise self.error

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Have every worker get ready, or join the group at its own place."""
        if not self.tensor_parallel:
            self._all("init", [init_info] * len(self.actors))
            return
        places = range(1, 1 + len(self.actors) * self.tensor_parallel, self.tensor_parallel)
        self._all("init", [{**init_info, "rank_offset": place} for place in places])

    def start_weight_update(self) -> None:
        """Have every worker stop between two tokens."""
        self._all("start", [None] * len(self.actors))

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Have every worker receive and load what is broadcast meanwhile."""
        self._all("update", [update_info] * len(self.actors))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Have every worker go on with the version."""
        self._all("finish", [self.version] * len(self.actors))

    def _all(self, step: str, arguments: Sequence[Any]) -> None:
        """Have every worker take a step, unless there was an error."""
        if self.error is None:
            try:
                self._ask(step, arguments)
            except Exception as error:  # noqa: BLE001 - raised by ``watched``
                self._fail(error)

    def _ask(self, step: str, arguments: Sequence[Any]) -> None:
        calls = [actor.transfer.remote(step, value) for actor, value in zip(self.actors, arguments, strict=True)]
        pending = {call: f"rollout-{index}" for index, call in enumerate(calls)}
        end = time.monotonic() + self.timeout_s + LATE_S
        while pending:
            ready, _ = ray.wait(list(pending), timeout=max(0.0, end - time.monotonic()))
            if not ready:
                name = next(iter(pending.values()))
                what = f"{name} did not take step {step} of a weight transfer"
                raise WaitTimeout(f"{what} in {self.timeout_s:g} s ({WAIT_KEY})")
            name = pending.pop(ready[0])
            try:
                ray.get(ready[0])
            except Exception as error:
                if not is_gone(error):
                    raise
                raise WorkerLost(f"{name} ended in step {step} of a weight transfer: {first_line(error)}") from None

    def _fail(self, error: Exception) -> None:
        """Have this rank come back from where it waits for a worker."""
        self.error = error
        _LOG.warning("weights are not sent: %s", error)
        last_resort = threading.Timer(ABORT_S, self._end_process)
        last_resort.daemon = True
        last_resort.start()
        if self.abort is not None:
            self.abort()

    def _end_process(self) -> None:
        if self._watching:
            _LOG.critical("%s; this process hangs %g s later, and ends", self.error, ABORT_S)
            os._exit(1)


class Channel:
    """The way from the learner's ranks to all rollout workers; to be made and used on every rank. ``transport``:
    ``nccl``, a group of the first rank and the workers that meets at ``host`` and ``port``, or ``ipc``."""

    def __init__(self, learner: SendingRank, actors: Sequence[Any], transport: str, host: str, port: int) -> None:
        config = learner.config
        limit = int(config.rollout.weights.bucket_mib * 2**20)
        self._learner = learner
        parallel = config.rollout.tensor_parallel_size if transport == "nccl" else 0
        self._client = Workers(actors, parallel, config.controller.wait_timeout_s)
        given: NCCLTrainerInitInfo | IPCTrainerInitInfo
        if transport == "nccl":
            given = NCCLTrainerInitInfo(
                master_address=host,
                master_port=port,
                world_size=1 + len(actors) * parallel,
                rank=learner.rank,
                packed_buffer_size_bytes=limit,
            )
        else:
            # vLLM packs no tensor here that is larger than its one buffer.
            largest = max(tensor.nbytes for tensor in learner.model.exported())
            given = IPCTrainerInitInfo(rank=learner.rank, packed=True, packed_buffer_size_bytes=max(limit, largest))
        source = Policy(learner, limit)
        with self._client.watched():
            self._engine = WeightTransferTrainerFactory.trainer_init(given, client=self._client, source=source)
        self._client.abort = self._abort

    def _abort(self) -> None:
        """Abort vLLM's communicator; what is broadcast from then on goes nowhere."""
        group = getattr(self._engine, "model_update_group", None)
        if group is not None:
            group.destroy()

    def send(self, version: int) -> Update:
        """Have every worker load the policy as ``version``. Raises WorkerLost, WaitTimeout, and what a worker raised;
        the channel is of no more use then."""
        self._client.version = version
        # vLLM packs on streams of its own, which do not wait for the optimiser's.
        torch.cuda.synchronize()
        with self._client.watched():
            self._engine.send_weights()
        tensors = self._learner.model.exported()
        proofs: tuple[Entry, ...] = ()
        if self._learner.config.rollout.weights.verify:
            proofs = tuple(entry for bucket in self._learner.buckets(tensors) for entry in bucket.entries)
        return Update(version, sent=True, proofs=proofs, nbytes=sum(tensor.nbytes for tensor in tensors))

    def close(self) -> None:
        """Leave the group."""
        self._engine.shutdown()
