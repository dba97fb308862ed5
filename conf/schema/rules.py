"""Rules between the groups of a configuration. Each raises ValueError, with the key and what is allowed, if broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import TYPE_CHECKING

from conf.schema.engine import InferenceEngine
from conf.schema.own_parts import find_part, is_own
from conf.schema.rewards import LIKELIHOOD, OF_SUBQUESTIONS
from conf.schema.strategy import UNGATED, UNJUDGED, UNTRAINED

if TYPE_CHECKING:
    from conf.schema.config import Config


def every_rank_has_a_sequence(config: Config) -> None:
    """Refuse minibatches that are smaller than the number of learner ranks."""
    minibatches, ranks, batch = config.algorithm.minibatches, config.learner.ranks, config.algorithm.batch_size
    if minibatches * ranks > batch:
        raise ValueError(
            "algorithm.minibatches times learner.ranks must be at most algorithm.batch_size: every rank needs a "
            f"sequence of every minibatch, found {minibatches} × {ranks} and {batch}"
        )


def critic_goes_with_advantage(config: Config) -> None:
    """Refuse a critic that the advantage does not use, and none where it needs one."""
    advantage, critic = config.algorithm.advantage, config.learner.critic
    if not is_own(advantage) and (advantage == "gae") != (critic != "none"):
        found, allowed = f"algorithm.advantage {advantage}", "shared, separate" if advantage == "gae" else "none"
        raise ValueError(f"learner.critic: '{critic}' cannot go with {found}; allowed: {allowed}")


def only_a_separate_critic_warms_up(config: Config) -> None:
    """Refuse a warm-up of a critic that shares the policy's weights."""
    if config.learner.critic_warmup_steps and config.learner.critic != "separate":
        raise ValueError(
            f"learner.critic_warmup_steps must be 0 with learner.critic {config.learner.critic}: "
            "only a critic of its own can learn while the policy stands still"
        )


def critic_warm_up_ends(config: Config) -> None:
    """Refuse a warm-up of the critic that leaves no step to the policy."""
    warmup, steps = config.learner.critic_warmup_steps, config.algorithm.steps
    if "ppo" in config.stages and 0 < steps <= warmup:
        raise ValueError(
            f"learner.critic_warmup_steps: {warmup} steps of the critic alone leave the policy none of algorithm.steps "
            f"({steps}); allowed: less than {steps}"
        )


def verify_reads_whole_tensors(config: Config) -> None:
    """Refuse to compare the weights of an engine whose tensors lie on several GPUs."""
    if config.rollout.weights.verify and config.rollout.tensor_parallel_size > 1:
        allowed = "rollout.tensor_parallel_size 1"
        raise ValueError(f"rollout.weights.verify: true reads whole tensors back; allowed: {allowed}")


def transport_has_what_it_needs(config: Config) -> None:
    """Refuse a transport from GPU to GPU without its GPUs, for adapters alone, and between two types of numbers."""
    transport = config.rollout.weights.transport
    if transport in DIRECT and (missing := lacks(config, transport)) is not None:
        raise ValueError(missing)


# The transports from GPU to GPU, the quickest first.
DIRECT = ("ipc", "nccl")


def weight_transport(config: Config) -> tuple[str, str]:
    """Return the transport of new weights, and in words why it is this one."""
    configured = config.rollout.weights.transport
    if configured != "auto":
        return configured, "as configured"
    if lacks(config, "ipc") is None:
        return "ipc", "each rollout worker shares the GPU of a learner rank"
    missing = lacks(config, "nccl")
    return ("nccl", "learner and rollout workers have GPUs of their own") if missing is None else (
        "object_store", missing.partition("; ")[0]
    )  # fmt: skip


