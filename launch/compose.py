"""From the command line to a validated configuration and a run folder."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from trainer.config import Config, ConfigError, group_keys, validate

CONF = Path(__file__).resolve().parent.parent / "conf"


def compose(overrides: list[str]) -> Config:
    """Compose the Hydra configuration and validate it; raises ConfigError with one line."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _known_options(overrides)
    backend = ""
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            # Which keys the solver has depends on its backend, which the chosen options alone tell.
            options = [text for text in overrides if (CONF / text.lstrip("+").partition("=")[0]).is_dir()]
            backend = hydra_compose("config", overrides=options).solver.backend
            composed = hydra_compose("config", overrides=overrides)
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error, str(backend))) from None
    return validate(values)


def _known_options(overrides: list[str]) -> None:
    """A group that is given an option it does not have: say which there are."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        folder = CONF / key
        if folder.is_dir() and value not in ("", "null"):
            options = sorted(path.stem for path in folder.glob("*.yaml"))
            for name in value.split(","):
                if name not in options:
                    raise ConfigError(f"{key}: '{name}' is unknown; allowed: {', '.join(options)}")


def _one_line(error: Exception, backend: str) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    missing = re.search(r"Could not override '([^']+)'", text)
    if missing:
        group, _, name = missing[1].rpartition(".")
        allowed = group_keys(group, backend)
        if not allowed:
            return f"{missing[1]}: unknown key; allowed groups: {', '.join(Config.model_fields)}"
        return f"{missing[1]}: unknown key '{name}'; allowed: {', '.join(allowed)}"
    return text


def run_folder(config: Config, job: int | None = None) -> Path:
    """The run's folder: as configured, or runs/<date>_<time>, with the number of the job in a sweep."""
    if config.run_dir is not None:
        return Path(config.run_dir).expanduser()
    stamp = os.environ.setdefault("RUN_STAMP", datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    return Path("runs") / (stamp if job is None else f"{stamp}_{job}")


def execute(config: Config, overrides: list[str], job: int | None = None) -> int:
    """Run the main job with a validated configuration."""
    from rich.console import Console

    console = Console()
    folder = run_folder(config, job).resolve()
    if (folder / "config.yaml").exists():
        if config.resume is None:
            sys.stderr.write(
                f"run_dir: '{folder}' already holds a run; allowed: a new folder, or resume=auto to go on with it\n"
            )
            return 2
        from trainer.resume import check_resumable, is_finished

        try:
            check_resumable(folder, config)
        except ConfigError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        if is_finished(folder):
            console.print(f"the run in {folder} is finished", highlight=False, soft_wrap=True, markup=False)
            return 0
    compiler = os.environ.get("CXX", "c++")
    if config.cluster.address is None and config.learner.gpus_per_rank == 0 and shutil.which(compiler) is None:
        sys.stderr.write(
            f"learner: DeepSpeed compiles its CPU communication at first use, and '{compiler}' is not on this machine; "
            "install a C++ compiler (Debian, Ubuntu: apt install g++) or name one in CXX\n"
        )
        return 2
    console.print(f"run folder {folder}", highlight=False, soft_wrap=True, markup=False)
    from trainer.run import Run

    return Run(config, folder, console, overrides).execute()


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    multirun = [text for text in arguments if text in ("-m", "--multirun")]
    if any(text in ("-h", "--help", "--hydra-help", "--cfg", "-c", "--info") for text in arguments):
        return _hydra(arguments)
    if multirun:
        return _hydra(arguments)
    try:
        config = compose(arguments)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return execute(config, arguments)


def _hydra(arguments: list[str]) -> int:
    """Let Hydra itself handle the command line: help, printing of the configuration, sweeps."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig, OmegaConf

    @hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
    def job(composed: DictConfig) -> int:
        values: Any = OmegaConf.to_container(composed, resolve=True)
        settings = HydraConfig.get()
        number = settings.job.num if settings.mode is not None and settings.mode.name == "MULTIRUN" else None
        try:
            config = validate(values)
        except ConfigError as error:
            sys.stderr.write(f"{error}\n")
            raise SystemExit(2) from None
        return execute(config, list(settings.overrides.task), number)

    sys.argv = [sys.argv[0], *arguments]
    job()
    return 0
