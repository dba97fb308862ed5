"""Parts of a user's own: where a name chooses code, ``package.module:attribute`` may stand (docs/extending.md).

The user's module is imported in the driver when the configuration is checked, and again in each actor that uses it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from conf.schema.base import ConfigError

FORM = "package.module:attribute"
_OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own(name: str) -> bool:
    """Return whether a name points to code of the user's own."""
    return ":" in name


def find_part(name: str, known: Mapping[str, Any]) -> Any:
    """Return what a name chooses: one of the ``known`` parts, or the attribute of the user's module that it points to.

    Raises ValueError, in one line that says why, for a name that cannot be used.
    """
    if not is_own(name):
        return known[name]
    module_name, _, attribute = name.partition(":")
    if not _OWN.fullmatch(name):
        raise ValueError(f"must have the form {FORM}")
    if module_name == "__main__":
        raise ValueError(
            "must not be of __main__, which is another program in an actor's process; allowed: a module that is "
            "imported by its name"
        )
    try:
        found = getattr(import_module(module_name), attribute)
    except Exception as error:  # noqa: BLE001 - whatever a user's module raises is said in one line
        raise ValueError(f"cannot be imported ({type(error).__name__}: {error})") from None
    if not callable(found):
        raise ValueError(f"must point to a function or a class, and is a {type(found).__name__}")
    return found


def make_part(key: str, name: str, methods: Sequence[str], *arguments: Any, **options: Any) -> Any:
    """Return what a class of the user's own, which ``name`` points to, makes of its arguments. Raises ConfigError that
    begins with the ``key``, where it makes nothing of them, or what lacks one of these ``methods``."""
    try:
        made = find_part(name, {})(*arguments, **options)
    except Exception as error:  # whatever a user's class raises is said in one line
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{key}: '{name}' could not be made ({said}); allowed: docs/extending.md") from error
    if missing := [method for method in methods if not hasattr(made, method)]:
        raise ConfigError(f"{key}: '{name}' has no {missing[0]}; allowed: a class with {', '.join(methods)}")
    return made


@dataclass(frozen=True)
class PartName:
    """Marks a key, in ``Annotated[str, PartName(known)]``, that holds one of the ``known`` names or points to a part of
    the user's own."""

    known: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic accept what ``check`` does."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def check(self, name: str) -> str:
        """Return the name; raise ValueError if it is not known and leads to nothing."""
        if is_own(name):
            find_part(name, {})
        elif name not in self.known:
            raise ValueError(f"must be {', '.join([*map(repr, self.known), f'or {FORM}'])}")
        return name
