"""A reward actor that is soon there, and a text that ends its process; every process that starts imports this module,
which therefore imports little."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from rewards.actor import RewardActor
from rewards.nouns_and_vectors import TextResources
from rewards.question_nouns import read_nouns

# The variable with the id of the process in which the text does nothing.
DRIVER = "REWARD_TEST_DRIVER"


class Poison(str):
    """A text that ends the process, or hangs in it beyond signals, as soon as it travels there."""

    def __new__(cls, how: str) -> Poison:
        return super().__new__(cls, how)

    def __reduce__(self):
        return (_ends if self == "ends" else _hangs), ()


def _ends() -> None:
    if os.environ.get(DRIVER) != str(os.getpid()):
        os.kill(os.getpid(), signal.SIGKILL)


def _hangs() -> None:
    if os.environ.get(DRIVER) != str(os.getpid()):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(3600)


class Blank(TextResources):
    """No nouns and no vectors, and nothing to load, which is most of the time of an actor's start."""

    def load(self):
        pass

    def _tag(self, texts):
        return [read_nouns([], frozenset())] * len(texts)

    def _embed_texts(self, texts):
        return np.zeros((len(texts), 1), np.float32)


class QuickActor(RewardActor.__ray_metadata__.modified_class):
    """The reward actor, with blank resources: it is started again six times."""

    def __init__(self, settings):
        self.settings, self.resources = settings, Blank()
