"""The base of every group of the schema, and the markers that say more of a key than its type."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line that names key, value and what is allowed."""


class Group(BaseModel):
    """A Hydra group: unknown keys are errors. The text below a key says in one clause what the key means."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Marker:
    """A property of a key, given in ``Annotated[type, MARKER]``; it holds for all keys below too. ``text`` says it in
    docs/configuration.md."""

    text: str


def expanded(value: Any) -> Any:
    """Return a path, or a map of paths, with ``~`` replaced by the home folder; anything else as it is."""
    if isinstance(value, dict):
        return {name: expanded(inner) for name, inner in value.items()}
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~") else value


class PathMarker(Marker):
    """Marks a key that holds a path or a map of paths. In what is validated ``~`` is the home folder, so that nobody
    else has to ask."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic expand what it has accepted."""
        return core_schema.no_info_after_validator_function(expanded, handler(source))


# A path on the user's machine: launch.submit makes it absolute.
PATH = PathMarker("path")
# A path as well, where it is no name on the hub and no ``package:NAME``.
MODEL = PathMarker("path or name of a model")
# Beside PATH: what is no folder here may be a name on the hub.
HUB = Marker("or a name on the hub")
# Hydra overrides, in which there may be paths.
OVERRIDES = Marker("overrides")
# A place where somebody may put a password by mistake: a value that is refused is not repeated.
SECRET = Marker("not repeated when refused")
# Where and how fast a run is, what memory it takes, how long it waits, what it spends and shows; not what it learns.
FREE = Marker("may change on resume")
# How long a run goes on: what was done stays as it is.
GROWS = Marker("may grow on resume")


@dataclass(frozen=True)
class OneOf:
    """The names that a map or a list may have, in ``dict[Annotated[str, OneOf(names)], ...]``. With ``own`` it
    may also have those that the user gave to parts of their own; ``validate`` checks these."""

    names: tuple[str, ...]
    own: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept these names alone, or any name where there may be others."""
        return core_schema.str_schema() if self.own else core_schema.literal_schema(list(self.names))


def line_breaks(text: str) -> str:
    """Return the text, of a prompt or that ends a reply.

    Raises ValueError where a line break was written as an escape: what Hydra reads from a command line keeps backslash
    and n, and such a text would silently never be met.
    """
    if "\\n" in text:
        raise ValueError(
            "holds a backslash and an n, not a line break, since a command line has no escapes; set it in a YAML file, "
            "or in bash as $'KEY=\"...\\n...\"'"
        )
    return text


def _ends(texts: list[str]) -> list[str]:
    if "" in texts:
        raise ValueError("holds an empty text, which would end every reply; allowed: texts, or [] for none")
    return [line_breaks(text) for text in texts]


# Texts that end a reply.
Stops = Annotated[list[str], AfterValidator(_ends)]