def lacks(config: Config, transport: str) -> str | None:
    """Say in one line what a transport from GPU to GPU lacks in this configuration; None if nothing."""
    weights, key = config.rollout.weights, "rollout.weights"
    gpus, ranks = config.rollout.gpus, config.learner.gpus_per_rank
    if transport == "nccl" and min(gpus, ranks) < 1:
        return (
            f"{key}.transport: 'nccl' needs a GPU of its own on either side (rollout.gpus and "
            f"learner.gpus_per_rank at least 1, found {gpus:g} and {ranks:g}); allowed without: object_store"
        )
    if transport == "ipc" and not ("rollout" in config.cluster.beside and min(gpus, ranks) > 0 and gpus + ranks <= 1):
        return (
            f"{key}.transport: 'ipc' needs rollout workers on the learner's GPUs (cluster.beside: [rollout], and "
            f"rollout.gpus and learner.gpus_per_rank at most 1 together, found {gpus:g} and {ranks:g}); allowed "
            "without: nccl, object_store"
        )
    if config.model.lora is not None and weights.adapter_only:
        return f"{key}.adapter_only: true is for object_store; allowed with transport {transport}: false"
    if config.policy_dtype != config.learner.dtype:
        return (
            f"{key}.transport: '{transport}' sends weights as they are, and model.dtype is {config.policy_dtype} where "
            f"learner.dtype is {config.learner.dtype}; allowed: the same, or object_store"
        )
    return None


def engines(config: Config) -> dict[str, InferenceEngine]:
    """Return the groups that have engines of our own, by dotted key."""
    groups = {"rollout": config.rollout, **config.frozen}
    return {name: group for name, group in groups.items() if isinstance(group, InferenceEngine)}


def engines_use_their_gpus(config: Config) -> None:
    """Refuse engines that are split over other than their GPUs."""
    for name, group in engines(config).items():
        if group.gpus == group.parallel or max(group.gpus, group.parallel) <= 1:
            continue
        split = f"{name}.tensor_parallel_size {group.tensor_parallel_size}"
        split += f" × {name}.pipeline_parallel_size {group.stages}" if group.stages > 1 else ""
        gpus = f"{name}.gpus={group.parallel}" if group.parallel > 1 else f"{name}.gpus up to 1"
        more = f", or {name}.tensor_parallel_size={group.gpus:g}" if group.gpus > 1 and group.gpus % 1 == 0 else ""
        raise ValueError(
            f"{name}.gpus: {group.gpus:g} for each engine does not go with {split}, by which an engine is split over "
            f"{group.parallel}; allowed: {gpus}{more}"
        )


def engines_fit_on_a_shared_gpu(config: Config) -> None:
    """Refuse engines that would take more than the whole memory of a GPU that they may share."""
    found = engines(config)
    for counts in _on_one_gpu(config):
        shares = {name: count * found[name].gpu_memory_utilization for name, count in counts.items() if count}
        if sum(shares.values()) > 1 + 1e-9:
            keys = " and ".join(f"{name}.gpu_memory_utilization" for name in shares)
            parts = " and ".join(f"{counts[name]} × {name} {found[name].gpu_memory_utilization:g}" for name in shares)
            raise ValueError(
                f"{keys}: engines that share a GPU take {sum(shares.values()):g} of its memory ({parts}); allowed: up "
                "to 1 together, less where the learner is there too"
            )


def _on_one_gpu(config: Config) -> Iterator[dict[str, int]]:
    """Yield how many engines of each role may come to lie on one GPU, by what they reserve of it: those beside a
    learner rank, or the others that reserve a part of one."""
    parts = {name: group for name, group in engines(config).items() if 0 < group.gpus < 1}
    beside = {name: 1 for name in parts if name.partition(".")[0] in config.cluster.beside}
    apart = [name for name in parts if name not in beside]
    most = [min(parts[name].workers, int(1 / parts[name].gpus + 1e-9)) for name in apart]
    choices = product(*(range(count + 1) for count in most))
    shared: list[dict[str, int]] = [beside, *(dict(zip(apart, chosen, strict=True)) for chosen in choices)]
    for counts in shared:
        if sum(count * parts[name].gpus for name, count in counts.items()) <= 1 + 1e-9:
            yield counts


