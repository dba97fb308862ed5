"""How a learner rank hands its policy out: gathered in buckets of bounded size, into the object store or over NCCL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import ray
import torch

from conf.schema.config import Config
from rollout.engine.weight_update import Bucket, Update, bucketed, make_bucket
from trainer.learner.actor_critic import ActorCritic, Source
from trainer.learner.process_group import Rank

if TYPE_CHECKING:
    from trainer.learner.nccl_channel import Channel


class SendingRank(Rank):
    """A rank whose ``model`` has weights of a ``version``. What is not said to be of the first rank is to be called on
    every one: ZeRO-3 has all of them gather."""

    model: ActorCritic
    version: int

    def __init__(self, config: Config, rank: int) -> None:
        super().__init__(rank, config.learner.ranks, cuda=config.learner.gpus_per_rank > 0)
        self.config = config
        # What the adapter is merged into on the workers, once it was put into the object store.
        self.base: tuple[Any, ...] | None = None
        self.channel: Channel | None = None

    def buckets(self, sources: Sequence[Source]) -> Iterator[Bucket]:
        """Yield the tensors in buckets, of which one at a time is gathered and held; to be run through on every rank,
        and of use on the first, the others' being empty."""
        settings = self.config.rollout.weights
        for chosen in bucketed([source.nbytes for source in sources], int(settings.bucket_mib * 2**20)):
            part = [sources[index] for index in chosen]
            with self.gathered([value for source in part for value in source.parts]), torch.no_grad():
                named = [(source.name, source.make()) for source in part] if self.rank == 0 else []
                yield make_bucket(named, digests=settings.verify)

    def gather(self, whole: bool = False) -> Update:
        """Put the policy into the object store; to be called on every rank, the first rank's answer counts.

        With an adapter, and unless it is to be ``whole``, only that goes, after the tensors that it changes went once.
        """
        settings = self.config.rollout.weights
        if whole or not (self.model.lora and settings.adapter_only):
            buckets, nbytes = self._put(self.model.sources())
            return Update(self.version, buckets, verify=settings.verify, nbytes=nbytes)
        if self.base is None:
            self.base, _ = self._put(self.model.sources(merge=False))
        sources, scales = self.model.adapters()
        buckets, nbytes = self._put(sources)
        return Update(self.version, buckets, self.base, scales, verify=settings.verify, nbytes=nbytes)

    def _put(self, sources: Sequence[Source]) -> tuple[tuple[Any, ...], int]:
        """Put buckets into the object store; returns references to them, on the first rank, and their bytes."""
        references, nbytes = [], 0
        for bucket in self.buckets(sources):
            if self.rank == 0:
                references.append(ray.put(bucket))
                nbytes += bucket.data.nbytes
        return tuple(references), nbytes

    def open_channel(self, workers: Sequence[Any], host: str, port: int) -> None:
        """Meet the rollout workers for transfers over NCCL; to be called on every rank."""
        from trainer.learner.nccl_channel import Channel

        if self.channel is not None:
            self.channel.close()
        self.channel = Channel(self, workers, host, port)

    def send(self) -> Update:
        """Have every rollout worker load the policy over NCCL; to be called on every rank."""
        assert self.channel is not None
        return self.channel.send(self.version)

    def gathered(self, parameters: Sequence[torch.nn.Parameter]) -> Any:
        """Return a context in which these are whole, which ZeRO-3 has to put together; on every rank."""
        import deepspeed

        return deepspeed.zero.GatheredParameters(list(parameters), enabled=self.config.learner.zero_stage == 3)
