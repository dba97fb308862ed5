"""Tokens a second and GPU: which tokens, which seconds and which GPUs are in each rate."""

from __future__ import annotations

import pytest

from launch.compose import compose
from trainer.stages.gpu_rates import gpu_rates
from trainer.tracking.metrics_catalogue import GPU_CATALOGUE

STEP = {"throughput/learner_tokens_s": 3000.0, "time/learn": 2.0, "tokens/policy": 800.0}
GPUS = ["learner.ranks=2", "learner.gpus_per_rank=1", "rollout.workers=1", "rollout.gpus=1", "solver.gpus=1"]


def test_each_rate_has_its_own_tokens_seconds_and_gpus():
    assert gpu_rates(compose(GPUS), STEP, seconds=5.0, idle_s=1.0) == {
        "throughput/effective_tokens_s_gpu": 6000 / (5 * 4),
        "throughput/training_tokens_s_gpu": 6000 / (2 * 2),
        "throughput/rollout_tokens_s_gpu": 800 / (4 * 1),
    }
    assert gpu_rates(compose(GPUS), STEP, 5.0, 1.0).keys() < GPU_CATALOGUE.keys()


def test_a_server_has_no_gpus_here_and_without_gpus_there_are_no_rates():
    server = ["solver=openai", "solver.model=m", "learner.gpus_per_rank=1", "rollout.gpus=1"]
    assert gpu_rates(compose(server), STEP, 5.0, 0.0)["throughput/effective_tokens_s_gpu"] == 6000 / (5 * 2)
    assert gpu_rates(compose([]), STEP, 5.0, 1.0) == {}


JUDGED = ["strategy=lm2", "verifier=vllm", "verifier.path=package:tiny_verifier", "verifier.gpus=1"]


@pytest.mark.parametrize(
    ("more", "gpus", "sampling"),
    [
        ([*JUDGED, "verifier.workers=2"], 6, 1),
        (["policy.plays=both"], 3, 1),
        (["policy.plays=both", *JUDGED], 4, 1),
        (["stages=[ppo]", "rollout.replay=setup.cfg"], 2, None),
    ],
)
def test_the_gpus_are_those_of_the_actors_that_the_run_has(more, gpus, sampling):
    rates = gpu_rates(compose([*GPUS, *more]), STEP, 5.0, 1.0)
    assert rates["throughput/effective_tokens_s_gpu"] == 6000 / (5 * gpus)
    assert rates["throughput/training_tokens_s_gpu"] == 6000 / (2 * 2)
    assert rates.get("throughput/rollout_tokens_s_gpu") == (sampling and 800 / (4 * sampling))