def some_reward_counts(config: Config) -> None:
    """Refuse rewards whose weights are all 0."""
    rewards = config.rewards
    if not any(weight > 0 for weight in (*rewards.weights.values(), *rewards.verdicts.values())):
        raise ValueError(f"rewards.weights must have a part above 0, found {dict(rewards.weights)}")


def _pays_new_episodes(config: Config) -> bool:
    """Return whether PPO is to be paid for episodes that this run makes; those of a replay have their reward."""
    return "ppo" in config.stages and not config.rollout.replay


def verdicts_can_be_earned(config: Config) -> None:
    """Refuse to train on verdicts that nobody gives."""
    if not any(config.rewards.verdicts.values()) or not _pays_new_episodes(config):
        return
    found = f"rewards.verdicts: rewards.mode '{config.rewards.mode}' pays for the verdicts of a verifier"
    instead = "rewards=outcome or another without verdicts, or stages without ppo"
    if config.verifier is None:
        raise ValueError(f"{found}, and verifier is none; allowed with it: verifier=program and others, {instead}")
    if config.strategy.name in UNJUDGED:
        raise ValueError(
            f"{found}, which judges no reply with strategy.name '{config.strategy.name}'; allowed with it: {instead}"
        )


def program_finds_what_it_judges(config: Config) -> None:
    """Refuse the program as verifier of prompts that it cannot take apart."""
    if config.verifier and config.verifier.backend == "program" and config.strategy.name not in UNJUDGED:
        config.strategy.check_marks()


def some_part_can_be_earned(config: Config) -> None:
    """Refuse to train on parts of sub-questions alone where nobody writes any."""
    rewards, name = config.rewards, config.strategy.name
    if name not in UNGATED or not _pays_new_episodes(config):
        return
    if not any(weight > 0 for part, weight in rewards.weights.items() if part not in OF_SUBQUESTIONS):
        raise ValueError(
            f"rewards.weights: only {', '.join(OF_SUBQUESTIONS)} count, which are always 0 with strategy.name "
            f"'{name}', which has no sub-questions; allowed with it: another part above 0, or stages without ppo"
        )


def likelihood_is_of_a_frozen_solver_that_tells_it(config: Config) -> None:
    """Refuse to train on the solver's log-probabilities where it tells none, or where the policy is the solver."""
    if not config.rewards.pays_likelihood or not _pays_new_episodes(config):
        return
    key = f"rewards.weights.{LIKELIHOOD}"
    found = f"{key}: {config.rewards.weights[LIKELIHOOD]:g} is paid by a frozen solver's log-probabilities"
    if config.policy.solves:
        raise ValueError(
            f"{found}, and with policy.plays '{config.policy.plays}' the policy answers; allowed with it: 0, or "
            "policy.plays=decomposer"
        )
    for name, solver in config.solvers.items():
        if not _tells_likelihood(solver.backend):
            raise ValueError(
                f"{found}, and {name}.backend '{solver.backend}' tells none; allowed with it: 0, or {name}.backend "
                "vllm, or a class of your own with the method log_likelihood (docs/extending.md)"
            )


def _tells_likelihood(backend: str) -> bool:
    """Return whether a backend can tell the log-probability of a text; a class of the user's own is asked."""
    own = is_own(backend)
    return callable(getattr(find_part(backend, {}), "log_likelihood", None)) if own else backend == "vllm"


