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
from launch.check_models import check_models
from launch.check_solver import check_solver
from launch.required_packages import what_is_missing
from launch.wandb_key import check_key
from rollout.records import RecordError
from rollout.signals import stop_in_order
from rollout.solvers.base import Usage
from trainer.run_folder.resume import holds_run, is_finished, refuse_other_run, refuse_results_of_others

# A variable that names the cluster of the sweep whose trial this is. It ends with the sweep, so it is no override:
# that would be in the command that goes on with the trial.
SWEEP_CLUSTER = "DECOMPOSER_RL_SWEEP_CLUSTER"


def run_folder(config: Config) -> Path:
    """Return the run's folder: as configured, or runs/<date>_<time>."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    return Path(config.run_dir or f"runs/{stamp}").resolve()


def check_only_measures(config: Config, command: str) -> None:
    """Raise ConfigError for a copy or a tracker, which a run has and a command that only measures has not."""
    if config.mirror is not None:
        raise ConfigError(f"mirror: {command} keeps no copy of its folder; allowed: null")
    for key, asked in (("wandb", config.tracking.wandb == "online"), ("also", config.tracking.also)):
        if asked:
            allowed = "offline or disabled" if key == "wandb" else "none"
            raise ConfigError(f"tracking.{key}: {command} is not tracked; allowed: {allowed}")


def execute(config: Config, overrides: list[str]) -> int:
    """Run the main job with a validated configuration; return the exit status: 0, 1 failed, 2 refused, 128 + the number
    of a signal that stopped it."""
    try:
        return _execute(config, overrides)
    except RecordError as error:
        sys.stderr.write(f"data: {error}\n")
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
    return 2


def _execute(config: Config, overrides: list[str]) -> int:
    """Check what can be checked beforehand, cheapest first, and run. Raises ConfigError, RecordError."""
    if (missing := what_is_missing()) is not None:
        raise ConfigError(missing)
    console, folder = Console(), run_folder(config)
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    mirror = None
    if config.mirror is not None:
        from trainer.run_folder.mirror import Mirror

        mirror = Mirror(config.mirror, folder, say)
        mirror.fetch(resume=config.resume is not None)
    if holds_run(folder):
        refuse_other_run(folder, config)
        if is_finished(folder, config):
            say(f"the run in {folder} is finished")
            return 0
        check_budget(folder, config)
    else:
        refuse_results_of_others(folder)
    compiler = os.environ.get("CXX", "c++")
    if config.cluster.address is None and config.learner.gpus_per_rank == 0 and shutil.which(compiler) is None:
        raise ConfigError(
            f"learner: DeepSpeed compiles its CPU communication at first use, and '{compiler}' is not on this machine; "
            "install a C++ compiler (Debian, Ubuntu: apt install g++) or name one in CXX"
        )
    check_key(config)
    check_models(config)
    asked = check_solver(config)
    _check_resources(config, console)
    say(f"run folder {folder}")
    from launch.solver_bill import show_bill
    from trainer.run import Run
    from trainer.run_folder.lock import held_folder

    run = Run(config, folder, console, overrides, mirror, asked)
    show_bill(config, run.source, console)
    stop_in_order()
    with held_folder(folder):
        return run.execute()


def check_budget(folder: Path, config: Config) -> None:
    """Raise ConfigError if the run of a folder has spent a solver's budget, or the verifier's: even the evaluation
    would cost more."""
    from trainer.workers.solver_account import SolverAccount, account_line, read_account, read_accounts

    logs = folder / "logs"
    if more := SolverAccount(config, logs, read_accounts(logs, config)).larger_budget():
        keys = [text.partition("=")[0] for text in more]
        roles = dict.fromkeys(key.rpartition(".")[0] for key in keys)
        lines = [account_line(read_account(logs, role) or Usage(), config, role) for role in roles]
        bills = [line.replace("  ", ": ", 1) for line in lines]
        spent = bills[0].partition(": ")[2] if len(bills) == 1 else "; ".join(bills)
        raise ConfigError(f"{' and '.join(keys)}: spent by the run in '{folder}' ({spent}); to go on: {' '.join(more)}")


def _check_resources(config: Config, console: Console) -> None:
    """Show the plan. Raises ConfigError that says in one line what there is too little of for it."""
    import ray

    from trainer.cluster.placement import shortage
    from trainer.cluster.ray_cluster import available
    from trainer.cluster.resource_plan import gpu_roles, over_full, show, without_gpu
    from trainer.workers.errors import first_line

    try:
        memory = gpu_roles(config)
    except (ValueError, OSError) as error:  # where a cluster is joined, nobody has looked for the models yet
        keys = " or ".join(f"{role}.path" for role in ("model", *config.frozen))
        raise ConfigError(f"{keys}: a model cannot be read on this machine: {first_line(error)}") from None
    show(config, memory, console)
    if (wrong := without_gpu(config) or over_full(config, memory)) is not None:
        raise ConfigError(wrong)
    local = config.cluster.address is None
    try:
        missing = shortage(config, available(config), "this machine" if local else "the cluster")
    except (ConnectionError, ray.exceptions.RayError, RuntimeError) as error:
        raise ConfigError(
            f"cluster.address: no Ray cluster could be joined at {config.cluster.address!r}: {first_line(error)}"
        ) from None
    if missing is not None:
        ray.shutdown()
        raise ConfigError(missing)
