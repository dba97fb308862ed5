"""The reward actor: whole episodes in, every part out, off the rollout's critical path."""

from __future__ import annotations

import math
import os

import ray

from rewards.modes import Reward, RewardSettings
from rewards.text import TextResources
from rewards.total import score_episode
from rollout.logs import actor_log
from rollout.records import Episode


def score_or_error(episode: Episode, resources: TextResources, settings: RewardSettings) -> Reward:
    """Score one episode; what goes wrong with it stays with it, as ``Reward.error``."""
    try:
        return score_episode(episode, resources, settings)
    except (ValueError, ArithmeticError, RecursionError) as error:
        return Reward({}, math.nan, {}, [], 0.0, None, error=f"{type(error).__name__}: {error}")


@ray.remote
class RewardActor:
    """Scores batches of episodes."""

    def __init__(self, settings: RewardSettings, vectors: str, index: int, log_folder: str) -> None:
        actor_log(log_folder, f"reward-{index}")
        self.settings = settings
        self.resources = TextResources(vectors)
        self.resources.nouns(["a pen"])
        self.resources.vectors(["a pen"])

    def ready(self) -> int:
        """Return once the text resources are loaded; the process id."""
        return os.getpid()

    def score(self, episodes: list[Episode]) -> list[tuple[Episode, Reward]]:
        """Each episode with its answers filled in, and its reward."""
        self.resources.warm(episodes)
        return [(episode, score_or_error(episode, self.resources, self.settings)) for episode in episodes]