def each_neighbour_has_a_rank(config: Config) -> None:
    """Refuse more workers beside learner ranks than there are ranks, and workers that are larger than a GPU."""
    neighbours = {"rollout": config.rollout, **config.solvers}
    for name, group in neighbours.items():
        role = name.partition(".")[0]
        if role not in config.cluster.beside:
            continue
        if (gpus := getattr(group, "gpus", 0)) > 1:
            raise ValueError(
                f"cluster.beside: '{role}' has engines over {gpus:g} GPUs each, which cannot share one of the "
                f"learner's; allowed with it: {name}.gpus up to 1"
            )
        if (count := getattr(group, "workers", 1)) > config.learner.ranks:
            raise ValueError(
                f"cluster.beside: '{role}' has {count} workers, of which each needs a learner rank to lie beside; "
                f"allowed with it: {name}.workers up to learner.ranks ({config.learner.ranks})"
            )


def hopeless_is_measured(config: Config) -> None:
    """Refuse to end a run by what it does not measure."""
    if config.evaluation.stop_if_hopeless and "ppo" in config.stages and "evaluate" not in config.stages:
        raise ValueError(
            "evaluation.stop_if_hopeless goes by the evaluation before stage 2; allowed with it: stages with evaluate"
        )


def ppo_has_a_decomposer(config: Config) -> None:
    """Refuse to train with a strategy that asks no decomposer."""
    if config.strategy.name in UNTRAINED and not config.policy.solves and "ppo" in config.stages:
        raise ValueError(
            f"stages: ppo has nothing to train with strategy.name '{config.strategy.name}', which asks no "
            "decomposer; allowed with it: sft, evaluate, or policy.plays=both"
        )


def stages_have_their_problems(config: Config) -> None:
    """Refuse to train or evaluate on a split of files that is empty."""
    data, stages = config.data, set(config.stages)
    if data.source == "files":
        if not data.train and {"sft", "ppo"} & stages:
            raise ValueError("stages: data.train is empty, there is nothing to train on; allowed: [evaluate]")
        if not data.held_out and not data.held_out_share and "evaluate" in stages:
            raise ValueError("data.held_out: empty; it or data.held_out_share must be given for stage evaluate")


def fine_tuning_teaches_what_the_policy_plays(config: Config) -> None:
    """Refuse to fine-tune the policy for a role that it does not play in the stages that follow."""
    role, plays, others = config.sft.role, config.policy.plays, sorted(set(config.stages) - {"sft"})
    if "sft" not in config.stages:
        return
    if role == "decomposer" and plays == "solver":
        raise ValueError(
            "stages: sft teaches to write sub-questions, and the policy does not with policy.plays 'solver'; allowed "
            "with it: ppo, evaluate, or sft.role=solver"
        )
    solves, name = config.policy.solves, config.strategy.name
    played = {
        "decomposer": not (solves and name in UNTRAINED),
        "solver": solves and name != "monolith",
        "monolith": solves and name == "monolith",
    }
    if others and not played.get(role, False):
        found = f" with strategy.name '{name}', which asks no decomposer" if role == "decomposer" else ""
        needed = {
            "decomposer": f"stages without sft, or sft.role={'monolith' if name == 'monolith' else 'solver'}",
            "solver": "policy.plays=solver or both",
            "monolith": "strategy=monolith policy.plays=both",
        }.get(role)
        raise ValueError(
            f"sft.role: '{role}' is not what the policy is asked for in stage {others[-1]}{found}; allowed with it: "
            f"stages=[sft]{f', or {needed}' if needed else ''}"
        )


def other_roles_learn_from_the_data(config: Config) -> None:
    """Refuse sources without answers for a role that learns from the answers to sub-questions."""
    role = config.sft.role
    if "sft" not in config.stages or role == "decomposer":
        return
    for name, source in config.sft.sources.items():
        if source.weight and (source.kind != "data" or source.screen):
            raise ValueError(
                f"sft.sources.{name}: sft.role '{role}' learns from the data set's own sub-questions and their "
                "answers; allowed with it: kind data, unscreened"
            )


