"""The needs of a run: ``python -m launch.plan [group=option] [key=value]``; nothing is started.

Prints roles, cores, GPUs and the estimated memory of each GPU with its arithmetic, for a cluster that is described by
``cluster.nodes``, ``cluster.cpus_per_node``, ``cluster.gpus_per_node`` and ``cluster.gpu_gib``. Models that are not at
hand are described by size: ``--model 7b --solver 14b``. Exit status: 0 it fits, 2 it does not, or the configuration is
refused.
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from conf.schema.base import ConfigError
from conf.schema.config import Config
from launch.compose import compose
from trainer.cluster.placement import Node, shortage
from trainer.cluster.resource_plan import gpu_roles, over_full, show


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="launch.plan", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", metavar="SIZE", help="the decomposer by its size, as 7b, instead of model.path")
    parser.add_argument("--solver", metavar="SIZE", help="the solver by its size instead of solver.path")
    parser.add_argument("--config-dir", metavar="FOLDER", help="YAML files of your own, in groups like those of conf/")
    parser.add_argument("overrides", nargs="*", help="what launch.train is given")
    options = parser.parse_intermixed_args(arguments)
    console = Console()
    try:
        own = ["--config-dir", options.config_dir] if options.config_dir else []
        config = compose([*own, *options.overrides])
        memory = gpu_roles(config, options.model, options.solver)
    except (ConfigError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    show(config, memory, console)
    missing = _missing(config) or over_full(config, memory)
    if missing is not None:
        sys.stderr.write(f"{missing}\n")
        return 2
    return 0


def _missing(config: Config) -> str | None:
    cluster = config.cluster
    if cluster.nodes is None:
        return None
    # Where cores were not described, they are not what is asked about.
    cpus = cluster.cpus_per_node or float("inf")
    return shortage(config, [Node(cpus, cluster.gpus_per_node or 0)] * cluster.nodes, "the described cluster")


if __name__ == "__main__":
    sys.exit(main())
