"""The conditions to go on with a run: its configuration must allow it.

Nothing heavy is imported here, so a run that cannot be resumed is refused in a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from conf.schema.base import ConfigError
from conf.schema.config import Config
from trainer.run_folder.files import read_json

# What may differ: where and how fast a run is, how long it waits, what it spends and shows; not what it learns.
FREE = {
    "run_dir", "resume", "mirror", "cluster", "tracking",
    "controller.start_timeout_s", "controller.wait_timeout_s", "controller.max_tries", "controller.learner_restarts",
    "learner.threads", "learner.checkpoint_every", "learner.keep_checkpoints", "sft.checkpoint_every",
    "rollout.workers", "rollout.gpus", "rollout.threads", "rollout.concurrency", "rollout.max_num_seqs",
    "rollout.max_num_batched_tokens", "rollout.kv_cache_gib", "rollout.tensor_parallel_size",
    "rewards.workers", "rewards.episode_seconds",
    "solver.workers", "solver.gpus", "solver.threads", "solver.kv_cache_gib", "solver.max_num_seqs",
    "solver.max_num_batched_tokens", "solver.cache_path", "solver.base_url", "solver.api_key_env",
    "solver.concurrency", "solver.requests_per_minute", "solver.tokens_per_minute", "solver.max_retries",
    "solver.backoff_s", "solver.backoff_max_s", "solver.request_timeout_s", "solver.timeout_s",
    "solver.price_prompt", "solver.price_completion", "solver.budget_cost", "solver.budget_tokens",
}  # fmt: skip


def check_resumable(folder: Path, config: Config) -> None:
    """Raise ConfigError, naming the first key, if this configuration cannot go on with the run of a folder."""
    began = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    before, now = _flat(began), _flat(config.model_dump(mode="json"))
    for key in [*now, *(key for key in before if key not in now)]:
        if before.get(key) != now.get(key) and not _free(key):
            raise ConfigError(
                f"{key}: {now.get(key)!r} is not allowed with resume=auto: the run in '{folder}' began with "
                f"{before.get(key)!r}"
            )


def is_finished(folder: Path) -> bool:
    """Return whether the run of a folder came to its end."""
    return bool(read_json(folder / "summary.json").get("status") == "finished")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested keys as dotted ones."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _free(key: str) -> bool:
    return key in FREE or key.partition(".")[0] in FREE
