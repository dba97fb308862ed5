"""Sweeps that are refused, in one line and before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

from conf.schema.base import ConfigError
from conf.schema.override_text import command
from launch.compose import key_of, sweep_params


def check_single(arguments: Sequence[str]) -> None:
    """Raise ConfigError if the command of a single run chooses a sweep and does not say which of its trials it is."""
    given = {key_of(text) for text in arguments}
    if open_keys := [key for key in sweep_params(arguments) if key not in given]:
        raise ConfigError(
            f"sweep: has several values of {', '.join(open_keys)}, whose trials are started with -m: "
            f"{command('launch.train', ['-m', *arguments])}"
        )
