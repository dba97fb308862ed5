"""The reward actor: it takes whole episodes and returns every part, off the rollout's critical path.

An episode whose scoring fails or takes too long gets an error; the other episodes are not affected. If the process
still hangs or dies, ``trainer.workers.pipeline`` ends it and has each episode of the batch scored alone.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import ray

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.reward import Reward, failed
from rewards.total import score_episode, warm
from rollout.actor_log import actor_log
from rollout.records import Episode, PackedEpisode, opened


class OverTime(ValueError):
    """An episode took longer to score than is allowed."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OverTime in the block once ``seconds`` are over; only in the main thread, where signals arrive.

    An actor's methods run in that thread. A library call that signals cannot interrupt is ended from outside.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise OverTime(f"took longer than {seconds:g} s (rewards.episode_seconds)")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def score_or_error(episode: Episode, resources: TextResources, settings: Rewards) -> Reward:
    """Score one episode; an error concerns only this episode and is returned as ``Reward.error``."""
    try:
        with time_limit(settings.episode_seconds):
            return score_episode(episode, resources, settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this episode alone
        return failed(f"{type(error).__name__}: {error}")


def score_batch(episodes: Sequence[Episode], resources: TextResources, settings: Rewards) -> list[Reward]:
    """Return a reward for each episode. All texts are prepared together or, if that fails, episode by episode."""
    try:
        with time_limit(settings.episode_seconds):
            warm(episodes, resources, settings)
    except Exception as error:  # noqa: BLE001 - the episode at fault is found when each is scored
        print(f"scored one by one: {type(error).__name__}: {error}")  # noqa: T201 - the actor's log
    rewards = [score_or_error(episode, resources, settings) for episode in episodes]
    for episode, reward in zip(episodes, rewards, strict=True):
        if reward.error:
            print(f"problem {episode.problem.id} not scored: {reward.error}")  # noqa: T201 - the actor's log
    return rewards


@ray.remote
class RewardActor:
    """A Ray actor that scores batches of episodes."""

    def __init__(self, settings: Rewards, index: int, log_folder: str) -> None:
        actor_log(log_folder, f"reward-{index}")
        self.settings, self.resources = settings, TextResources(settings.vectors)
        self.resources.load()

    def ready(self) -> int:
        """Return the process id, once the text resources are loaded."""
        return os.getpid()

    def score(self, episodes: Sequence[Episode | PackedEpisode]) -> list[tuple[Episode | PackedEpisode, Reward]]:
        """Return each episode with its answers filled in, and its reward. One that came packed goes packed."""
        taken = [opened(episode) for episode in episodes]
        rewards = score_batch(taken, self.resources, self.settings)
        return [
            (episode.packed() if isinstance(came, PackedEpisode) else episode, reward)
            for came, episode, reward in zip(episodes, taken, rewards, strict=True)
        ]
