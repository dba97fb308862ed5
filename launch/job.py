"""Run the main job with a validated configuration."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from conf.schema.base import ConfigError
from conf.schema.config import Config
from rollout.records import RecordError


def run_folder(config: Config) -> Path:
    """The run's folder: as configured, or runs/<date>_<time>."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return Path(config.run_dir or f"runs/{stamp}").expanduser().resolve()


def execute(config: Config, overrides: list[str]) -> int:
    """Run the main job with a validated configuration; returns the exit status."""
    from rich.console import Console

    console, folder = Console(), run_folder(config)
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    mirror = None
    if config.mirror is not None:
        from trainer.run_folder.mirror import Mirror

        try:
            mirror = Mirror(config.mirror, folder, say)
            mirror.fetch(resume=config.resume is not None)
        except ConfigError as error:
            sys.stderr.write(f"{error}\n")
            return 2
    if (folder / "config.yaml").exists():
        if config.resume is None:
            sys.stderr.write(
                f"run_dir: '{folder}' already holds a run; allowed: a new folder, or resume=auto to go on with it\n"
            )
            return 2
        from trainer.run_folder.resume import check_resumable, is_finished

        try:
            check_resumable(folder, config)
        except ConfigError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        if is_finished(folder):
            say(f"the run in {folder} is finished")
            return 0
    compiler = os.environ.get("CXX", "c++")
    if config.cluster.address is None and config.learner.gpus_per_rank == 0 and shutil.which(compiler) is None:
        sys.stderr.write(
            f"learner: DeepSpeed compiles its CPU communication at first use, and '{compiler}' is not on this machine; "
            "install a C++ compiler (Debian, Ubuntu: apt install g++) or name one in CXX\n"
        )
        return 2
    missing = _missing(config, console)
    if missing is not None:
        sys.stderr.write(f"{missing}\n")
        return 2
    say(f"run folder {folder}")
    from trainer.run import Run
    from trainer.run_folder.lock import held_folder

    try:
        run = Run(config, folder, console, overrides, mirror)
        with held_folder(folder):
            return run.execute()
    except RecordError as error:
        sys.stderr.write(f"data: {error}\n")
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
    return 2


def _missing(config: Config, console: Console) -> str | None:
    """Show the plan; what there is too little of for it, in one line, or None if nothing."""
    import ray

    from trainer.cluster.placement import shortage
    from trainer.cluster.ray_cluster import available
    from trainer.cluster.resource_plan import gpu_roles, over_full, show
    from trainer.workers.errors import first_line

    memory = gpu_roles(config)
    show(config, memory, console)
    if (full := over_full(config, memory)) is not None:
        return full
    local = config.cluster.address is None
    try:
        missing = shortage(config, available(config), "this machine" if local else "the cluster")
    except (ConnectionError, ray.exceptions.RayError, RuntimeError) as error:
        return f"cluster.address: no Ray cluster could be joined at {config.cluster.address!r}: {first_line(error)}"
    if missing is not None:
        ray.shutdown()
    return missing
