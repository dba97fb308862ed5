"""Names of metrics and kinds of evaluation, as people read them."""

from __future__ import annotations

NAMES = {
    "direct": "solver alone",
    "self_consistency": "solver alone, majority",
    "least_to_most": "solver's own sub-questions",
    "filler": "filler sub-questions",
    "sft": "SFT decomposer",
    "ppo": "PPO decomposer",
    "policy": "decomposer",
    "gold": "gold sub-questions",
}


# What of a comparison of decompositions is shown.
LIKENESS = ("matched", "coverage", "precision", "order")
