"""Tokens a second and GPU, in three rates that are never mixed; none of them without GPUs."""

from __future__ import annotations

from conf.schema.config import Config
from conf.schema.role_sizes import role_sizes
from trainer.algorithm.utilization import rate


def gpu_rates(config: Config, metrics: dict[str, float], seconds: float, idle_s: float) -> dict[str, float]:
    """Return a step's rates, those that there are, under the catalogue's names.

    ``metrics`` are the step's, with the learner's; it took ``seconds``, and no episode was running in ``idle_s`` of
    them. Effective: trained tokens over the whole time, by the GPUs of all actors of the run. Training: the same tokens
    over the learner's time, by its GPUs. Rollout: policy tokens over the time of sampling, by the policy engines' GPUs.
    """
    gpus = {role.name: role.count * role.gpus for role in role_sizes(config)}
    trained = metrics["throughput/learner_tokens_s"] * metrics["time/learn"]
    found = {
        "throughput/effective_tokens_s_gpu": rate(trained, seconds, sum(gpus.values())),
        "throughput/training_tokens_s_gpu": rate(trained, metrics["time/learn"], gpus["learner"]),
        "throughput/rollout_tokens_s_gpu": rate(metrics["tokens/policy"], seconds - idle_s, gpus.get("rollout", 0)),
    }
    return {name: value for name, value in found.items() if value is not None}
