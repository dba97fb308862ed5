"""Check what a run needs: ``python -m launch.doctor [group=option] [key=value]``; nothing is started.

Takes what ``launch.train`` is given, and prints a line for each check with its remedy, in seconds. A solver or a
verifier that is a server is asked one short question. Exit status: 0 if nothing failed, 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial

from launch.doctor import probes
from launch.doctor.checks import FAILURE, OK, Finding

NODES = "the nodes' own: run the doctor there"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="launch.doctor", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="what launch.train is given")
    # For --help alone: what is no option here may be one of launch.train, as -m, and keeps its place.
    parser.parse_known_args(arguments)
    failed = False
    for finding in examine(sys.argv[1:] if arguments is None else arguments):
        sys.stdout.write(f"{finding.line()}\n")
        sys.stdout.flush()
        failed = failed or finding.level == FAILURE
    return 1 if failed else 0


def examine(overrides: list[str]) -> Iterator[Finding]:
    """Yield what each check finds, the quickest first. Those that ask for a configuration are left out without one."""
    yield probes.python_version()
    yield probes.lock()
    config = None
    try:
        from conf.schema.base import ConfigError
        from launch.compose import MULTIRUN, compose, continued, first_trial
        from launch.options import with_own_folders

        try:
            overrides = with_own_folders(overrides)
            several = MULTIRUN.intersection(overrides)
            config = compose(first_trial(overrides) if several else continued(overrides))
            yield Finding(OK, "configuration", "can be run")
        except ConfigError as error:
            yield Finding(FAILURE, "configuration", str(error))
    except ImportError as error:
        yield _missing("configuration", error)
    joins = config is not None and config.cluster.address is not None
    local: dict[str, Callable[[], Finding]] = {
        "compiler": partial(probes.compiler, config),
        "memory": probes.memory,
        "shared memory": partial(probes.shared_memory, config),
        "TMPDIR": probes.temporary_folder,
        "GPUs": partial(probes.gpus, config),
    }
    everywhere: dict[str, Callable[[], Finding]] = {
        "disk": partial(probes.disk, config),
        "ports": partial(probes.ports, config),
        "proxies": partial(probes.proxies, config),
    }
    if config is not None:
        everywhere |= {
            "models": partial(probes.models, config),
            "solver": partial(probes.solver, config),
            "verifier": partial(probes.verifier, config),
            "W&B": partial(probes.wandb_key, config),
        }
    for name, check in (local | everywhere).items():
        if joins and name in local:
            yield Finding(OK, name, NODES)
            continue
        try:
            yield check()
        except ImportError as error:
            yield _missing(name, error)


def _missing(name: str, error: ImportError) -> Finding:
    return Finding(FAILURE, name, f"cannot be checked: {error}", "make clean-env setup")


if __name__ == "__main__":
    sys.exit(main())
