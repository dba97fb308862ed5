"""The sending of a learner's policy: gathered in buckets of bounded size, into the object store or from GPU to GPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import ray
import torch

from conf.schema.config import Config
from conf.schema.rules import weight_transport
from rollout.engine.weight_update import Bucket, Update, bucketed, make_bucket
from trainer.learner.actor_critic import ActorCritic, ExportedTensor
from trainer.learner.process_group import Rank

if TYPE_CHECKING:
    from trainer.learner.gpu_channel import Channel

_LOG = logging.getLogger(__name__)


class SendingRank(Rank):
    """A rank whose ``model`` has weights of a ``version``. What is not said to be of the first rank is to be called on
    every one: ZeRO-3 has all of them gather."""

    model: ActorCritic
    version: int

    def __init__(self, config: Config, rank: int) -> None:
        # Where the run has its Ray to itself, all ranks are on this machine.
        host = "127.0.0.1" if config.cluster.address is None else None
        super().__init__(rank, config.learner.ranks, cuda=config.learner.gpus_per_rank > 0, host=host)
        self.config = config
        _LOG.info("new weights go to the rollout workers by %s: %s", *weight_transport(config))
        # What the adapter is merged into on the workers, once it was put into the object store.
        self.base: tuple[Any, ...] | None = None
        self.channel: Channel | None = None

    def buckets(self, tensors: Sequence[ExportedTensor]) -> Iterator[Bucket]:
        """Yield the tensors in buckets, of which one at a time is gathered, and good until the next; to be run through
        on every rank, and of use on the first, the others' being empty."""
        settings = self.config.rollout.weights
        for chosen in bucketed([tensor.nbytes for tensor in tensors], int(settings.bucket_mib * 2**20)):
            part = [tensors[index] for index in chosen]
            with self.gathered([value for tensor in part for value in tensor.parts]), torch.no_grad():
                named = [(tensor.name, tensor.make()) for tensor in part] if self.rank == 0 else []
                yield make_bucket(named, digests=settings.verify)

    def gather(self, whole: bool = False) -> Update:
        """Put the policy into the object store; to be called on every rank, the first rank's answer counts.

        With an adapter, and unless it is to be ``whole``, only that goes, after the whole base went once.
        """
        settings = self.config.rollout.weights
        if whole or not (self.model.lora and settings.adapter_only):
            buckets, nbytes = self._put(self.model.exported())
            return Update(self.version, buckets, verify=settings.verify, nbytes=nbytes)
        if self.base is None:
            self.base, _ = self._put(self.model.exported(merge=False))
        tensors, scales = self.model.adapters()
        buckets, nbytes = self._put(tensors)
        return Update(self.version, buckets, self.base, scales, verify=settings.verify, nbytes=nbytes)

    def _put(self, tensors: Sequence[ExportedTensor]) -> tuple[tuple[Any, ...], int]:
        """Return references to the buckets, on the first rank, and their bytes."""
        references, nbytes = [], 0
        for bucket in self.buckets(tensors):
            if self.rank == 0:
                references.append(ray.put(bucket))
                nbytes += bucket.nbytes
        return tuple(references), nbytes

    def collect(self) -> dict[str, torch.Tensor]:
        """Return the policy's tensors in the memory of the first rank's machine, nothing on the others; to be called
        on every rank. Only one tensor at a time is whole on a GPU that has a share of it."""
        found = {}
        for tensor in self.model.exported():
            with self.gathered(tensor.parts), torch.no_grad():
                if self.rank == 0:
                    # What ZeRO-3 gathered is gone afterwards.
                    found[tensor.name] = tensor.make().to("cpu", copy=self.config.learner.zero_stage == 3)
        return found

    def open_channel(self, workers: Sequence[Any], host: str, port: int) -> None:
        """Meet the rollout workers for transfers from GPU to GPU; to be called on every rank."""
        from trainer.learner.gpu_channel import Channel

        if self.channel is not None:
            self.channel.close()
        self.channel = Channel(self, workers, weight_transport(self.config)[0], host, port)

    def send(self) -> Update:
        """Have every rollout worker load the policy from GPU to GPU; to be called on every rank."""
        assert self.channel is not None
        return self.channel.send(self.version)

    def gathered(self, parameters: Sequence[torch.nn.Parameter]) -> Any:
        """Return a context in which these are whole, which ZeRO-3 has to put together; on every rank."""
        import deepspeed

        return deepspeed.zero.GatheredParameters(list(parameters), enabled=self.config.learner.zero_stage == 3)
