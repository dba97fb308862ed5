"""From the command line to a validated configuration and a run folder."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rollout.records import RecordError
from trainer.config import Config, ConfigError, group_keys, validate

if TYPE_CHECKING:
    from rich.console import Console

CONF = Path(__file__).resolve().parent.parent / "conf"
MULTIRUN = {"-m", "--multirun"}


def compose(overrides: list[str]) -> Config:
    """Compose the Hydra configuration and validate it; raises ConfigError with one line."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import ConfigCompositionException, HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _known_options(overrides)
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            try:
                composed = hydra_compose("config", overrides=overrides)
            except ConfigCompositionException as error:
                # Which keys the solver has depends on its backend, which the chosen options alone tell.
                options = [text for text in overrides if (CONF / text.lstrip("+").partition("=")[0]).is_dir()]
                backend = hydra_compose("config", overrides=options).solver.backend
                raise ConfigError(_one_line(error, str(backend))) from None
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error, "")) from None
    return validate(values)


def first_trial(arguments: list[str]) -> list[str]:
    """The overrides of a sweep's first trial, to be checked before it starts; a single run's are as they are."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
    from hydra.errors import OverrideParseException

    if not MULTIRUN.intersection(arguments):
        return arguments
    texts = [text for text in arguments if text not in MULTIRUN]
    try:
        parsed = OverridesParser.create().parse_overrides(texts)
    except OverrideParseException as error:
        raise ConfigError(_one_line(error, "")) from None
    first = []
    for text, override in zip(texts, parsed, strict=True):
        if not override.is_sweep_override():
            first.append(text)
        elif isinstance(override.value(), ChoiceSweep | RangeSweep):
            first.append(f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}")
    return first


def _known_options(overrides: list[str]) -> None:
    """A group that is given an option it does not have: say which there are."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        folder = CONF / key
        # Hydra's own groups have options of its own.
        if folder.is_dir() and not key.startswith("hydra") and value != "" and "(" not in value:
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
    mandatory = re.search(r"Missing mandatory value: (\S+)", text)
    return f"{mandatory[1]}: missing; it must be given" if mandatory else text


# What an episode depends on; the rest of a run's configuration is about training it.
EPISODE = ("model", "solver", "strategy", "rollout")


def trained(run_or_model: str, overrides: list[str]) -> Config:
    """The configuration to use a trained decomposer with: that of its run, where there is one, under overrides.

    ``run_or_model`` is a run's folder, one of its checkpoints, or any model. Raises ConfigError.
    """
    from omegaconf import OmegaConf

    given = Path(run_or_model).expanduser()
    run = next((folder for folder in (given, *given.resolve().parents[:2]) if (folder / "config.yaml").is_file()), None)
    model = run_or_model
    if run is not None and run == given:
        found = exported(run)
        if found is None:
            raise ConfigError(f"'{run_or_model}' holds no trained decomposer; allowed: a run with checkpoints, a model")
        model = str(found)
    chosen = {text.partition("=")[0] for text in overrides if (CONF / text.partition("=")[0]).is_dir()}
    of_chosen = [text for text in overrides if re.split("[.=]", text)[0] in chosen]
    fresh = compose(["stages=[evaluate]", *of_chosen]).model_dump(mode="json")
    before = {} if run is None else yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    values = fresh | {
        name: _completed(before[name], fresh[name]) for name in EPISODE if name in before and name not in chosen
    }
    others = [text for text in overrides if text not in of_chosen]
    merged: Any = OmegaConf.to_container(OmegaConf.merge(values, OmegaConf.from_dotlist(others)))
    merged["model"]["path"], merged["start_from"] = model, None
    return validate(merged)


def _completed(group: dict[str, Any], fresh: dict[str, Any]) -> dict[str, Any]:
    """A run's group with today's values of keys that there were none of when it ran; keys depend on the backend."""
    return fresh | group if group.get("backend") == fresh.get("backend") else group


def exported(run: Path) -> Path | None:
    """A run's newest decomposer: of PPO, of its last step, or of SFT; None if it saved none."""
    folder = run / "checkpoints"
    steps = sorted(folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")), reverse=True)
    return next((path for path in (folder / "ppo", *steps, folder / "sft") if (path / "config.json").is_file()), None)


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
        from trainer.mirror import Mirror

        try:
            mirror = Mirror(config.mirror, folder, say)
            mirror.take_up(resume=config.resume is not None)
        except ConfigError as error:
            sys.stderr.write(f"{error}\n")
            return 2
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
    from trainer.holding import held_folder
    from trainer.run import Run

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

    from trainer.placement import shortage
    from trainer.plan import gpu_roles, over_full, show
    from trainer.roles import available

    memory = gpu_roles(config)
    show(config, memory, console)
    if (full := over_full(config, memory)) is not None:
        return full
    local = config.cluster.address is None
    try:
        missing = shortage(config, available(config, CONF.parent), "this machine" if local else "the cluster")
    except (ConnectionError, ray.exceptions.RayError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        return f"cluster.address: no Ray cluster could be joined at {config.cluster.address!r}: {line}"
    if missing is not None:
        ray.shutdown()
    return missing


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    if any(text in ("-h", "--help", "--hydra-help", "--cfg", "-c", "--info") for text in arguments):
        return _hydra(arguments)
    try:
        if MULTIRUN.intersection(arguments):
            _known_options(arguments)
            compose(first_trial(arguments))
            return _hydra(arguments)
        config = compose(arguments)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return execute(config, arguments)


def _hydra(arguments: list[str]) -> int:
    """Let Hydra itself handle the command line: help, printing of the configuration, sweeps."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from launch.sweep import run_trial

    @hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
    def job(_: DictConfig) -> float:
        settings = HydraConfig.get()
        return run_trial(list(settings.overrides.task), Path(settings.sweep.dir), settings.job.num)

    sys.argv = [sys.argv[0], *arguments]
    try:
        job()
    except KeyboardInterrupt:
        sys.stderr.write("stopped; to go on: the same command with hydra.sweep.dir=FOLDER, the sweep's folder\n")
        return 130
    return 0
