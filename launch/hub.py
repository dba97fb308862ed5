"""Models on the hub: a name that cannot be fetched is refused before anything starts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.model import model_path
from conf.schema.solver import VllmSolver

TIMEOUT_S = 20.0


def check_names(config: Config) -> None:
    """Raise ConfigError, in one line with its key, for a model that is neither here nor to be had from the hub. On a
    cluster that is joined, models are looked for by its nodes."""
    if config.cluster.address is not None:
        return
    _check("model.path" if config.start_from is None else "start_from", config.decomposer_path)
    if isinstance(config.solver, VllmSolver):
        _check("solver.path", model_path(config.solver.path))


def _check(key: str, path: str) -> None:
    if Path(path).is_dir() or (reason := _missing(path)) is None:
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
