"""What every group of the configuration's schema is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line that names key, value and what is allowed."""


class Group(BaseModel):
    """A Hydra group: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
