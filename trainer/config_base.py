"""What every group of the configuration's schema is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line that names key, value and what is allowed."""


class Group(BaseModel):
    """A Hydra group: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
