"""The main job: ``python -m launch.train [group=option] [key=value] [-m for a sweep]``.

The configuration is composed and validated before anything heavy is imported. Exit status: 0 finished, 1 failed,
2 refused configuration, 128 + the number of a signal that stopped it (130 after Ctrl-C).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from conf.schema.base import ConfigError
from conf.schema.override_text import command, override
from conf.schema.places import CONF
from launch.check_sweep import check_no_matrix, check_single, check_sweep
from launch.compose import MULTIRUN, compose, continued, is_search
from launch.job import SWEEP_CLUSTER, execute
from launch.options import SEARCHED, check_options, with_own_folders
from rollout.signals import Stopped, exit_status


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    try:
        arguments = with_own_folders(arguments)
        if any(text in ("-h", "--help", "--hydra-help", "--cfg", "-c", "--info") for text in arguments):
            return _hydra(arguments)
        check_no_matrix(arguments)
        if MULTIRUN.intersection(arguments):
            check_options(arguments)
            check_sweep(arguments)
            return _hydra(arguments)
        arguments = continued(arguments)
        check_single(arguments)
        address = os.environ.get(SWEEP_CLUSTER)
        config = compose([*arguments, *([override("cluster.address", address)] if address else [])])
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return execute(config, arguments)


def _hydra(arguments: list[str]) -> int:
    """Let Hydra itself handle the command line: help, printing of the configuration, sweeps."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from launch.sweep import fixed_keys, run_trial

    @hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
    def job(config: DictConfig) -> float:
        settings = HydraConfig.get()
        searched = [text for text in settings.overrides.hydra if text.startswith(SEARCHED)]
        overrides, fixed = list(settings.overrides.task), fixed_keys(arguments)
        folder, search = Path(settings.sweep.dir), is_search(settings)
        return run_trial(overrides, config, folder, settings.job.num, searched, fixed, search=search)

    # First, since Hydra's parser takes no overrides after an option that others came before.
    several = [text for text in arguments if text in MULTIRUN]
    sys.argv = [sys.argv[0], *several, *(text for text in arguments if text not in MULTIRUN)]
    try:
        job()
    except (KeyboardInterrupt, Stopped) as stopped:
        if MULTIRUN.intersection(arguments):
            same = [text for text in arguments if not text.startswith("hydra.sweep.dir=")]
            folder = override("hydra.sweep.dir", HydraConfig.get().sweep.dir if HydraConfig.initialized() else "FOLDER")
            sys.stderr.write(f"to go on: {command('launch.train', [*same, folder])}\n")
        return exit_status(stopped)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
