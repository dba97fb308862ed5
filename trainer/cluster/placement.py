"""The needs of a run: the bundles of resources that its roles take, and whether nodes have room for them.

A bundle is what Ray reserves on one node, for one actor, or for those that share a GPU. All bundles of a run are
reserved at once or not at all, so that two runs never wait for each other with half of what they need.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from conf.schema.config import Config
from conf.schema.role_sizes import kind_of, role_sizes
from conf.schema.solver import VllmSolver


@dataclass(frozen=True)
class Bundle:
    """Cores and GPUs of one node, and the actors in them as (role, index)."""

    cpus: float
    gpus: float
    actors: tuple[tuple[str, int], ...]

    @property
    def resources(self) -> dict[str, float]:
        """The resources as Ray names them, without what is not needed."""
        return {name: value for name, value in (("CPU", self.cpus), ("GPU", self.gpus)) if value}


@dataclass(frozen=True)
class Node:
    """The cores and GPUs of a node, used or not."""

    cpus: float
    gpus: float


def in_words(config: Config, only: Sequence[str] | None = None) -> str:
    """Return the roles as a person lists them: how many engines, if there are any, and what else is started."""
    engines = all(isinstance(solver, VllmSolver) for solver in config.solvers.values())
    names = {"rollout": "policy engine", "solver": "solver engine" if engines else "solver"}
    names |= {"verifier": "verifier", "reward": "reward actor", "learner": "learner rank"}
    count = Counter[str]()
    for role in role_sizes(config, only):
        count[kind_of(role.name)] += role.count
    one = {"learner": "the learner"}
    found = [
        f"{count[name]} {words}s" if count[name] > 1 else one.get(name, f"the {words}")
        for name, words in names.items()
        if name in count
    ]
    return " and ".join(filter(None, [", ".join(found[:-1]), found[-1]]))


def bundles(config: Config, only: Sequence[str] | None = None) -> list[Bundle]:
    """Return the bundles of these roles, those of the learner first; an actor that reserves nothing is in none."""
    found = {role.name: role for role in role_sizes(config, only)}
    beside = [role for role in found.values() if kind_of(role.name) in config.cluster.beside and "learner" in found]
    made = []
    for role in found.values():
        if role in beside:
            continue
        for index in range(role.count):
            together, cpus, gpus = [role], role.cpus, role.gpus
            if role.name == "learner":
                together += [other for other in beside if index < other.count]
                cpus = sum(other.cpus for other in together)
                # Two ranks on one GPU cannot talk through NCCL: each takes whole ones.
                gpus = math.ceil(sum(other.gpus for other in together) - 1e-9)
            made.append(Bundle(cpus, gpus, tuple((other.name, index) for other in together)))
    return [bundle for bundle in made if bundle.resources]


def shortage(
    config: Config, nodes: Sequence[Node], where: str = "the cluster", only: Sequence[str] | None = None,
    at_once: int = 1,
) -> str | None:  # fmt: skip
    """Say in one line what these nodes lack for a run's roles, or for so many such runs at once; None if nothing.

    Bundles are laid out largest first, each on the first node with room. That finds a place for bundles of whole GPUs
    whenever there is one.
    """
    wanted = bundles(config, only) * at_once
    who = "the configuration wants" if at_once == 1 else f"{at_once} trials at once want"
    for name, kind in (("GPU", "gpus"), ("CPU", "cpus")):
        need = sum(getattr(bundle, kind) for bundle in wanted)
        have = sum(getattr(node, kind) for node in nodes)
        if need > have + 1e-9:
            each = [(role, getattr(role, kind)) for role in role_sizes(config, only)]
            parts = ", ".join(f"{role.name} {role.count} × {size:g}" for role, size in each if size)
            parts = parts if at_once == 1 else f"{parts} each"
            return f"{name}: {who} {need:g} ({parts}), {where} has {have:g}"
    room = [[node.gpus, node.cpus] for node in nodes]
    for bundle in sorted(wanted, key=lambda one: (one.gpus, one.cpus), reverse=True):
        place = next((free for free in room if free[0] + 1e-9 >= bundle.gpus and free[1] + 1e-9 >= bundle.cpus), None)
        if place is None:
            actors = " and ".join(f"{name}-{index}" for name, index in bundle.actors)
            sizes = ", ".join(f"{node.gpus:g} GPU and {node.cpus:g} CPU" for node in sorted(set(nodes), key=repr))
            return (
                f"{' and '.join(bundle.resources)}: no node of {where} has room left for {actors}, which needs "
                f"{bundle.gpus:g} GPU and {bundle.cpus:g} CPU on one node; its nodes have {sizes}"
            )
        place[0] -= bundle.gpus
        place[1] -= bundle.cpus
    return None
