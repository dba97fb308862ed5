"""The plan in words: what new weights take on their way, and what helps an engine that has no GPU."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from launch.compose import compose
from trainer.cluster.resource_plan import gpu_roles, show, without_gpu

LORA = "model.lora={rank: 16, alpha: 32, targets: all-linear}"
WHOLE = "a version that is pushed takes 14.18 GiB of the object store of every node with a learner or rollout worker"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], f"{WHOLE}, and two may be there at once"),
        ([LORA], "the base takes 14.18 GiB of the object store of every node with a learner or rollout worker once, "
         "and a version that is pushed, the adapter alone, 0.08 GiB; two may be there at once"),
        ([LORA, "rollout.weights.adapter_only=false"], f"{WHOLE}, and two may be there at once"),
        (["rollout.weights.transport=nccl"],
         "a version that is pushed is 14.18 GiB, from GPU to GPU (nccl), not by the object store"),
    ],
    ids=["whole", "adapter", "merged", "nccl"],
)  # fmt: skip
def test_the_plan_says_what_new_weights_take_on_their_way(overrides, said):
    config, screen = compose(["cluster=node8", "model.dtype=bfloat16", *overrides]), io.StringIO()
    show(config, gpu_roles(config, "7b", "14b"), Console(file=screen, width=300))
    assert f"\n  {said}\n" in screen.getvalue()


@pytest.mark.parametrize(
    ("overrides", "name", "allowed"),
    [
        ([], "rollout", "cluster=gpu1 and others, or the environment"),
        (["rollout.gpus=1"], "solver", "solver.gpus=SHARE, a solver without an engine, or the environment"),
        (["cluster=gpu1", "data=chained", "verifier=tiny"], "verifier",
         "verifier.gpus=SHARE, a verifier without an engine, or the environment"),
        (["cluster=gpu1", "solver=mixture"], "solver.mixture.tiny",
         "solver.mixture.tiny.gpus=SHARE, a solver without an engine, or the environment"),
    ],
)  # fmt: skip
def test_an_engine_without_a_gpu_is_told_what_helps_it(monkeypatch, overrides, name, allowed):
    monkeypatch.setattr("trainer.cluster.resource_plan.version", lambda package: "0.32.0")
    said = str(without_gpu(compose(overrides)))
    assert said.startswith(f"{name}.gpus: 0 is not allowed with the vLLM that is installed")
    assert f"; allowed: {allowed} of requirements/cpu.lock" in said
