"""The needs of a run: ``python -m launch.plan [group=option] [key=value]``; nothing is started.

Prints for which models the plan is, roles, cores, GPUs and the estimated memory of each GPU with its arithmetic, for a
cluster that is described by ``cluster.nodes``, ``cluster.cpus_per_node``, ``cluster.gpus_per_node`` and
``cluster.gpu_gib``. For a solver or verifier that is a server there is a table of requests, tokens and cost by stage.
Models that are not at hand are described by size: ``--model 7b --solver 14b``. Exit status: 0 it
fits, 2 it does not, or the configuration is refused.
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.text import Text

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.solver import OpenAISolver
from launch.compose import compose, continued
from launch.options import with_own_folders
from launch.solver_bill import show_bill
from rollout.data.source import make_source
from rollout.records import RecordError
from trainer.cluster.gpu_memory import DESCRIBED
from trainer.cluster.placement import Node, shortage
from trainer.cluster.resource_plan import GpuRole, gpu_roles, over_full, planned_models, show, tiny_models


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="launch.plan", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", metavar="SIZE", help="the decomposer by its size, as 7b, instead of model.path")
    parser.add_argument("--solver", metavar="SIZE", help="the solver by its size instead of solver.path")
    parser.add_argument("--config-dir", metavar="FOLDER", action="append", default=[],
        help="YAML files of your own, in groups like those of conf/; it may be repeated")  # fmt: skip
    parser.add_argument("overrides", nargs="*", help="what launch.train is given")
    options = parser.parse_intermixed_args(arguments)
    console = Console()
    try:
        own = [text for folder in options.config_dir for text in ("--config-dir", folder)]
        config = compose(continued(with_own_folders([*own, *options.overrides])))
        memory = gpu_roles(config, options.model, options.solver)
    except (ConfigError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    models = planned_models(config, options.model, options.solver)
    planned = f"Planned for {', '.join(f'{role} {name}' for role, name in models.items())}"
    for line in (Text(planned), *(Text(f"warning: {doubt}", style="yellow") for doubt in doubts(models, memory))):
        console.print(line, soft_wrap=True)
    show(config, memory, console)
    if any(isinstance(role, OpenAISolver) for role in config.frozen.values()):
        try:
            show_bill(config, make_source(config.data), console, without_prices=True)
        except (ConfigError, RecordError, OSError) as error:
            console.print(f"no estimate of requests: {error}", highlight=False, markup=False, soft_wrap=True)
    missing = _missing(config) or over_full(config, memory)
    if missing is not None:
        sys.stderr.write(f"{missing}\n")
        return 2
    return 0


def doubts(models: dict[str, str], memory: list[GpuRole]) -> list[str]:
    """Return warnings that a plan for GPUs is one for the shipped models, or that no model's size makes a
    difference."""
    if not memory:
        sized = " and the ".join(role for role, name in models.items() if name.lower() in DESCRIBED)
        return [f"no role has a GPU here, so the size of the {sized} changes nothing"] if sized else []
    options = {"decomposer": "--model", "solver": "--solver"}
    tiny, said = tiny_models(models)
    if not tiny:
        return []
    sizes = " ".join(f"{options[role]} SIZE" for role in tiny)
    return [
        f"{said}, so this memory is not that of larger ones: add {sizes} ({', '.join(DESCRIBED)}), or name your models"
    ]


def _missing(config: Config) -> str | None:
    cluster = config.cluster
    if cluster.nodes is None:
        return None
    # Where cores were not described, they are not what is asked about.
    cpus = cluster.cpus_per_node or float("inf")
    return shortage(config, [Node(cpus, cluster.gpus_per_node or 0)] * cluster.nodes, "the described cluster")


if __name__ == "__main__":
    sys.exit(main())
