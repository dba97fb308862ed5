"""Overrides and commands as text: quoted for Hydra, which reads a value, and for the shell, which reads a command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

# A path of such characters is one text to Hydra; a bare word may be a number, true or null.
_PLAIN = re.compile(r"[A-Za-z0-9_./-]*/[A-Za-z0-9_./-]*")
_BEFORE_QUOTE = re.compile(r"\\++(?='|\Z)")
_INTERPOLATION = re.compile(r"(\\*+)\$\{")


def quoted(value: str) -> str:
    """Return a text as Hydra's grammar reads it back unchanged."""
    if _PLAIN.fullmatch(value):
        return value
    literal = _INTERPOLATION.sub(lambda found: rf"{found[1]}{found[1]}\${{", value)
    return "'" + _BEFORE_QUOTE.sub(lambda found: found[0] * 2, literal).replace("'", r"\'") + "'"


def override(key: str, value: str) -> str:
    """Return the override that gives a key this text, whatever characters are in it."""
    return f"{key}={quoted(value)}"


def command(module: str, overrides: Sequence[str]) -> str:
    """Return the command line of a module of the project, to be copied into a shell."""
    return shlex.join(["python", "-m", module, *overrides])


def resumed(overrides: Sequence[str], folder: str, *more: str) -> list[str]:
    """Return the overrides of a run with this folder as its ``run_dir`` and ``more`` in place of theirs."""
    replaced = ("run_dir", *(text.lstrip("+").partition("=")[0] for text in more))
    kept = [text for text in overrides if text.lstrip("+").partition("=")[0] not in replaced]
    return [*kept, override("run_dir", folder), *more]


def evaluated_alone(overrides: Sequence[str], decomposer: str) -> list[str]:
    """Return the overrides of a run of its own that evaluates a decomposer, and what else cannot be left out, as the
    run with ``overrides`` would have."""
    alone = [f"evaluation.{key}=false" for key in ("gold", "filler", "stop_if_hopeless")]
    more = [*alone, override("start_from", decomposer)]
    replaced = {"run_dir", "resume", "stages", *(text.partition("=")[0] for text in more)}
    return [*(text for text in overrides if text.lstrip("+").partition("=")[0] not in replaced), *more]
