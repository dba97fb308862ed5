"""Tokens a second and GPU, in three rates that are never mixed; none of them without GPUs."""

from __future__ import annotations

from conf.schema.config import Config
from conf.schema.solver import actor_count
from trainer.algorithm.utilization import rate


def gpu_rates(config: Config, metrics: dict[str, float], seconds: float, idle_s: float) -> dict[str, float]:
    """Return a step's rates, those that there are, under the catalogue's names.

    ``metrics`` are the step's, with the learner's; it took ``seconds``, and no episode was running in ``idle_s`` of
    them. Effective: trained tokens over the whole time, by all GPUs of the run. Training: the same tokens over the
    learner's time, by its GPUs. Rollout: policy tokens over the time of sampling, by the policy engines' GPUs.
    """
    learner = config.learner.ranks * config.learner.gpus_per_rank
    rollout = config.rollout.workers * config.rollout.gpus
    solver = sum(actor_count(one) * getattr(one, "gpus", 0) for one in config.solvers.values())
    trained = metrics["throughput/learner_tokens_s"] * metrics["time/learn"]
    found = {
        "throughput/effective_tokens_s_gpu": rate(trained, seconds, learner + rollout + solver),
        "throughput/training_tokens_s_gpu": rate(trained, metrics["time/learn"], learner),
        "throughput/rollout_tokens_s_gpu": rate(metrics["tokens/policy"], seconds - idle_s, rollout),
    }
    return {name: value for name, value in found.items() if value is not None}
