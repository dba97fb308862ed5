"""A learner rank and rollout workers as real actors, without GPUs: vLLM's trainer for NCCL, with a broadcast that waits
for its receivers as NCCL's does. Every process imports this module."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import Any

import torch

from rollout.engine.weight_update import Loaded
from rollout.jobs import NotReady
from trainer.learner.weight_sender import SendingRank


class Group:
    """A communicator whose broadcast returns when all have received, or it is aborted."""

    def __init__(self, aborts: bool = True) -> None:
        self.received, self.aborts = threading.Event(), aborts

    def broadcast(self, tensor: torch.Tensor, src: int) -> None:
        assert self.received.wait(60)

    def destroy(self) -> None:
        if self.aborts:
            self.received.set()


def trainer_of(group: Group) -> type:
    """vLLM's trainer with this group, whose endpoint needs no device."""
    from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerWeightTransferEngine

    class Trainer(NCCLTrainerWeightTransferEngine):
        @classmethod
        def trainer_init(cls, given: Any, *, client: Any, source: Any) -> Trainer:
            # vLLM's rank 0 listens there itself.
            socket.create_server((given.master_address, given.master_port)).close()
            engine = cls(client=client, source=source, is_sender=given.is_sender)
            client.init_weight_transfer_engine({"rank_offset": 1})
            engine.model_update_group = group
            return engine

        def _broadcast(self, source: Any, meta: Any) -> None:
            for _, tensor in self._checked_iter(source, meta):
                self.model_update_group.broadcast(tensor, src=0)

    return Trainer


class LossyRank(SendingRank):
    """A learner rank that has nothing but weights."""

    def __init__(self, config: Any, rank: int) -> None:
        super().__init__(config, rank)
        from trainer.learner import gpu_channel
        from trainer.learner.actor_critic import ActorCritic

        gpu_channel.ABORT_S = 20.0
        torch.cuda.synchronize = lambda: None
        self.model, self.version = ActorCritic(config.model.path, torch.float32, None), 1

    def connect(self, host: str, port: int) -> int:
        return os.getpid()

    def open_channel(self, workers: Any, host: str, port: int) -> None:
        from trainer.learner import gpu_channel

        self.group = Group()
        gpu_channel.WeightTransferTrainerFactory = trainer_of(self.group)
        super().open_channel(workers, host, port)

    def send(self) -> Any:
        if not self.holds:
            self.group.received.set()
        return super().send()

    def set(self, version: int, holds: bool) -> None:
        """Say how the next push goes; ``holds``: its broadcast waits."""
        self.version, self.holds = version, holds

    def train_step(self, batch: Any) -> dict[str, float]:
        return {}


class LossyWorker:
    """A rollout worker that hangs in one step of a transfer if it is told to."""

    def __init__(self, hangs: str) -> None:
        import ray

        again = ray.get_runtime_context().was_current_actor_reconstructed
        self.hangs = "" if again else hangs
        self.steps: list[str] = []
        self.version, self.met = 0, False

    async def transfer(self, step: str, argument: Any = None) -> None:
        if not self.met and step not in ("init", "give_up"):
            raise NotReady("new")
        self.met |= step == "init"
        self.steps.append(step)
        if step == self.hangs:
            await asyncio.sleep(600)
        if step == "finish":
            self.version = argument

    async def load_weights(self, update: Any, probe: Any = (), expected: Any = ()) -> Loaded:
        if update.sent:
            return Loaded(self.version)
        buckets = await asyncio.gather(*update.buckets)
        self.version = update.version
        return Loaded(self.version, nbytes=sum(bucket.nbytes for bucket in buckets))

    async def seen(self) -> tuple[int, list[str], int]:
        return os.getpid(), self.steps, self.version