def frozen_decomposer_has_its_material(config: Config) -> None:
    """Refuse a program as the model that decomposes."""
    policy = config.policy
    programs = [name for name, solver in config.solvers.items() if solver.backend == "program"]
    if policy.plays == "solver" and policy.decomposer == "solver" and programs:
        raise ValueError(
            f"policy.decomposer: 'solver' has the model of the group solver write sub-questions, and "
            f"{programs[0]}.backend 'program' writes none; allowed with it: gold"
        )


def calculator_helps_a_frozen_solver(config: Config) -> None:
    """Refuse the solver's calculator where the policy answers: values that it did not sample cannot be trained on."""
    for name, solver in config.solvers.items():
        if config.policy.solves and getattr(solver, "calculator", False):
            raise ValueError(
                f"{name}.calculator: true fills in what a model did not write, and policy.plays "
                f"'{config.policy.plays}' trains the one that answers; allowed with it: false"
            )


def every_rank_has_an_example(config: Config) -> None:
    """Refuse batches of stage 1 that are smaller than the number of learner ranks."""
    if "sft" in config.stages and config.sft.batch_size < config.learner.ranks:
        raise ValueError(
            f"sft.batch_size must be at least learner.ranks ({config.learner.ranks}), found {config.sft.batch_size}: "
            "every rank needs an example"
        )


def examples_can_be_sampled(config: Config) -> None:
    """Refuse to sample or screen examples with a strategy that asks no decomposer."""
    if "sft" in config.stages and config.strategy.name in UNTRAINED:
        for name, source in config.sft.sources.items():
            if source.weight and (source.kind == "distilled" or source.screened):
                raise ValueError(
                    f"sft.sources.{name}: strategy.name '{config.strategy.name}' asks no decomposer, so there is "
                    "nothing to sample or to screen; allowed with it: kind data or file, unscreened"
                )


def resume_has_a_folder(config: Config) -> None:
    """Refuse to go on with a run whose folder is not named."""
    if config.resume and config.run_dir is None:
        raise ValueError("run_dir must be given with resume: the folder of the run to go on with")


def replay_trains_what_was_recorded(config: Config) -> None:
    """Refuse a replay with stages, or with samples, that need an engine."""
    if not config.rollout.replay:
        return
    if config.stages != ["ppo"]:
        found = f"{config.stages} is not allowed with rollout.replay"
        raise ValueError(f"stages: {found}, which starts no engine; allowed: [ppo]")
    if config.algorithm.resample_flat_groups:
        key = "algorithm.resample_flat_groups"
        raise ValueError(f"{key} must be false with rollout.replay: what was recorded is trained on")


def target_is_within_the_bound(config: Config) -> None:
    """Refuse to aim at a staleness that the bound does not allow."""
    controller = config.controller
    if controller.staleness_target is not None and controller.staleness_target > controller.max_staleness:
        raise ValueError(
            f"controller.staleness_target must be at most controller.max_staleness ({controller.max_staleness}), "
            f"found {controller.staleness_target:g}"
        )


# In the order in which they are checked; the first that is broken is said.
RULES: tuple[Callable[[Config], None], ...] = (
    every_rank_has_a_sequence, critic_goes_with_advantage, only_a_separate_critic_warms_up, critic_warm_up_ends,
    verify_reads_whole_tensors, engines_use_their_gpus, transport_has_what_it_needs, some_reward_counts,
    verdicts_can_be_earned, each_neighbour_has_a_rank, engines_fit_on_a_shared_gpu,
    likelihood_is_of_a_frozen_solver_that_tells_it, ppo_has_a_decomposer, some_part_can_be_earned, hopeless_is_measured,
    fine_tuning_teaches_what_the_policy_plays, other_roles_learn_from_the_data, frozen_decomposer_has_its_material,
    calculator_helps_a_frozen_solver, stages_have_their_problems, every_rank_has_an_example, examples_can_be_sampled,
    resume_has_a_folder, replay_trains_what_was_recorded, target_is_within_the_bound,
    program_finds_what_it_judges,
)  # fmt: skip
