"""Check a composed configuration and word what is wrong with it in one line."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from conf.schema.base import SECRET, ConfigError
from conf.schema.config import Config
from conf.schema.data import GET_DATA
from conf.schema.keys import MIXTURE, did_you_mean, is_marked, unknown_key
from conf.schema.model import check_model
from conf.schema.rewards import LIKELIHOOD, PARTS, check_own_name
from conf.schema.solver import BACKENDS, SINGLE, VllmSolver

OWN_FILE = "allowed: a file with one problem a line, as JSON (docs/data.md)"


def is_secret(key: str) -> bool:
    """Return whether what somebody put at a dotted key by mistake is not to be repeated on the screen."""
    return is_marked(key, SECRET)


def validate(values: dict[str, Any]) -> Config:
    """Check a composed configuration; raises ConfigError with one line that names the key."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        # A key that was misspelt is often the one that another error misses.
        raise ConfigError(_line(min(error.errors(), key=lambda one: one["type"] != "extra_forbidden"))) from None
    rewards = config.rewards
    for key in (*(f"weights.{name}" for name in rewards.weights), *(f"clip.{name}" for name in rewards.clip)):
        if key.partition(".")[2] not in (*PARTS, LIKELIHOOD, *rewards.parts):
            raise ConfigError(f"{unknown_key(f'rewards.{key}', '')}, or a name of rewards.parts")
    for name in rewards.parts:
        try:
            check_own_name(name)
        except ValueError as error:
            raise ConfigError(f"rewards.parts: {error}") from None
    check_model("model.path", config.model.path)
    for role, frozen in config.frozen.items():
        if isinstance(frozen, VllmSolver):
            check_model(f"{role}.path", frozen.path)
    if config.data.source == "files" and not config.data.on_hub:
        for name in ("train", "held_out"):
            for given, path in zip(getattr(config.data, name), config.data.files(name), strict=True):
                own = config.data.root == "." or Path(given).is_absolute()
                _check_file(
                    f"data.{name}", path, OWN_FILE if own else f"data.root must be the folder of data sets; {GET_DATA}"
                )
    if "sft" in config.stages:
        named = {f"sources.{name}.path": source.path for name, source in config.sft.sources.items() if source.weight}
        named |= {f"held_out.also.{name}": path for name, path in config.sft.held_out.also.items()}
        for key, given in named.items():
            _check_file(f"sft.{key}", given, "allowed: a file of problems (docs/sft.md)")
    _check_file("rollout.replay", config.rollout.replay, "allowed: a file that rollout.record wrote")
    if config.start_from is not None:
        check_model("start_from", config.start_from)
    return config


def _check_file(key: str, path: str | Path | None, allowed: str) -> None:
    if path is not None and os.path.isdir(path):
        raise ConfigError(f"{key}: '{path}' is a folder; {allowed}")
    if path is not None and not os.path.isfile(path):  # Path.is_file raises for what may not be looked at
        folder = Path(path).parent
        listed = os.path.isdir(folder) and os.access(folder, os.R_OK)
        near = get_close_matches(Path(path).name, os.listdir(folder) if listed else [], n=1)
        raise ConfigError(f"{key}: '{path}' does not exist{did_you_mean(near)}; {allowed}")


def _line(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    # A map says with "[key]" that its name, not its value, is wrong.
    location = [str(part) for part in error["loc"] if part != "[key]"]
    backend = location.pop(1) if location[0:1] in (["solver"], ["verifier"]) and len(location) > 1 else ""
    mixed = location.pop(3) if backend == "mixture" and location[:2] == MIXTURE and len(location) > 3 else ""
    key = ".".join(location) or "configuration"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found, allowed = error["ctx"].get("tag"), BACKENDS if key == "solver" else SINGLE
        return f"{key}.backend: {found!r} is not allowed: must be one of {', '.join(allowed)}"
    if error["type"] == "extra_forbidden" or (error["type"] == "literal_error" and error["loc"][-1] == "[key]"):
        return unknown_key(key, backend, mixed)
    if error["type"] == "missing":
        return f"{key}: missing; it must be given"
    value = error["input"]
    shown = "" if isinstance(value, dict) or is_secret(key) else f" {value!r} is not allowed:"
    return f"{key}:{shown} {message[0].lower()}{message[1:]}"
