"""Find a trained decomposer and the configuration to use it with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.data import GENERATORS
from conf.schema.model import GEMMA, looks_local, model_path
from conf.schema.places import CONF
from conf.schema.validate import is_secret, validate
from launch.compose import compose, key_of
from launch.options import SEARCHED, with_own_folders
from trainer.run_folder.checkpoints import newest_decomposer
from trainer.run_folder.resume import began_with, holds_run

# What an episode depends on; the rest of a run's configuration is about training it.
EPISODE = ("model", "solver", "policy", "verifier", "strategy", "rollout")
# What chooses the decomposer of other commands.
CHOOSE_MODEL = ("model", "model.path", "start_from")


def trained(run_or_model: str, overrides: list[str]) -> Config:
    """Return the configuration to use a trained decomposer with: that of its run, where there is one, under overrides.

    ``run_or_model`` is a run's folder, one of its checkpoints, or any model. Raises ConfigError.
    """
    from omegaconf import OmegaConf

    for key in map(key_of, overrides):
        if key in CHOOSE_MODEL:
            raise ConfigError(f"{key}: the decomposer that is asked is the first argument, '{run_or_model}'")
    given = Path(run_or_model).expanduser()
    run = next((folder for folder in (given, *given.resolve().parents[:3]) if holds_run(folder)), None)
    model = run_or_model
    if run is not None and run == given:
        found = newest_decomposer(run)
        if found is None:
            raise ConfigError(f"'{run_or_model}' holds no trained decomposer; allowed: a run with checkpoints, a model")
        model = str(found)
    if run is None and looks_local(model) and not Path(model_path(model)).expanduser().exists() and model != GEMMA:
        raise ConfigError(
            f"'{run_or_model}' does not exist; allowed: a run's folder, a checkpoint in it, a Hugging Face model "
            "folder, owner/name on the hub, package:tiny_decomposer"
        )
    overrides = with_own_folders(overrides)
    chosen = {key for key in map(key_of, overrides) if (CONF / key).is_dir()}
    if run is not None and "experiment" in chosen:
        raise ConfigError(
            f"experiment: '{run}' is asked with its own solver and strategy, whatever the experiment says; allowed: "
            "other groups, as solver=program strategy=direct"
        )
    of_chosen = [text for text in overrides if key_of(text).partition(".")[0] in chosen or text.startswith(SEARCHED)]
    before = {} if run is None else began_with(run)
    source = before.get("data", {}).get("source")
    # The options of a generated task take its models and limits.
    task = [f"data={source}"] if source in GENERATORS and "data" not in chosen else []
    fresh = compose(["stages=[evaluate]", *task, *of_chosen]).model_dump(mode="json")
    if "rollout" in before:  # what only training reads, and a laptop may not have
        before["rollout"] |= {"replay": None, "record": False, "weights": fresh["rollout"]["weights"]}
    values = fresh | {
        name: _completed(before[name], fresh[name]) for name in EPISODE if name in before and name not in chosen
    }
    if "learner" in before and "learner" not in chosen:  # whose type the engines have where model.dtype is null
        values["learner"] |= {"dtype": before["learner"].get("dtype", fresh["learner"]["dtype"])}
    others = [text.lstrip("+") for text in overrides if text not in of_chosen]
    merged: Any = OmegaConf.to_container(OmegaConf.merge(values, _read(others)))
    merged["model"]["path"], merged["start_from"] = model, None
    return validate(merged)


def _read(overrides: list[str]) -> Any:
    """Return overrides as a configuration. Raises ConfigError for a value that is no YAML."""
    from omegaconf import OmegaConf

    read: Any = OmegaConf.create()
    for text in overrides:
        try:
            read = OmegaConf.merge(read, OmegaConf.from_dotlist([text]))
        except yaml.YAMLError:
            key, _, value = text.partition("=")
            shown = "the value" if is_secret(key) else repr(value)
            raise ConfigError(f"{key}: {shown} cannot be read; a text must be quoted: \"{key}='...'\"") from None
    return read


def _completed(group: dict[str, Any] | None, fresh: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a run's group with today's values of the keys that did not exist when it ran; keys depend on the
    backend."""
    if group is None or fresh is None:
        return group
    return fresh | group if group.get("backend") == fresh.get("backend") else group
