"""Roles that nobody plays: a run whose reward waits for them is refused before anything starts."""

from __future__ import annotations

from conf.schema.base import ConfigError
from conf.schema.config import Config


def check_roles(config: Config) -> None:
    """Raise ConfigError, in one line with its key, if PPO is to be paid by verdicts alone and nobody gives any."""
    rewards = config.rewards
    if config.verifier is not None or "ppo" not in config.stages or any(rewards.weights.values()):
        return
    raise ConfigError(
        f"rewards.mode: '{rewards.mode}' pays for the verifier's verdicts alone, and verifier is null; allowed with "
        "it: verifier=vllm and others, or stages without ppo"
    )
