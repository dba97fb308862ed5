"""The conditions to go on with a run: its configuration must allow it.

Nothing heavy is imported here, so a run that cannot be resumed is refused in a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic_core import to_jsonable_python

from conf.schema.base import FREE, GROWS, ConfigError, Group, expanded
from conf.schema.config import Config
from conf.schema.keys import is_marked, marked
from trainer.run_folder.files import read_json
from trainer.run_folder.lock import refuse_others
from trainer.run_folder.paths import absolute_path, markers_of

# In a run's folder: what its command gave, beside the configuration that came of it.
OVERRIDES, CONFIG = "overrides.yaml", "config.yaml"
SUMMARY = "summary.json"
# What a run writes over, adds to or removes in its folder, apart from what a start that fails leaves and what belongs
# to the command that started it: logs/, trial.json, output.log.
RESULTS = (
    "checkpoints", "sft", "metrics.jsonl", "episodes.jsonl", "recorded.jsonl", "learning_curve.png", "report.html",
)  # fmt: skip


def holds_run(folder: Path) -> bool:
    """Return whether a folder holds a run. Raises ConfigError if nobody can tell."""
    try:
        return (folder / CONFIG).is_file()
    except OSError as error:
        raise _unreadable(folder, error) from None


def began_with(folder: Path) -> dict[str, Any]:
    """Return the configuration that a run began with. Raises ConfigError."""
    began = _kept(folder / CONFIG)
    if not isinstance(began, dict):
        raise _damaged(folder / CONFIG)
    return began


def overrides_of(folder: Path) -> list[str] | None:
    """Return the overrides that a run began with; None if the folder keeps none. Raises ConfigError."""
    began = _kept(folder / OVERRIDES)
    if began is None and not (folder / OVERRIDES).is_file():
        return None
    if not isinstance(began, list) or not all(isinstance(text, str) for text in began):
        raise _damaged(folder / OVERRIDES)
    return began


def _kept(file: Path) -> Any:
    """Return what a YAML file of a run's folder holds, None without the file. Raises ConfigError."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else None
    except OSError as error:
        raise _unreadable(file, error) from None
    except (ValueError, yaml.YAMLError):
        raise _damaged(file) from None


def _unreadable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"run_dir: '{path}' cannot be read: {error.strerror}")


def _damaged(file: Path) -> ConfigError:
    return ConfigError(
        f"run_dir: '{file}' is damaged; allowed: another folder, or this one once that file is there again from a copy"
    )


def refuse_other_run(folder: Path, config: Config) -> None:
    """Raise ConfigError where a folder holds a run that this configuration does not, or may not, go on with."""
    if config.resume is None:
        raise ConfigError(
            f"run_dir: '{folder}' already holds a run; allowed: a new folder, or resume=auto to go on with it"
        )
    check_resumable(folder, config)


def refuse_results_of_others(folder: Path) -> None:
    """Raise ConfigError where a folder that holds no run holds what one would write over, add to or remove."""
    refuse_others(folder, names=RESULTS if _failed_to_start(folder) else (*RESULTS, SUMMARY))


def check_folder(folder: Path, config: Config) -> None:
    """Raise ConfigError where a run with this configuration may not use a folder, as far as can be seen before its copy
    is fetched from elsewhere."""
    if holds_run(folder):
        refuse_other_run(folder, config)
    elif config.mirror is None or config.resume is None:
        refuse_results_of_others(folder)


def _failed_to_start(folder: Path) -> bool:
    """Return whether a run failed in this folder before it was one, which left a summary."""
    try:
        return read_json(folder / SUMMARY).get("status") in ("failed", "interrupted")
    except (OSError, ValueError, AttributeError):  # it is no run's
        return False


def check_resumable(folder: Path, config: Config) -> None:
    """Raise ConfigError, naming the first key, if this configuration cannot go on with the run of a folder. A key that
    did not exist when the run began counts as having its default."""
    free, grows = ({key.name for key in marked(marker)} for marker in (FREE, GROWS))
    before, now = _flat(_completed(began_with(folder), config)), _flat(config.model_dump(mode="json"))
    keys = [*now, *(key for key in before if key not in now)]
    for key in sorted(keys, key=lambda key: not key.endswith(".backend")):  # a group's other keys hang on it
        grown = key in grows and key in before and before[key] <= now[key]
        same = _same(key, expanded(before.get(key)), now.get(key))
        if not same and not grown and key.partition(".")[0] not in free and not is_marked(key, FREE):
            more = ", which may grow" if key in grows else ""
            raise ConfigError(
                f"{key}: {now.get(key)!r} is not allowed with resume=auto: the run in '{folder}' began with "
                f"{before.get(key)!r}{more}"
            )


def _same(key: str, before: Any, now: Any) -> bool:
    """Return whether two values of a dotted key are the same: of a path's key, also the same place."""
    if before == now or not (isinstance(before, str) and isinstance(now, str)):
        return bool(before == now)
    markers = markers_of(key)
    return bool(markers) and absolute_path(before, markers) == absolute_path(now, markers)


def is_finished(folder: Path, config: Config) -> bool:
    """Return whether the run of a folder came to the end that this configuration asks for. Its summary tells: the
    configuration beside it may be of a later process that was killed on the way to more steps."""
    summary = read_json(folder / SUMMARY)
    if summary.get("status") != "finished":
        return False
    return "ppo" not in config.stages or bool(summary["steps"] >= config.algorithm.steps)


def _completed(before: Any, now: Any) -> Any:
    """Return what a run began with, with the schema's defaults of the keys that it lacks. ``now`` says which groups
    there are: those of a solver depend on its backend."""
    if not isinstance(before, dict) or not isinstance(now, (Group, dict)):
        return before
    fields = type(now).model_fields if isinstance(now, Group) else {}
    defaults = {
        name: to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in fields.items()
        if not field.is_required()
    }
    inner = dict(now)
    return defaults | {name: _completed(value, inner.get(name)) for name, value in before.items()}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested keys as dotted ones."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
