"""The catalogue of metrics: name, unit and meaning. The x axis is the learner's step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev

from conf.schema.rewards import PARTS, PENALTIES
from rewards.reward import MEASURES, Reward, Sample, mean_measures
from rollout.episode.verdict import VERDICTS
from rollout.records import change
from rollout.solvers.base import Usage


def part_catalogue(parts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the metrics of these parts of the reward."""
    return {
        **{f"reward/{part}/mean": ("", f"mean of {part} over the batch, before weight and clip") for part in parts},
        **{f"reward/{part}/std": ("", f"standard deviation of {part} over the batch") for part in parts},
        **{f"reward/{part}/missing": ("share", f"episodes in which {part} is absent") for part in parts},
    }


CATALOGUE: dict[str, tuple[str, str]] = {
    **part_catalogue(PARTS),
    **{f"reward/{name}/mean": ("share", f"{meaning}, mean over the batch") for name, meaning in MEASURES.items()},
    **{f"reward/penalty/{name}": ("", f"mean charge for {name} over the batch") for name in PENALTIES},
    "reward/total": ("", "mean total reward, without the KL charge"),
    "reward/errors": ("episodes", "episodes that could not be scored, since the start"),
    "reward/retries": ("calls", "calls of a reward actor repeated because its process ended or hung, since the start"),
    "episode/accuracy_initial": ("share", "initial attempts that are right; absent where no episode makes one"),
    "episode/accuracy_final": ("share", "final answers that are right"),
    "episode/rescued": ("share", "of episodes with an initial attempt: wrong at first, right in the end"),
    "episode/broken": ("share", "of episodes with an initial attempt: right at first, wrong in the end"),
    "episode/subquestions": ("", "sub-questions an episode"),
    "episode/calls": ("", "policy calls an episode"),
    "episode/invalid": ("share", "decompositions that could not be used as written"),
    "episode/solver_failures": ("episodes", "episodes that a solver failure ended, since the start"),
    "episode/retried": (
        "episodes",
        "episodes run again after an infrastructure error, or in a group after a timeout, since the start",
    ),
    "episode/flat_groups": ("groups", "given up because all their rewards were the same, since the start"),
    "episode/dropped": ("episodes", "of groups with nothing to train on, since the start"),
    "tokens/policy": ("tokens", "policy tokens in the batch"),
    "tokens/solver": ("tokens", "solver tokens spent on the batch"),
    "tokens/decomposer": ("tokens", "tokens of the batch that the decomposer wrote, whoever plays it"),
    "solver/prompt_tokens": ("tokens", "read by the solver, since the start; what the cache answered not counted"),
    "solver/completion_tokens": ("tokens", "written by the solver, likewise"),
    "solver/cost": ("", "cost of the solver at the configured prices, since the start"),
    "solver/retries": ("requests", "requests to the solver's server tried again, since the start"),
    "solver/cache_hits": ("replies", "replies taken from the cache, since the start"),
    "solver/cache_misses": ("replies", "replies looked for in the cache and not found, since the start"),
    "throughput/episodes_s": ("1/s", "episodes trained on a second"),
    "throughput/policy_tokens_s": ("1/s", "policy tokens trained on a second"),
    "throughput/learner_tokens_s": ("1/s", "tokens a second while the learner works, prompts included"),
    "throughput/weights_mib": ("MiB", "weights that a worker received in the last push, mean over workers"),
    "staleness/mean": ("versions", "learner's version minus token's version, mean over tokens"),
    "staleness/max": ("versions", "the same, largest"),
    "staleness/refused": ("episodes", "refused at take-up and put back, since the start"),
    "policy/kl": ("nats", "log-probability over the reference's, mean over tokens"),
    "policy/kl_coef": ("", "coefficient of the KL term in this step"),
    "policy/entropy": ("nats", "entropy, mean over tokens"),
    "policy/clip_fraction": ("share", "tokens whose ratio was clipped"),
    "policy/ratio_max": ("", "largest ratio of current to proximal, either way; to behaviour in plain PPO"),
    "policy/behaviour_weight_capped": ("share", "tokens whose weight was truncated; 0 in plain PPO, which has none"),
    "policy/engine_logprob_gap": ("nats", "largest difference of engine and learner, same tokens and version"),
    "policy/engine_logprob_gap_mean": ("nats", "the same, mean over those tokens"),
    "policy/engine_gap_alarm": ("", "1 where that mean is above controller.engine_gap_alarm"),
    "policy/loss": ("", "clipped objective, mean over tokens"),
    "policy/grad_norm": ("", "norm of the gradient before clipping"),
    "value/loss": ("", "clipped value loss, mean over tokens"),
    "value/explained_variance": ("", "1 - var(returns - values) / var(returns)"),
    "eval/accuracy": ("share", "final answers that are right on the held-out subset, of the last evaluation to end"),
    "eval/low": ("share", "lower end of its 95 % interval"),
    "eval/high": ("share", "upper end"),
    "eval/version": ("version", "the weights that every worker held when that evaluation began: what it is of"),
    "eval/version_mean": (
        "version",
        "mean over its decompositions' tokens: higher if a push reached some still being written",
    ),
    "eval/seconds": ("s", "from its first job to its last score, beside the training"),
    "eval/best": ("share", "accuracy of checkpoints/best"),
    "time/rollout_wait": ("s", "the learner waited for a full batch"),
    "time/learner_wait": ("s", "no episode was running: the rollouts waited for the learner"),
    "time/checkpoint": ("s", "a checkpoint was written before this step; the rollouts went on"),
    "time/learn": ("s", "take-up and optimiser steps"),
    "time/weight_push": ("s", "from the gathering of the weights to the last worker's acknowledgement"),
    "time/pause": ("s", "generation paused for the load, mean over workers"),
    "system/learner_restarts": ("restarts", "the learner was started again because a rank had died, since the start"),
    "system/rollout_restarts": ("restarts", "a rollout worker died and Ray started it again, since the start"),
    "system/resident_gib": ("GiB", "resident memory of the run's processes, shared pages counted once"),
}

