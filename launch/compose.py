"""From the command line to a validated configuration and a run folder."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.places import CONF
from conf.schema.validate import group_keys, validate

if TYPE_CHECKING:
    pass

MULTIRUN = {"-m", "--multirun"}


def compose(overrides: list[str]) -> Config:
    """Compose the Hydra configuration and validate it; raises ConfigError with one line."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import ConfigCompositionException, HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    check_options(overrides)
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


def check_options(overrides: list[str]) -> None:
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
