"""Strategies by name. Adding one is one file here, one file in conf/strategy and its name in the schema."""

from rollout.strategies import (
    daslam,
    daslam_no_feedback,
    dependency_graph,
    direct,
    independent,
    least_to_most,
    plan_only,
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

# Not among them, since it answers nothing; a job may name it all the same.
PLAN_ONLY = "plan_only"


def strategy_for(name: str) -> Strategy:
    """What runs a job of this strategy."""
    return plan_only.run if name == PLAN_ONLY else STRATEGIES[name]
