"""The schema of the group ``model``, and where a configured model lies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from conf.schema.base import MODEL, ConfigError, Group
from conf.schema.places import ASSETS

GEMMA = "./models/gemma-3-270m"


class Lora(Group):
    """Low-rank adapters through PEFT instead of full fine-tuning."""

    rank: int = Field(8, ge=1)
    """Rank of the adapters."""
    alpha: float = Field(16.0, gt=0)
    """Scale of the adapters, divided by `rank`."""
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the layers that get an adapter; `all-linear`: all but the head."""


class Model(Group):
    """The decomposer."""

    path: Annotated[str, MODEL]
    """The decomposer to begin with: a folder, a name on the hub, or `package:NAME` for a shipped model."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Type of the weights in the policy's engines; null: the learner's."""
    lora: Lora | None = None
    """Adapters that are trained instead of all weights; null: none."""
    layers: int | None = Field(None, ge=1)
    """Train only the last so many layers, or their adapters, and neither embeddings nor head; null: the whole model."""


def shipped(name: str) -> Path:
    """Return the folder of a model that ships with the package."""
    return ASSETS / name


def model_path(path: str) -> str:
    """Return what Hugging Face loads for a configured path: for ``package:NAME``, the shipped folder."""
    return str(shipped(path.removeprefix("package:"))) if path.startswith("package:") else path


def looks_local(path: str) -> bool:
    """Return whether a model's path means a folder here, and cannot be ``owner/name`` on the hub."""
    return path.startswith(("package:", "/", ".", "~")) or path.count("/") != 1


def check_model(key: str, path: str) -> None:
    """Raise ConfigError if a local folder holds no model; a bare ``owner/name`` is left to the hub."""
    folder = model_path(path)
    if os.path.isdir(folder):  # Path.is_dir raises for what may not be looked at
        if not os.path.isfile(os.path.join(folder, "config.json")):
            raise ConfigError(f"{key}: '{path}' holds no config.json; allowed: a Hugging Face model folder")
    elif path == GEMMA:
        raise ConfigError(
            f"{key}: '{path}' does not exist; fetch it with: python -m launch.get_gemma "
            "(about 253 MB to download, 536 MB on disk, Gemma Terms of Use)"
        )
    elif looks_local(path):
        raise ConfigError(
            f"{key}: '{path}' does not exist; allowed: a Hugging Face model folder, owner/name on the hub, "
            + ", ".join(f"package:{model.name}" for model in sorted(shipped(".").iterdir()))
        )
