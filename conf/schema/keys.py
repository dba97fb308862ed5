"""Walk the schema: every key with its dotted name, type and markers, and the answer to a key that is not in it."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from conf.schema.base import Group, Marker, OneOf
from conf.schema.config import Config
from conf.schema.solver import BACKENDS, SINGLE

# The key below which a mixture's solvers are, by name.
MIXTURE = ["solver", "mixture"]
# At most so many known keys are offered for an unknown one.
SUGGESTED = 3


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


def is_marked(name: str, marker: Marker) -> bool:
    """Return whether a dotted key, without ``*``, has a marker."""
    parts = name.split(".")
    patterns = (key.name.split(".") for key in marked(marker))
    return any(
        len(pattern) == len(parts) and all(own in ("*", part) for own, part in zip(pattern, parts, strict=True))
        for pattern in patterns
    )


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


def changed(values: Any, name: str, change: Callable[[str], str]) -> Any:
    """Return a configuration, or a part of it, with the texts that a dotted key stands for changed."""
    if not name:
        return change(values) if isinstance(values, str) else values
    part, _, rest = name.partition(".")
    if isinstance(values, Group) and part in type(values).model_fields:
        return values.model_copy(update={part: changed(getattr(values, part), rest, change)})
    if isinstance(values, dict):
        return {own: changed(one, rest, change) if part in ("*", own) else one for own, one in values.items()}
    return values


def unknown_key(key: str, backend: str, mixed: str = "") -> str:
    """Say in one line what is allowed in place of a dotted key that a configuration with a solver of this backend does
    not have; names that are near come first. ``mixed`` is the backend of the mixture's solver that the key is of."""
    at: Any = Config
    parts = key.split(".")
    for place, part in enumerate(parts):
        below = {name: inner for member in members(at) for name, inner, _ in _children(member)}
        if part not in below and "*" not in below:
            hint = _other_backends(parts, place) or did_you_mean(_near_keys(parts, place, list(below)))
            return f"{key}: unknown key '{part}'{hint}; allowed: {', '.join(below) or 'no key below it'}"
        at = below.get(part, below.get("*"))
        if place == 0 and part in ("solver", "verifier"):
            at = BACKENDS.get(backend, at)
        elif place == 2 and parts[:2] == MIXTURE and mixed in SINGLE:
            at = next(one for one in members(at) if issubclass(one, SINGLE[mixed]))
    return f"{key}: not in this configuration; allowed: +{key}=VALUE, which adds it"


def did_you_mean(names: list[str]) -> str:
    """Return a question that offers these names, in brackets; nothing where there are none."""
    return f" (did you mean {' or '.join(names)}?)" if names else ""


def _near_keys(parts: list[str], place: int, below: list[str]) -> list[str]:
    """Return the known keys nearest to a dotted one whose part at ``place`` is unknown: a name of its group that is
    spelt nearly so, else a key of this name in another group, or nearly so, or one of its group with a common word, or
    its initials."""
    part, last = parts[place], parts[-1]
    by_name: dict[str, list[str]] = {}
    for name in dict.fromkeys(key.name for key in keys() if "*" not in key.name):
        by_name.setdefault(name.rpartition(".")[2], []).append(name)
    words = set(part.split("_"))
    initials = "".join(word[:1] for word in part.split("_"))
    found = (
        [".".join([*parts[:place], name]) for name in get_close_matches(part, below)],
        by_name.get(part, []) or by_name.get(last, []),
        [name for near in get_close_matches(part, by_name, cutoff=0.8) for name in by_name[near]],
        [".".join([*parts[:place], name]) for name in below if words.intersection(name.split("_"))],
        [".".join([*parts[:place], name]) for name in below if name == initials],
    )
    return next((names[:SUGGESTED] for names in found if names), [])


def _other_backends(parts: list[str], place: int) -> str:
    """Return, in brackets, the backends whose solver has a key that this one's has not; nothing for other keys."""
    group = parts[:place]
    if group not in (["solver"], ["verifier"]) and (group[:2] != MIXTURE or place != 3):
        return ""
    choice = BACKENDS if group == ["solver"] else SINGLE
    having = [name for name, schema in choice.items() if parts[place] in schema.model_fields]
    return f" (a key of {'.'.join(group)}.backend {', '.join(having)})" if having else ""


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
    names = getattr(first, "__metadata__", ()) if get_origin(member) is dict else ()
    fixed = [entry for entry in names if isinstance(entry, OneOf)]
    metadata = getattr(inner, "__metadata__", ())
    return [(name, inner, metadata) for name in (fixed[0].names if fixed else ("*",))]
