"""Walk the schema: every key with its dotted name, type and markers, and the answer to a key that is not in it."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from conf.schema.base import Group, Marker, OneOf
from conf.schema.config import Config
from conf.schema.solver import BACKENDS


@dataclass(frozen=True)
class Key:
    """A key of the schema. In its dotted ``name`` a ``*`` stands for any name of a map and any place in a list. Its
    ``markers`` are its own and those of the groups that it is in."""

    name: str
    annotation: Any
    markers: frozenset[Marker]


def keys(annotation: Any = Config, name: str = "", markers: frozenset[Marker] = frozenset()) -> Iterator[Key]:
    """Yield every key below a type, a group before its keys; those that several backends have come several times."""
    for member in members(annotation):
        for part, inner, metadata in _children(member):
            marked = {entry for entry in metadata if isinstance(entry, Marker)}
            own = Key(f"{name}.{part}" if name else part, inner, markers | marked)
            yield own
            yield from keys(inner, own.name, own.markers)


def marked(*markers: Marker) -> list[Key]:
    """Return the keys that have one of these markers."""
    return [key for key in keys() if key.markers.intersection(markers)]


def entries(values: Any, name: str, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a key stands for in a dumped configuration: each dotted name, without ``*``, and its value."""
    if not name:
        yield at, values
        return
    part, _, rest = name.partition(".")
    items = dict(enumerate(values)) if isinstance(values, list) else values if isinstance(values, dict) else {}
    for own, value in items.items():
        if part in ("*", str(own)):
            yield from entries(value, rest, f"{at}.{own}" if at else str(own))


def unknown_key(key: str, backend: str) -> str:
    """Say in one line what is allowed in place of a dotted key that a configuration with a solver of this backend does
    not have; names that are near come first."""
    at: Any = Config
    parts = key.split(".")
    for place, part in enumerate(parts):
        below = {name: inner for member in members(at) for name, inner, _ in _children(member)}
        if part not in below and "*" not in below:
            near = " or ".join(".".join([*parts[:place], name]) for name in get_close_matches(part, below))
            meant = f" (did you mean {near}?)" if near else ""
            return f"{key}: unknown key '{part}'{meant}; allowed: {', '.join(below) or 'no key below it'}"
        at = below.get(part, below.get("*"))
        if place == 0 and part == "solver":
            at = BACKENDS.get(backend, at)
    return f"{key}: not in this configuration; allowed: +{key}=VALUE, which adds it"


def members(annotation: Any) -> list[Any]:
    """Return the types that a value may have: unions and annotations are taken apart."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for argument in get_args(annotation) for member in members(argument)]
    return [annotation]


def group_in(annotation: Any) -> type[Group] | None:
    """Return the group that a key holds, by itself or in a list or a map; None if it holds none."""
    for member in members(annotation):
        if hasattr(member, "model_fields"):
            return member  # type: ignore[no-any-return]
        for _, inner, _ in _children(member):
            return group_in(inner)
    return None


def _children(member: Any) -> list[tuple[str, Any, Any]]:
    """Return what is directly below a type: name, type and metadata of each key."""
    if hasattr(member, "model_fields"):
        return [(name, field.annotation, field.metadata) for name, field in member.model_fields.items()]
    if get_origin(member) not in (dict, list):
        return []
    first, inner = get_args(member)[0], get_args(member)[-1]
    fixed = [entry for entry in getattr(first, "__metadata__", ()) if isinstance(entry, OneOf)]
    metadata = getattr(inner, "__metadata__", ())
    return [(name, inner, metadata) for name in (fixed[0].names if fixed else ("*",))]
