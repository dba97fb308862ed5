"""Build the settings that a reward actor is started with."""

from __future__ import annotations

from conf.schema.config import Config
from rewards.reward import RewardSettings


def reward_settings(config: Config) -> RewardSettings:
    """What a reward actor is started with."""
    rewards = config.rewards
    clip = {name: bounds for name, bounds in rewards.clip.items() if bounds is not None}
    return RewardSettings(
        rewards.mode, dict(rewards.weights), clip, dict(rewards.penalty), rewards.correctness_baseline
    )