# Where there are GPUs.
GPU_CATALOGUE: dict[str, tuple[str, str]] = {
    "throughput/mfu": ("share", "model FLOPs of the forward and backward passes, of what the learner's GPUs can do"),
    "throughput/effective_tokens_s_gpu": ("1/s", "trained tokens over the whole step, a GPU of the run"),
    "throughput/training_tokens_s_gpu": ("1/s", "trained tokens over the learner's time, a GPU of the learner"),
    "throughput/rollout_tokens_s_gpu": (
        "1/s",
        "policy tokens over the time of sampling, a GPU of the policy's engines",
    ),
}

# Where replies are judged.
VERIFIER_CATALOGUE: dict[str, tuple[str, str]] = {
    "tokens/verifier": ("tokens", "verifier tokens spent on the batch"),
    "episode/rewritten": ("", "sub-questions an episode that the verifier had written again"),
    **{f"verdict/{name}": ("share", f"judged replies of which the verifier said: {name}") for name in VERDICTS},
    "verifier/prompt_tokens": ("tokens", "read by the verifier, since the start; what the cache answered not counted"),
    "verifier/completion_tokens": ("tokens", "written by the verifier, likewise"),
    "verifier/cost": ("", "cost of the verifier at the configured prices, since the start"),
}

# Where there is a mixture of solvers, of each under its name.
MIXTURE_CATALOGUE: dict[str, tuple[str, str]] = {
    "share": ("share", "episodes of the batch that the solver {name} answered"),
    "accuracy_initial": ("share", "initial attempts of the solver {name} that are right"),
    "accuracy_final": ("share", "final answers of the solver {name} that are right"),
    "held_out": ("share", "final answers of the solver {name} that are right on the held-out subset, as eval/accuracy"),
}

# Of a step of stage 1, in logs/sft.jsonl: its own x axis, whose 0 is before the first step.
SFT_CATALOGUE: dict[str, tuple[str, str]] = {
    "sft/loss": ("nats", "cross-entropy a token of the step's decompositions, before the step"),
    "sft/tokens": ("tokens", "decomposition tokens in the step"),
    "sft/held_out_loss": ("nats", "cross-entropy a token of held-out reference decompositions, after the step"),
}


