"""The staging of weights for a GPU, with a stand-in for the GPU: what is copied where, and when."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import torch

from conf.schema.rules import weight_transport
from launch.compose import compose
from rollout.engine import gpu_staging
from rollout.engine.gpu_staging import stage
from rollout.engine.vllm_arguments import policy_engine
from rollout.engine.vllm_engine import Engine


class FakeGpu:
    """A GPU with so many bytes free, which notes what it does."""

    def __init__(self, free: int) -> None:
        self.free, self.did = free, []

    def free_bytes(self):
        return self.free

    def pinned(self, tensor):
        self.did.append("pin")
        return tensor.clone()

    def placed(self, tensor):
        self.did.append("place")
        return tensor.clone()

    def wait(self):
        self.did.append("wait")

    def release(self):
        self.did.append("release")


WEIGHTS = [("a", torch.arange(4.0)), ("b", torch.arange(100.0)), ("c", torch.arange(2.0))]


def test_what_has_room_is_placed_and_the_rest_stays_pinned():
    gpu = FakeGpu(gpu_staging.MARGIN + 24)
    found = stage(iter(WEIGHTS), gpu, own_gpu=True)
    assert gpu.did == ["pin", "place", "pin", "pin", "place", "wait"]
    assert [name for name, _ in found] == ["a", "b", "c"]
    assert all(torch.equal(near, tensor) for (_, near), (_, tensor) in zip(found, WEIGHTS, strict=True))


def test_a_shared_gpu_gives_no_memory():
    gpu = FakeGpu(2**40)
    stage(WEIGHTS, gpu, own_gpu=False)
    assert gpu.did == ["pin", "pin", "pin", "wait"]


def test_an_engine_stages_before_the_pause_and_loads_within_it():
    gpu = FakeGpu(2**40)

    class Vllm:
        def collective_rpc(self, name, kwargs):
            assert name == "reload_weights"
            gpu.did.append(f"load {len(list(kwargs['weights_iterator']))}")

        def set_weight_version(self, version):
            gpu.did.append(f"version {version}")

    engine = Engine(SimpleNamespace(frozen=False, recompute=False, sizes=SimpleNamespace(gpus=1)))
    engine._engine, engine._gpu = Vllm(), gpu
    loaded = asyncio.run(engine.load_weights(WEIGHTS[:1], 3))
    assert gpu.did == ["pin", "place", "wait", "load 1", "release", "version 3"]
    assert loaded.version == 3


GPUS = ["learner=gpu", "rollout=gpu", "learner.ranks=1"]
SHARED = [*GPUS, "cluster.beside=[rollout]", "learner.gpus_per_rank=0.5", "rollout.gpus=0.5",
          "rollout.gpu_memory_utilization=0.4"]  # fmt: skip
AUTO = "rollout.weights.transport=auto"


@pytest.mark.parametrize(
    ("overrides", "transport", "why"),
    [
        ([], "object_store", "needs a GPU of its own"),
        (GPUS, "nccl", "GPUs of their own"),
        (SHARED, "ipc", "shares the GPU of a learner rank"),
        ([*SHARED[:-3], "rollout.gpus=1", "learner.gpus_per_rank=1"], "nccl", "GPUs of their own"),
        ([*SHARED, "model.dtype=float32"], "object_store", "needs a GPU of its own"),
        ([*GPUS, "model.dtype=float32"], "object_store", "sends weights as they are"),
        ([*GPUS, "model.lora={rank: 4, alpha: 8, targets: [q_proj]}"], "object_store", "adapter_only"),
    ],
)
def test_the_transport_is_chosen_by_the_layout_and_said_with_its_reason(overrides, transport, why):
    config = compose([AUTO, *overrides])
    found = weight_transport(config)
    assert found[0] == transport
    assert why in found[1]
    assert policy_engine(config).transfer == (None if transport == "object_store" else transport)


def test_a_configured_transport_is_taken():
    assert weight_transport(compose([])) == ("object_store", "as configured")
    assert weight_transport(compose([*SHARED, "rollout.weights.transport=ipc"]))[0] == "ipc"
