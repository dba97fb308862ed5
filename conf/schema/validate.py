"""Check a composed configuration and word what is wrong with it in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.model import check_model
from conf.schema.solver import BACKENDS, NOT_SHOWN, VllmSolver


def validate(values: dict[str, Any]) -> Config:
    """Check a composed configuration; raises ConfigError with one line that names the key."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(_line(first)) from None
    check_model("model.path", config.model.path)
    if isinstance(config.solver, VllmSolver):
        check_model("solver.path", config.solver.path)
    if config.data.source == "files":
        for name in ("train", "held_out"):
            for path in config.data.files(name):
                if not path.is_file():
                    raise ConfigError(
                        f"data.{name}: '{path}' does not exist; data.root must be the folder of data sets"
                    )
    if "sft" in config.stages:
        named = {f"sources.{name}.path": source.path for name, source in config.sft.sources.items() if source.weight}
        named |= {f"held_out.also.{name}": path for name, path in config.sft.held_out.also.items()}
        for key, given in named.items():
            if given is not None and not Path(given).expanduser().is_file():
                raise ConfigError(f"sft.{key}: '{given}' does not exist; allowed: a file of problems (docs/sft.md)")
    if config.rollout.replay is not None and not Path(config.rollout.replay).expanduser().is_file():
        raise ConfigError(
            f"rollout.replay: '{config.rollout.replay}' does not exist; allowed: a file that rollout.record wrote"
        )
    if config.start_from is not None:
        check_model("start_from", config.start_from)
    return config


def group_keys(group: str, backend: str) -> list[str]:
    """Return the keys of a group (dotted; "" is the top) with the solver of this backend; none if there is no group."""
    fields: Any = Config
    named = False
    for part in group.split(".") if group else []:
        if named or part.isdigit():  # a name or a place among groups
            named = False
            continue
        annotation = getattr(fields.model_fields.get(part), "annotation", None)
        named, known = get_origin(annotation) is dict, _group(annotation)
        fields = BACKENDS.get(backend) if part == "solver" else known
        if not hasattr(fields, "model_fields"):
            return []
    return list(fields.model_fields)


def _line(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    location = [str(part) for part in error["loc"]]
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = error["ctx"].get("tag")
        return f"solver.backend: {found!r} is not allowed: must be one of {', '.join(BACKENDS)}"
    backend = location.pop(1) if location[0:1] == ["solver"] and len(location) > 1 else ""
    key = ".".join(location) or "configuration"
    if error["type"] == "extra_forbidden":
        group, _, name = key.rpartition(".")
        return f"{key}: unknown key '{name}'; allowed: {', '.join(group_keys(group, backend))}"
    if error["type"] == "missing":
        return f"{key}: missing; it must be given"
    value = error["input"]
    shown = "" if isinstance(value, dict) or key in NOT_SHOWN else f" {value!r} is not allowed:"
    return f"{key}:{shown} {message[0].lower()}{message[1:]}"


def _group(annotation: Any) -> Any:
    """Return the group that a key holds, in a list or not, optional or not."""
    members = getattr(annotation, "__args__", ())
    return next((member for member in members if hasattr(member, "model_fields")), annotation)
