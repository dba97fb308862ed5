"""From the command line to a validated configuration and a run folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.keys import unknown_key
from conf.schema.override_text import override as override_of
from conf.schema.places import CONF
from conf.schema.solver import backend_of
from conf.schema.validate import is_secret, validate
from launch.options import SEARCHED, check_options, search_folders, with_own_folders
from trainer.run_folder.resume import overrides_of

MULTIRUN = {"-m", "--multirun"}
# Groups whose options may hold the layout of a cluster.
LAYOUTS = ("cluster", "experiment")
# The option of ``cluster`` that nobody chose.
HERE = "laptop"
SWEPT = " a sweep of several values needs -m (python -m launch.train -m KEY=VALUES);"


def compose(overrides: list[str]) -> Config:
    """Compose the Hydra configuration and validate it; raises ConfigError with one line."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    overrides = with_own_folders(overrides)
    check_options(overrides)
    for override in parse(overrides):
        if override.is_sweep_override():
            raise ConfigError(_unreadable(override.input_line, SWEPT))
    try:
        with _hydra():
            values = _composed(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_one_line(error, "")) from None
    return validate(values)


@contextmanager
def _hydra() -> Iterator[None]:
    """Have Hydra compose from the project's configuration in the block, whatever it composed before."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def hydra_settings(overrides: list[str]) -> Any:
    """Return Hydra's own settings for overrides that ``compose`` has taken."""
    from hydra import compose as hydra_compose

    with _hydra():
        return hydra_compose("config", overrides=overrides, return_hydra_config=True).hydra


def chosen_option(overrides: list[str], group: str) -> str:
    """Return the option of a group that overrides come to: their own, or that of the experiment which they choose.
    Raises ConfigError."""
    compose(overrides)
    return str(hydra_settings(overrides).runtime.choices[group])


def is_search(settings: Any) -> bool:
    """Return whether Hydra's own settings choose a sweeper that goes by the trials' scores."""
    return "direction" in settings.sweeper


def _composed(overrides: list[str]) -> dict[str, Any]:
    """Return what Hydra makes of the overrides. The layout of a cluster is for engines: a solver that has none is
    composed as on a laptop."""
    from hydra import compose as hydra_compose
    from hydra.errors import ConfigCompositionException
    from omegaconf import OmegaConf

    def made(texts: list[str]) -> Any:
        return OmegaConf.to_container(hydra_compose("config", overrides=texts), resolve=True, throw_on_missing=True)

    try:
        values: dict[str, Any] = made(overrides)
        if backend_of(values["solver"]) != "vllm" and any(is_choice(text, *LAYOUTS) for text in overrides):
            others = [text for text in overrides if not is_choice(text, "cluster")]
            values["solver"] = made([*others, f"cluster={HERE}"])["solver"]
    except ConfigCompositionException as error:
        # Which keys solver and verifier have depends on their backends, which the chosen options alone tell.
        options = [text for text in overrides if text.startswith(SEARCHED) or is_choice(text)]
        group = "verifier" if "'verifier." in str(error) else "solver"
        chosen: Any = OmegaConf.to_container(hydra_compose("config", overrides=options))
        mixed = re.search(r"'solver\.mixture\.(\w+)", str(error))
        mixture = chosen["solver"].get("mixture", {}) if mixed else {}
        own = backend_of(mixture.get(mixed[1])) if mixed else ""
        raise ConfigError(_one_line(error, backend_of(chosen.get(group)), own)) from None
    return values


def is_choice(text: str, *groups: str) -> bool:
    """Return whether an override chooses the option of a group: of any, or of one of these."""
    key = text.lstrip("+").partition("=")[0].partition("@")[0]
    return key in groups if groups else (CONF / key).is_dir()


def continued(overrides: list[str]) -> list[str]:
    """Return the overrides that go on with a run: with ``resume=auto`` and the folder of one, those that it began with
    where these give no other value; else these alone. Whether it may go on so is checked on what is composed. Raises
    ConfigError."""
    given = {key_of(text): text for text in overrides}
    if not {"run_dir", "resume"} <= given.keys():
        return overrides
    folder, resume = (parse([given[key]])[0].value() for key in ("run_dir", "resume"))
    began = None if resume is None else overrides_of(Path(str(folder)).expanduser())
    if began is None:
        return overrides
    # Keys belong to the option that was chosen with them.
    chosen = {key_of(text) for text in overrides if is_choice(text) and text not in began}
    kept = [text for text in began if key_of(text) not in given and key_of(text).partition(".")[0] not in chosen]
    return [*kept, *overrides]


def key_of(text: str) -> str:
    """Return the key, or group, of an override."""
    return text.lstrip("+~").partition("=")[0]


