"""The run's actors: started together, waited for with a limit, and ended with the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from conf.schema.base import MODEL, PATH
from conf.schema.config import Config
from conf.schema.keys import changed, marked
from conf.schema.role_sizes import role_sizes
from conf.schema.rules import weight_transport
from conf.schema.solver import OpenAISolver, solver_role
from rewards.actor import RewardActor
from rollout.solvers.base import SolverMisconfigured
from rollout.solvers.pool import SolverActor
from rollout.worker import RolloutWorker
from trainer.cluster import placement
from trainer.cluster.ray_cluster import cluster_nodes, note_processes
from trainer.learner.learner import LearnerRank
from trainer.learner.learner_group import LearnerGroup
from trainer.run_folder.paths import absolute_path
from trainer.workers.errors import START_KEY, answer, log_sizes, log_tail, watched
from trainer.workers.pipeline import Pipeline
from trainer.workers.relay import Relay, relay_count
from trainer.workers.relayed_pipeline import RelayedPipeline
from trainer.workers.solver_outage import KEY

# On a CPU glibc is to keep freed memory: where the system hands large tensors out anew, page by page, at every step and
# push, that takes several times as long as copying them.
KEEP_FREED = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592"
# Only the first arena can hold large tensors. The learner works in the thread that has it, and its other threads would
# wait for each other in it; the other roles work in any thread.
ONE_ARENA = "glibc.malloc.arena_max=1"


class StartError(RuntimeError):
    """A role did not start; the message holds the end of its log."""


@dataclass
class RunningRoles:
    """The running actors, in order of their indices."""

    solvers: list[Any]
    workers: list[Any]
    rewarders: list[Any]
    learner: LearnerGroup | None
    log_folder: Path
    places: dict[tuple[str, int], PlacementGroupSchedulingStrategy] = field(default_factory=dict)
    verifiers: list[Any] = field(default_factory=list)
    relays: list[Any] = field(default_factory=list)
    # The solvers of a mixture by role; empty where there is one solver.
    mixture: dict[str, list[Any]] = field(default_factory=dict)
    # What was chosen for the run, to be said when it starts.
    notes: list[str] = field(default_factory=list)
    # What an earlier start left in the actors' logs, in bytes by name.
    logs_before: dict[str, int] = field(default_factory=dict)

    @property
    def solver_pools(self) -> dict[str, list[Any]]:
        """The solvers' actors by role: ``solver``, or the dotted keys of a mixture's solvers."""
        return self.mixture or {"solver": self.solvers}

    def pipeline(self, config: Config) -> Pipeline:
        """Return the rollout workers and reward actors as a pipeline."""
        limits, actors = config.controller, (self.workers, self.solvers, self.rewarders)
        asked = {role: one for role, one in config.frozen.items() if role != "verifier" or self.verifiers}
        servers = {role: one for role, one in asked.items() if isinstance(one, OpenAISolver)}
        waits = limits.wait_timeout_s, limits.max_tries, config.rewards.episode_seconds
        settings = (*actors, self.log_folder, *waits)
        named: dict[str, Any] = {
            "start_timeout_s": limits.start_timeout_s,
            "solver_name": " or ".join(f"{one.model} at {one.base_url}" for one in servers.values())
            or config.solver.backend,
            "outage_s": max((one.outage_minutes * 60 for one in servers.values()), default=0.0),
            "verifiers": self.verifiers,
            "solver_names": [
                f"{role}-{index}" for role, pool in self.solver_pools.items() for index in range(len(pool))
            ],
            "outage_key": " or ".join(f"{role}.outage_minutes" for role in servers) or KEY,
        }
        return RelayedPipeline(*settings, **named, relays=self.relays) if self.relays else Pipeline(*settings, **named)

    async def ready(
        self,
        timeout_s: float,
        progress: Callable[[int], object] = lambda done: None,
        solvers: Sequence[Any] = (),
        say: Callable[[str], object] = lambda line: None,
        verifiers: Sequence[Any] = (),
    ) -> None:
        """Wait until every actor is ready, with a limit of ``timeout_s`` for each; ``progress`` is told how many roles
        are, and ``say`` which actor a long wait is for. ``solvers`` and ``verifiers`` are those of others, for rollout
        workers that have none here. Raises StartError."""
        for note in self.notes:
            say(note)
        since = self.logs_before
        connecting = None if self.learner is None else asyncio.create_task(self.learner.connect())
        frozen = (self.solver_pools, {"verifier": self.verifiers})
        inference = (*frozen, {"rollout": self.workers}, {"reward": self.rewarders})
        judges = self.verifiers or list(verifiers)
        known = [self.solvers or list(solvers), *([judges] if judges else [])]
        for done, pools in enumerate([pools for pools in inference if any(pools.values())], 1):
            for name, actors in pools.items():
                arguments = known if name == "rollout" else []
                await wait_ready(actors, name, self.log_folder, timeout_s, *arguments, say=say, since=since)
            progress(done)
        await wait_ready(self.relays, "relay", self.log_folder, timeout_s, self.rewarders, say=say, since=since)
        if connecting is not None:
            key = START_KEY
            meeting = watched(connecting, "learner-0", self.log_folder, say, since.get("learner-0", 0))
            await answer(meeting, "learner-0", "meet the other ranks", timeout_s, self.log_folder, key)


@asynccontextmanager
async def running_roles(
    config: Config,
    log_folder: Path,
    only: Sequence[str] | None = None,
    solvers: Sequence[Any] = (),
    verifiers: Sequence[Any] = (),
    say: Callable[[str], object] = lambda line: None,
) -> AsyncIterator[RunningRoles]:
    """Have the actors of these roles for the block, ready; they end with it, and what was reserved for them is free
    again. By default they are those that the run needs. ``solvers`` and ``verifiers`` are those that the rollout
    workers ask where none is started here. ``say`` is told which actor a long wait is for. Raises StartError."""
    roles = await start_roles(config, log_folder, only)
    try:
        await roles.ready(config.controller.start_timeout_s, solvers=solvers, verifiers=verifiers, say=say)
        note_processes(config)
        yield roles
    finally:
        ranks = [] if roles.learner is None else roles.learner.ranks
        for actor in (*roles.solvers, *roles.verifiers, *roles.workers, *roles.rewarders, *roles.relays, *ranks):
            ray.kill(actor)
        for group in {place.placement_group for place in roles.places.values()}:
            remove_placement_group(group)


async def start_roles(config: Config, log_folder: Path, only: Sequence[str] | None = None) -> RunningRoles:
    """Reserve what the actors of these roles need, then create them; they load their models side by side. Raises
    StartError."""
    places, before = await _reserve(config, only), log_sizes(log_folder)
    given = for_actors(config)
    lives = {"max_restarts": config.controller.engine_restarts}
    frozen = {"max_concurrency": 10_000, "max_task_retries": 3, **lives}
    # Of each role its actor, how Ray runs that, and what it is given first.
    settings: dict[str, tuple[Any, dict[str, Any], Any]] = {
        **{solver_role(name): (SolverActor, frozen, given.of_solver(name)) for name in given.solver_names},
        "verifier": (SolverActor, frozen, given),
        "rollout": (RolloutWorker, {"max_concurrency": 1_000, **lives}, given),
        # The pipeline itself asks again, each episode alone: one that ends its process must not take others along.
        "reward": (RewardActor, {"max_restarts": -1}, given.rewards),
        "learner": (LearnerRank, {}, given),
    }
    wanted = {role.name: role for role in role_sizes(config, only)}

    def start(name: str) -> list[Any]:
        role, (actor, options, first) = wanted[name], settings[name]
        if not role.gpus:
            tunables = KEEP_FREED if name == "learner" else f"{KEEP_FREED}:{ONE_ARENA}"
            options = options | {"runtime_env": {"env_vars": {"GLIBC_TUNABLES": tunables}}}
        last = [name] if actor is SolverActor else []  # it plays several roles
        return [
            actor.options(
                num_cpus=role.cpus, num_gpus=role.gpus, scheduling_strategy=places.get((name, index)), **options
            ).remote(first, index, str(log_folder), *last)
            for index in range(role.count)
        ]

    pools = {name: start(name) for name in config.solvers if name in wanted}
    verifiers, workers, rewarders = (
        start(name) if name in wanted else [] for name in ("verifier", "rollout", "reward")
    )
    solvers = [actor for pool in pools.values() for actor in pool]
    learner, notes = None, list[str]()
    if "learner" in wanted:
        # Ranks that die are started again where they were.
        limit, (transport, why) = config.controller.learner_timeout_s, weight_transport(config)
        if workers and config.rollout.weights.transport == "auto":
            notes.append(f"new weights go to the rollout workers by {transport}: {why}")
        anew = config.learner.zero_stage == 3
        learner = LearnerGroup(partial(start, "learner"), workers, transport, limit, log_folder, anew=anew)
    relays = _start_relays(config, log_folder, relay_count(len(workers), len(rewarders)))
    mixture = pools if config.mixture else {}
    actors = solvers, workers, rewarders, learner
    return RunningRoles(*actors, log_folder, places, verifiers, relays, mixture, notes, before)


def _start_relays(config: Config, log_folder: Path, count: int) -> list[Any]:
    """Start the relays on this process's node: they have no share of CPUs, as it has none."""
    if not count:
        return []
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    relay = ray.remote(Relay).options(num_cpus=0, max_restarts=-1, scheduling_strategy=here)
    controller = config.controller
    limits = controller.wait_timeout_s, controller.start_timeout_s, config.rewards.episode_seconds
    return [relay.remote(index, count, str(log_folder), *limits) for index in range(count)]


