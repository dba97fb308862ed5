"""Strategies by name. Adding one is one file here and one file in conf/strategy."""

from rollout.strategies import daslam, direct
from rollout.strategies.base import Strategy

STRATEGIES: dict[str, Strategy] = {"direct": direct.run, "daslam": daslam.run}