def parse(overrides: list[str]) -> list[Any]:
    """Return the overrides as Hydra reads them. Raises ConfigError with one line."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    parsed: list[Any] = []
    for text in overrides:
        if text.startswith("-"):
            raise ConfigError(f"{text}: no option of this command; allowed: KEY=VALUE, as algorithm.steps=3")
        try:
            parsed += OverridesParser.create().parse_overrides([text])
        except OverrideParseException as error:
            if "=" in text:
                raise ConfigError(_unreadable(text)) from None
            raise ConfigError(_one_line(error, "")) from None
    return parsed


def sweep_params(arguments: Sequence[str]) -> dict[str, str]:
    """Return the keys that the chosen option of ``sweep`` sweeps, each with its values as they are written."""
    from omegaconf import OmegaConf

    texts = list(arguments)
    chosen = [text.partition("=")[2] for text in texts if key_of(text) == "sweep"]
    files = [folder / "sweep" / f"{name}.yaml" for name in chosen for folder in (CONF, *search_folders(texts))]
    found: dict[str, str] = {}
    for file in filter(Path.is_file, files):
        found |= OmegaConf.select(OmegaConf.load(file), "hydra.sweeper.params") or {}
    return found


def trials(arguments: list[str]) -> list[list[str]]:
    """Return the overrides of a sweep's first trial, then of those trials that differ from it in one choice; those of
    a single run are as they are. Intervals and ranges are taken by their ends. Raises ConfigError, also for trials that
    would be the same."""
    if not MULTIRUN.intersection(arguments):
        return [arguments]
    texts = [text for text in arguments if text not in MULTIRUN]
    given = {key_of(text) for text in texts}
    texts = [*(f"{key}={value}" for key, value in sweep_params(texts).items() if key not in given), *texts]
    folders = [CONF, *search_folders(texts)]
    parsed = parse(texts)
    for key in (key_of(text) for text, override in zip(texts, parsed, strict=True) if override.is_sweep_override()):
        if sum(key_of(text) == key for text in texts if not text.startswith("~")) > 1:
            raise ConfigError(f"{key}: is swept and given twice; allowed: once, with all its values")
    choices = [_values(text, override, folders) for text, override in zip(texts, parsed, strict=True)]
    first = [values[0] for values in choices]
    others = [(place, value) for place, values in enumerate(choices) for value in values[1:]]
    return [first, *([*first[:place], value, *first[place + 1 :]] for place, value in others)]


def _values(text: str, override: Any, folders: list[Path]) -> list[str]:
    """Return an override once for each of its values: for the ends of an interval or a range, and for the options, in
    these folders, that a pattern fits. Raises ConfigError if there are none, or one twice."""
    from hydra.core.override_parser.types import Glob, IntervalSweep, RangeSweep

    if not override.is_sweep_override():
        return [text]
    value, key = override.value(), override.get_key_element()
    if isinstance(value, IntervalSweep):
        found: list[Any] = [value.start, value.end]
    elif isinstance(value, Glob):
        options = {path.stem for folder in folders for path in (folder / override.key_or_group).glob("*.yaml")}
        found = value.filter(sorted(options))
    else:
        found = list(override.sweep_string_iterator())
        found = found[:1] + found[1:][-1:] if isinstance(value, RangeSweep) else found
    if not found:
        raise ConfigError(f"{key_of(text)}: is swept and has no value; allowed: at least one")
    written = [f"{key}={one}" for one in found]
    _refuse_twice(key_of(text), written)
    return written


def _refuse_twice(key: str, written: Sequence[str]) -> None:
    """Raise ConfigError if a key is given the same value by several of its overrides: a quoted text, and a number
    written in another way, are the same to Hydra."""
    read: list[tuple[bool, Any]] = []
    for text, parsed in zip(written, parse(list(written)), strict=True):
        value = parsed.value()
        one = isinstance(value, bool), value  # 1 is not true
        if one in read:
            shown = "a value" if is_secret(key) else text.partition("=")[2]
            raise ConfigError(f"{key}: {shown} is given twice; allowed: once")
        read.append(one)


def first_trial(arguments: list[str]) -> list[str]:
    """Return the overrides of a sweep's first trial, to be checked before it starts, or those of a single run."""
    return trials(arguments)[0]


def _unreadable(text: str, hint: str = "") -> str:
    """Say in one line of an override, or of a secret key alone, that it must be quoted to be read as one text."""
    key, _, value = text.partition("=")
    name = key.lstrip("+~")
    if is_secret(name):
        example = shlex.quote(f"{key}='...'")
        return (
            f"{name}: Hydra cannot read the value, which is not repeated here; it must be one text in quotes: {example}"
        )
    return (
        f"{name}: Hydra does not read {value!r} as one value;{hint} a text with any of = ( ) [ ] {{ }} , : # ~ ' or a "
        f"letter outside ASCII must be quoted: {shlex.quote(override_of(key, value))}"
    )


def _one_line(error: Exception, backend: str, mixed: str = "") -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()
    missing = re.search(r"(?:Could not override|Could not delete from config\.) '([^']+)'", text)
    if missing and not missing[1].startswith("hydra."):
        return unknown_key(missing[1], backend, mixed)
    twice = re.match(r"(\w+) appears more than once in the final defaults list|Multiple values for (\w+)\.", text)
    if twice:
        group = twice[1] or twice[2]
        return f"{group}: has its option already; allowed: {group}=OPTION, without +"
    unresolved = re.search(r"full_key: (\S+)", text)
    if unresolved and is_secret(unresolved[1]):
        return _unreadable(unresolved[1])
    mandatory = re.search(r"Missing mandatory value: (?:.*full_key: )?(\S+)", text)
    return f"{mandatory[1]}: missing; it must be given" if mandatory else text