def for_actors(config: Config) -> Config:
    """Return the configuration with absolute paths, as seen from here: an actor may run in another directory."""
    here = Path.cwd()
    for key in marked(PATH, MODEL):
        config = changed(config, key.name, partial(absolute_path, markers=key.markers, at=here))
    return config


async def _reserve(
    config: Config, only: Sequence[str] | None
) -> dict[tuple[str, int], PlacementGroupSchedulingStrategy]:
    """Reserve the run's bundles, all of them at once; return where each actor goes. Raises StartError if the cluster
    lacks something, or has no room for longer than ``controller.start_timeout_s``."""
    wanted = placement.bundles(config, only)
    if not wanted:
        return {}
    missing = placement.shortage(config, cluster_nodes(), only=only)
    if missing is not None:
        raise StartError(missing)
    group = placement_group([bundle.resources for bundle in wanted], config.cluster.strategy.upper())
    limit = config.controller.start_timeout_s
    try:
        async with asyncio.timeout(limit):
            await group.ready()
    except TimeoutError:
        free = ray.available_resources()
        raise StartError(
            f"the cluster had no room in {limit:g} s (controller.start_timeout_s): the run needs "
            + " and ".join(f"{sum(one.resources.get(name, 0) for one in wanted):g} {name}" for name in ("CPU", "GPU"))
            + f", free are now {free.get('CPU', 0):g} CPU and {free.get('GPU', 0):g} GPU"
        ) from None
    return {
        actor: PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
        for index, bundle in enumerate(wanted)
        for actor in bundle.actors
    }


async def wait_ready(
    actors: Sequence[Any],
    name: str,
    log_folder: Path,
    timeout_s: float,
    *arguments: Any,
    say: Callable[[str], object] = lambda line: None,
    since: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Wait until actors are loaded; ``say`` which one a long wait is for, with what its log says ``since`` so many
    bytes. Raises StartError with the end of the log of the first that is not."""
    for index, actor in enumerate(actors):
        try:
            async with asyncio.timeout(timeout_s):
                own = f"{name}-{index}"
                await watched(actor.ready.remote(*arguments), own, log_folder, say, since.get(own, 0))
        except TimeoutError:
            problem = f"was not ready in {timeout_s:g} s (controller.start_timeout_s)"
        except RayError as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, SolverMisconfigured):
                raise StartError(str(error.cause)) from None
            problem = f"failed to start: {str(error).strip().splitlines()[-1]}"
        else:
            continue
        raise StartError(f"{name}-{index} {problem}; the end of its log:\n{log_tail(log_folder, f'{name}-{index}')}")
