"""The options of the configuration's groups: the shipped files and those in folders of the user's own."""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.keys import did_you_mean, keys, members
from conf.schema.override_text import quoted
from conf.schema.own_parts import PartName
from conf.schema.places import CONF
from conf.schema.solver import BACKENDS

SEARCHED = "hydra.searchpath="
CONFIG_DIR = ("--config-dir", "-cd")


def with_own_folders(arguments: list[str]) -> list[str]:
    """Return a command line in which the user's folders of YAML, of ``--config-dir`` and ``hydra.searchpath``, are one
    absolute ``hydra.searchpath``. Raises ConfigError for a folder that does not exist."""
    folders, others = [], []
    rest = iter(arguments)
    for text in rest:
        name, given, value = text.partition("=")
        if name in CONFIG_DIR:
            folders.append(_folder("--config-dir", value if given else next(rest, "")))
        elif text.lstrip("+").startswith(SEARCHED):
            named = [path.strip("'\" ") for path in value.strip("[]'\" ").split(",")]
            folders += [_folder("hydra.searchpath", path) for path in named]
        else:
            others.append(text)
    return [f"{SEARCHED}[{','.join(folders)}]", *others] if folders else others


def _folder(key: str, path: str) -> str:
    """Return a folder as Hydra searches it. A package stays one: a job on a cluster may have it in another place."""
    if path.startswith("pkg://"):
        return path
    folder = Path(path.removeprefix("file://")).expanduser().absolute()
    if not path or not folder.is_dir():
        raise ConfigError(
            f"{key}: '{path}' is no folder; allowed: a folder with the groups of conf/ (docs/extending.md)"
        )
    found = f"file://{folder}"
    return found if re.fullmatch(r"[\w./:-]+", found, re.ASCII) else quoted(found)


def search_folders(overrides: list[str]) -> list[Path]:
    """Return the user's own folders of YAML that ``hydra.searchpath=[file:///FOLDER,pkg://PACKAGE]`` names. Raises
    ConfigError for a package that is not found."""
    named = [text.partition("=")[2] for text in overrides if text.startswith(SEARCHED)]
    found = [place for text in named for place in re.findall(r"(file|pkg)://([^,\]'\"]+)", text)]
    return [Path(path) if kind == "file" else _package_folder(path) for kind, path in found]


def _package_folder(path: str) -> Path:
    """Return the folder of a package, which Hydra takes with dots or slashes. Raises ConfigError."""
    try:
        package = import_module(path.replace("/", ".").rstrip("."))
    except (ImportError, ValueError):
        package = None
    file = getattr(package, "__file__", None)
    if file is None or Path(file).name != "__init__.py":
        raise ConfigError(
            f"hydra.searchpath: 'pkg://{path}' is no package that can be imported; allowed: one with an __init__.py"
        )
    return Path(file).parent


def check_options(overrides: list[str]) -> None:
    """Raise ConfigError, saying which options there are, where a group is given one that it does not have, and for a
    file of the user's own that a shipped one stands before, or that is not YAML."""
    own = search_folders(overrides)
    _refuse_shipped_names(own)
    _refuse_unreadable(own)
    folders = [CONF, *own]
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        key = key.partition("@")[0]  # an option may be put elsewhere, as in a mixture of solvers
        # Hydra's own groups have options of its own.
        if (CONF / key).is_dir() and not key.startswith("hydra") and value != "" and "(" not in value:
            files = {path.stem: path for place in folders for path in sorted((place / key).glob("*.yaml"))}
            for name in value.split(","):
                if name not in files:
                    hint = did_you_mean(_near(key, name, files))
                    raise ConfigError(f"{key}: '{name}' is unknown{hint}; allowed: {', '.join(sorted(files))}")


def _refuse_shipped_names(folders: list[Path]) -> None:
    """Raise ConfigError for a file with the name of a shipped one that says something else: Hydra never reads it."""
    for shipped in sorted(CONF.glob("*/**/*.yaml")) if folders else ():
        place = shipped.relative_to(CONF)
        for own in (folder / place for folder in folders):
            if own.is_file() and own.read_bytes() != shipped.read_bytes():
                name = "=".join(place.with_suffix("").as_posix().rsplit("/", 1))
                raise ConfigError(f"{own} would not be read: {name} is a shipped option; allowed: another name")


def _refuse_unreadable(folders: list[Path]) -> None:
    """Raise ConfigError for a file of a group that Hydra could not read, with the line where its reading ended."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    for file in (file for place in folders for group in groups for file in sorted((place / group).rglob("*.yaml"))):
        try:
            OmegaConf.load(file)
        except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            where, why = f", line {mark.line + 1}" if mark else "", getattr(error, "problem", None) or str(error)
            raise ConfigError(f"{file}{where}: cannot be read: {why.splitlines()[0]}") from None


def _near(group: str, name: str, files: dict[str, Path]) -> list[str]:
    """Return what somebody may have meant who gave a group this option: one that is spelt nearly so, or those that set
    a key of the group to such a value, or the key itself."""
    if close := get_close_matches(name, files):
        return [f"{group}={option}" for option in close]
    for key, values in _values(group).items():
        for value in get_close_matches(name, values, n=1, cutoff=0.7):
            having = [option for option in sorted(files) if _setting(option, key, files) == value]
            return [f"{group}={option}" for option in having] or [f"{group}.{key}={value}"]
    return []


def _values(group: str) -> dict[str, list[str]]:
    """Return the named values that the keys of a group may have, for those that have such values."""
    found: dict[str, list[str]] = {"backend": list(BACKENDS)} if group == "solver" else {}
    fields = [(key.name.partition(".")[2], key) for key in keys() if key.name.startswith(f"{group}.")]
    for name, key in fields:
        literal = [value for one in members(key.annotation) if get_origin(one) is Literal for value in get_args(one)]
        found.setdefault(name, [value for value in literal if isinstance(value, str)])
    schema = Config.model_fields[group].annotation if group in Config.model_fields else None
    for name, field in getattr(schema, "model_fields", {}).items():
        found[name] = [
            *found[name],
            *(known for one in field.metadata if isinstance(one, PartName) for known in one.known),
        ]
    return {name: values for name, values in found.items() if values}


def _setting(option: str, key: str, files: dict[str, Path]) -> Any:
    """Return the value that an option gives a key, by itself or by the options that it is made from."""
    values: dict[str, Any] = yaml.safe_load(files[option].read_text(encoding="utf-8")) or {}
    if key in values:
        return values[key]
    made_from = [one for one in values.get("defaults", []) if isinstance(one, str) and one in files and one != option]
    return next((found for one in made_from if (found := _setting(one, key, files)) is not None), None)