def episode_metrics(batch: Sequence[Sample]) -> dict[str, float]:
    """Return means over a batch of scored episodes, under the catalogue's names."""
    count, rewards, facts = len(batch), [item.reward for item in batch], [item.facts for item in batch]
    metrics: dict[str, float] = {}
    for part in dict.fromkeys(name for reward in rewards for name in reward.parts):
        values = [value for reward in rewards if (value := reward.parts.get(part)) is not None]
        metrics[f"reward/{part}/missing"] = 1 - len(values) / count
        if values:
            metrics[f"reward/{part}/mean"] = fmean(values)
            metrics[f"reward/{part}/std"] = pstdev(values)
    metrics |= {f"reward/{name}/mean": value for name, value in mean_measures(rewards).items()}
    metrics |= {f"reward/penalty/{name}": fmean(one.penalties.get(name, 0.0) for one in rewards) for name in PENALTIES}
    metrics |= role_metrics([one.counts for one in rewards]) | mixture_metrics(batch)
    metrics |= {f"episode/{name}": value for name, value in attempt_metrics(rewards).items()}
    subquestions = [one.subquestions for one in facts if one.subquestions is not None]
    return metrics | {
        "reward/total": fmean(reward.total for reward in rewards),
        "episode/accuracy_final": fmean(reward.correct for reward in rewards),
        "episode/subquestions": fmean(subquestions) if subquestions else 0.0,
        "episode/calls": fmean(one.calls for one in facts),
        "episode/invalid": sum(one.invalid is not None for one in facts) / count,
        "tokens/policy": float(sum(one.policy_tokens for one in facts)),
        "tokens/solver": float(sum(one.solver_tokens for one in facts)),
    }


def attempt_metrics(rewards: Sequence[Reward]) -> dict[str, float]:
    """Return how right the initial attempts are, and how often the final answer is better or worse; nothing where no
    episode makes an attempt."""
    tried = [(reward.correct_initial, reward.correct) for reward in rewards if reward.correct_initial is not None]
    if not tried:
        return {}
    changes = [change(first, last) for first, last in tried]
    return {
        "accuracy_initial": fmean(first for first, _ in tried),
        "rescued": changes.count(1) / len(tried),
        "broken": changes.count(-1) / len(tried),
    }


def mixture_catalogue(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the metrics of a mixture's solvers, by the solvers' names."""
    return {
        f"mixture/{name}/{metric}": (unit, meaning.format(name=name))
        for name in names
        for metric, (unit, meaning) in MIXTURE_CATALOGUE.items()
    }


def mixture_metrics(batch: Sequence[Sample]) -> dict[str, float]:
    """Return what each solver of a mixture answered in a batch, and how well; nothing where there is one solver."""
    found: dict[str, float] = {}
    for name, rewards in by_solver((item.facts.solver, item.reward) for item in batch).items():
        found[f"mixture/{name}/share"] = len(rewards) / len(batch)
        attempts = attempt_metrics(rewards)
        found |= {f"mixture/{name}/{one}": attempts[one] for one in MIXTURE_CATALOGUE if one in attempts}
        found[f"mixture/{name}/accuracy_final"] = fmean(reward.correct for reward in rewards)
    return found


def by_solver(rewards: Iterable[tuple[str | None, Reward]]) -> dict[str, list[Reward]]:
    """Return rewards by the name of the mixture's solver that answered, in the order of the names."""
    found: dict[str, list[Reward]] = {}
    for name, reward in rewards:
        if name is not None:
            found.setdefault(name, []).append(reward)
    return dict(sorted(found.items()))


def role_metrics(counts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return what the roles did, from each episode's ``Reward.counts``: tokens, sub-questions written again and,
    where replies were judged, the share of them of which the verifier named each class."""
    total: dict[str, float] = {}
    for one in counts:
        total |= {name: total.get(name, 0.0) + count for name, count in one.items()}
    metrics = {"tokens/decomposer": total.get("tokens/decomposer", 0.0)}
    if judged := total.get("judged"):
        metrics["tokens/verifier"] = total.get("tokens/verifier", 0.0)
        metrics |= {f"verdict/{name}": total.get(f"verdict/{name}", 0.0) / judged for name in VERDICTS}
        metrics["episode/rewritten"] = total.get("rewritten", 0.0) / len(counts)
    return metrics


def solver_metrics(usage: Usage, verifier: Usage | None = None) -> dict[str, float]:
    """Return a solver's usage, and a verifier's if there is one, under the catalogue's names."""
    found = {"solver": usage} | ({} if verifier is None else {"verifier": verifier})
    return {
        name: getattr(found[role], field)
        for name in CATALOGUE | VERIFIER_CATALOGUE
        for role, _, field in [name.partition("/")]
        if role in found
    }
