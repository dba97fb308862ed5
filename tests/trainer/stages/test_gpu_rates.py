"""Tokens a second and GPU: which tokens, which seconds and which GPUs are in each rate."""

from __future__ import annotations

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
