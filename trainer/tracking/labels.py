"""Names of metrics and of kinds of evaluation, as people read them."""

from __future__ import annotations

from typing import Any

from conf.schema.rewards import PARTS
from rewards.reward import MEASURES
from rollout.episode.verdict import VERDICTS

# In the order in which a table has them.
KINDS = {
    "direct": "solver alone",
    "self_consistency": "solver alone, majority",
    "least_to_most": "solver's own sub-questions",
    "filler": "filler sub-questions",
    "base": "decomposer before training",
    "sft": "SFT decomposer",
    "ppo": "PPO decomposer",
    "policy": "decomposer",
    "gold": "gold sub-questions",
}

# What KINDS call the one that is judged, where it is a policy that answers too, or only answers.
POLICY = {"solver": {"decomposer": "solver"}, "both": {"decomposer": "model", "solver alone": "model alone"}}

# In a picture, whose title says what they are about.
METRICS = {
    "reward/total": "total, weighted",
    **{f"reward/{part}/mean": part.replace("_", " ") for part in PARTS},
    **{f"reward/{name}/mean": name.replace("_", " ") for name in MEASURES},
    "policy/kl": "KL to the reference",
    "policy/entropy": "entropy",
    "policy/engine_logprob_gap_mean": "mean gap",
    "policy/engine_logprob_gap": "largest gap",
    **{f"verdict/{name}": name.replace("_", " ") for name in VERDICTS},
    "episode/rewritten": "written again",
    "staleness/mean": "mean",
    "staleness/max": "largest",
    "throughput/episodes_s": "episodes",
    "throughput/policy_tokens_s": "policy tokens",
    "throughput/learner_tokens_s": "tokens, while the learner works",
    "time/rollout_wait": "waiting for episodes",
    "time/learn": "learning",
    "time/weight_push": "weight push",
    "time/learner_wait": "rollouts waiting",
    "sft/loss": "loss",
    "sft/held_out_loss": "held out loss",
}

# In the live view: the name, and how many digits of the figure are shown.
LIVE = {
    "episode/accuracy_final": ("accuracy", ".3f"),
    "episode/accuracy_initial": ("initial", ".3f"),
    "reward/total": ("reward", ".3f"),
    "episode/subquestions": ("sub-questions", ".2f"),
    **{f"reward/{name}/mean": (name, ".3f") for name in (*PARTS, *MEASURES)},
    "staleness/mean": ("staleness", ".2f"),
    "episode/dropped": ("dropped", ".0f"),
    "policy/kl": ("KL", ".4f"),
    "policy/entropy": ("entropy", ".3f"),
    "policy/engine_logprob_gap": ("engine gap", ".1e"),
    "throughput/episodes_s": ("episodes/s", ".1f"),
    "throughput/policy_tokens_s": ("policy tokens/s", ".0f"),
    "throughput/learner_tokens_s": ("learner tokens/s", ".0f"),
    "system/resident_gib": ("resident GiB", ".1f"),
    "sft/loss": ("loss", ".3f"),
    "sft/held_out_loss": ("held out", ".3f"),
}

# What of a comparison of decompositions is shown.
LIKENESS = ("matched", "coverage", "precision", "order")


def missing_rows(reasons: dict[str, str]) -> str:
    """Return in a line which kinds of evaluation a table lacks, and why; nothing where it lacks none."""
    return "; ".join(f"no {kind} row: {reason}" for kind, reason in reasons.items())


def label(name: str, plays: str = "decomposer") -> str:
    """Return the words for a kind of evaluation, of a policy that ``plays`` these roles, or for a metric; the name
    itself where there are none."""
    own = name.removeprefix("reward/").removesuffix("/mean").replace("_", " ") if name.startswith("reward/") else name
    words = KINDS.get(name) or METRICS.get(name, own)
    for one, other in POLICY.get(plays, {}).items() if name in KINDS else ():
        words = words.replace(one, other)
    return words


def result_label(kind: str, entry: dict[str, Any], steps: int) -> str:
    """Return the words for a result of a run that has taken ``steps``: with the step, where it is of an earlier one."""
    step, words = entry.get("step", 0), label(kind, entry.get("plays", "decomposer"))
    return f"{words}, step {step}" if step not in (0, steps) else words
