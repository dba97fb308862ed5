"""Sweeps that are refused, in one line and before anything starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.override_text import command
from launch.compose import MULTIRUN, compose, hydra_settings, is_search, key_of, sweep_params, trials
from launch.wandb_key import check_key
from trainer.run_folder.lock import make_folder

# Keys, and groups of keys, that only some stages read; a key's own entry counts more than its group's. The engines read
# learner.dtype, and whatever compares or scores texts these three keys of rewards.
TRAINING, ALL = ("sft", "ppo"), ("sft", "ppo", "evaluate")
READ_BY: dict[str, tuple[str, ...]] = {
    "sft": ("sft",),
    "algorithm": ("ppo",),
    "rewards": ("ppo",),
    **{f"rewards.{key}": ALL for key in ("vectors", "workers", "episode_seconds")},
    **{f"controller.{key}": ("ppo",) for key in ("max_staleness", "staleness_target")},
    **{f"learner.{key}": TRAINING for key in ("betas", "weight_decay", "grad_clip")},
    **{
        f"learner.{key}": ("ppo",)
        for key in ("lr", "lr_schedule", "warmup_steps", "critic_lr", "critic", "critic_warmup_steps")
    },
}


def check_no_matrix(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a matrix, of which a training would do nothing."""
    if any(key_of(text).partition(".")[0] == "matrix" for text in arguments):
        raise ConfigError("matrix: is for an evaluation; allowed: python -m launch.evaluate matrix=OPTION")


def check_single(arguments: Sequence[str]) -> None:
    """Raise ConfigError if the command of a single run chooses a sweep and does not say which of its trials it is."""
    given = {key_of(text) for text in arguments}
    if open_keys := [key for key in sweep_params(arguments) if key not in given]:
        raise ConfigError(
            f"sweep: has several values of {', '.join(open_keys)}, whose trials are started with -m: "
            f"{command('launch.train', ['-m', *arguments])}"
        )


def check_sweep(arguments: Sequence[str]) -> None:
    """Raise ConfigError if a trial cannot be run (``check_trials``), if the key for W&B cannot be one, if the sweep's
    folder cannot be written, or if copies of the trials cannot be kept beside it."""
    config = check_trials(arguments)
    check_key(config)
    known, whole = _folder(trials(list(arguments))[0])
    if config.mirror is not None:
        from trainer.run_folder.mirror import Mirror

        Mirror(f"{config.mirror.rstrip('/')}/{known.absolute().name}", known.absolute() / "TRIAL", sys.stderr.write)
    there = known if whole else next(place for place in known.parents if os.path.exists(place))
    make_folder(there, "hydra.sweep.dir")


def check_trials(arguments: Sequence[str]) -> Config:
    """Return the first trial's configuration. Raise ConfigError if a value of a sweep is not allowed, with the first
    values of its other keys; if the stage that reads a swept key is not run; or if a search would have trials without a
    score."""
    several = MULTIRUN.intersection(arguments)
    for text in arguments:
        if several and key_of(text) == "run_dir":
            raise ConfigError("run_dir: a sweep gives each trial a folder of its own; allowed: hydra.sweep.dir=FOLDER")
        if key_of(text) == "hydra.sweeper.direction" and not text.endswith("=maximize"):
            raise ConfigError("hydra.sweeper.direction: a trial's score is an accuracy; allowed: maximize")
    first, *others = trials(list(arguments))
    config = compose(first)
    _check_evaluated(first, config.stages)
    for other in others:
        stages = compose(other).stages
        _check_evaluated(other, stages)
        key = next(key_of(new) for old, new in zip(first, other, strict=True) if old != new)
        readers = READ_BY.get(key, READ_BY.get(key.partition(".")[0], ALL))
        if not set(readers) & set(stages):
            only = f"stage {readers[0]} reads" if len(readers) == 1 else f"stages {' and '.join(readers)} read"
            raise ConfigError(
                f"{key}: is swept, but only {only} it, and stages is [{','.join(stages)}]: the trials "
                f"would differ by chance alone; allowed: stages with {' or '.join(readers)}"
            )
    return config


def _check_evaluated(overrides: list[str], stages: Sequence[str]) -> None:
    """Raise ConfigError for a trial of a search that would not be evaluated."""
    if "evaluate" not in stages and is_search(hydra_settings(overrides)):
        raise ConfigError(
            f"stages: [{','.join(stages)}] is not allowed in a search, which goes by the held-out accuracy; allowed: "
            "stages with evaluate"
        )


def _folder(overrides: list[str]) -> tuple[Path, bool]:
    """Return the folder of a sweep, and whether its name is complete: some of it may be known to Hydra alone, and in
    its place is an underscore."""
    from omegaconf import OmegaConf

    settings: Any = OmegaConf.to_container(hydra_settings(overrides).sweep, resolve=False)
    known, *to_fill_in = str(settings["dir"]).split("${", 1)
    return Path(f"{known}_" if to_fill_in else known), not to_fill_in
