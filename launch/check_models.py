"""Models: one that cannot be had, or that a run cannot do with, is refused before anything starts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.model import model_path
from conf.schema.rewards import BUNDLED_VECTORS
from conf.schema.solver import VllmSolver

TIMEOUT_S = 20.0
Answer = TypeVar("Answer")


def check_models(config: Config) -> None:
    """Raise ConfigError, in one line with its key, for a model that is neither here nor to be had from the hub, or that
    does not go with the stages and settings. On a cluster that is joined, models are looked for by its nodes."""
    if config.cluster.address is not None:
        return
    key, path = "model.path" if config.start_from is None else "start_from", config.decomposer_path
    _check_name(key, path)
    for role, frozen in config.frozen.items():
        if isinstance(frozen, VllmSolver):
            _check_name(f"{role}.path", model_path(frozen.path))
    _check_vectors(config.rewards.vectors)
    if "sft" in config.stages and not _read(_has_end_token, key, path):
        raise ConfigError(
            f"{key}: the tokenizer of '{path}' has no end-of-text token (eos_token), which stage sft teaches; allowed "
            "without one: stages without sft"
        )
    layers = config.model.layers
    if layers is not None and layers > (most := _read(_layers, key, path)):
        raise ConfigError(f"model.layers: {layers} is not allowed: '{path}' has {most}; allowed: 1 to {most}, null")
    for name, value, off in (
        ("model.lora", config.model.lora, "null"),
        ("rollout.weights.verify", config.rollout.weights.verify, "false"),
    ):
        if value and _read(_keeps_weights_transposed, key, path):
            raise ConfigError(
                f"{name}: '{path}' keeps weights transposed (Conv1D, as GPT-2 does), which this is not made for; "
                f"allowed with it: {off}"
            )


def _read(question: Callable[[str], Answer], key: str, path: str) -> Answer:
    """Ask something of a model's files. Raises ConfigError, with the key that names them, if they cannot be read."""
    try:
        return question(path)
    except Exception as error:  # noqa: BLE001 - the libraries that read them raise whatever they meet, also Exception
        said = " ".join(str(error).strip().partition("\n")[0].split()) or type(error).__name__
        raise ConfigError(f"{key}: the model in '{path}' cannot be read: {said}") from None


def _has_end_token(path: str) -> bool:
    """Return whether a model's tokenizer has an end-of-text token; most say so in a file, which spares loading it."""
    settings = Path(path) / "tokenizer_config.json"
    if settings.is_file() and json.loads(settings.read_text(encoding="utf-8")).get("eos_token"):
        return True
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path).eos_token_id is not None


def _layers(path: str) -> int:
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(path).get_text_config().num_hidden_layers)


def _keeps_weights_transposed(path: str) -> bool:
    """Return whether a model has layers with weights of [in, out]; it is built without any weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(path))
    return any(isinstance(layer, Conv1D) for layer in model.modules())


def _check_vectors(name: str) -> None:
    """Raise ConfigError if the reward actors could not load the word vectors."""
    if name == BUNDLED_VECTORS:
        return
    if find_spec("sentence_transformers") is None:
        raise ConfigError(
            f"rewards.vectors: '{name}' needs the package sentence-transformers, which is not installed; allowed: "
            f"{BUNDLED_VECTORS}, or this after pip install sentence-transformers"
        )
    # By a short name the package means one of its own models first.
    if "/" in name or os.path.isdir(name) or _missing(f"sentence-transformers/{name}") is not None:
        _check_name("rewards.vectors", name)


def _check_name(key: str, path: str) -> None:
    if os.path.isdir(path) or (reason := _missing(path)) is None:
        return
    raise ConfigError(
        f"{key}: '{path}' is no folder here, and could not be fetched as the name of a model on the hub ({reason})"
    )


@cache
def _missing(name: str) -> str | None:
    """Return why the hub does not give a model; None if it does, or if the model was fetched before."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return None
        HfApi().model_info(name, timeout=TIMEOUT_S)
    except OfflineModeIsEnabled:
        return "HF_HUB_OFFLINE is set"
    except GatedRepoError:
        return "its terms are not accepted; accept them on the hub and log in with: hf auth login"
    except RepositoryNotFoundError:
        return "the hub has no such model, or not for this user"
    except Exception as error:  # noqa: BLE001 - whatever lies between here and the hub fails in its own way
        return f"no connection: {' '.join(str(error).split())[:200] or type(error).__name__}"
    return None
