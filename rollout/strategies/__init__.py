"""Strategies by name. Adding one is one file here, one file in conf/strategy and its name in the schema."""

from rollout.strategies import (
    daslam,
    daslam_no_feedback,
    dependency_graph,
    direct,
    independent,
    least_to_most,
    self_consistency,
)
from rollout.strategies.base import Strategy

STRATEGIES: dict[str, Strategy] = {
    "direct": direct.run,
    "self_consistency": self_consistency.run,
    "least_to_most": least_to_most.run,
    "daslam": daslam.run,
    "daslam_no_feedback": daslam_no_feedback.run,
    "independent": independent.run,
    "dependency_graph": dependency_graph.run,
}
