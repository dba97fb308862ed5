"""Every evaluation of a sweep's trials, from their summaries: a row each, and their means over seeds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.reports.tables import DEFAULT, number
from trainer.run_folder.files import read_json
from trainer.run_folder.resume import SUMMARY, began_with, holds_run
from trainer.tracking.labels import KINDS, label
from trainer.tracking.statistics import mean_over_seeds

if TYPE_CHECKING:
    import pandas as pd

FINISHED = "finished"
# A trial's folder, its overrides by key and its summary.
Trial = tuple[Path, dict[str, str], dict[str, Any]]


def read_folders(sweep: Path) -> list[Trial]:
    """Return each trial's folder, its overrides by key and its summary, empty where it has none, in the order they were
    begun. A number that is written in several ways is written as it is first, in all trials. A path that differs only
    by the trial's own seed, as that of the start which each seed has, is written as one with ``${seed}``: trials that
    differ in nothing else are seeds of one setting. Where any trial was given a seed, those that were not have the one
    that they ran with."""
    trials = [(read_json(file), file.parent) for file in sweep.glob("*/trial.json")]
    trials.sort(key=lambda found: found[0]["number"])
    given = [dict(text.lstrip("+").partition("=")[::2] for text in trial["overrides"]) for trial, _ in trials]
    if any("seed" in one for one in given):
        for one, (_, folder) in zip(given, trials, strict=True):
            if "seed" not in one and (seed := _own_seed(folder)) is not None:
                one["seed"] = str(seed)
    for key in {key for one in given for key, value in one.items() if "/" in value}:
        own = [one for one in given if key in one]
        by_seed = [_by_seed(one[key], one["seed"]) for one in own if "seed" in one]
        if len(by_seed) == len(own) and len(set(by_seed)) < len({one[key] for one in own}):
            for one, value in zip(own, by_seed, strict=True):
                one[key] = value
    for key in dict.fromkeys(key for one in given for key in one):
        own = [one for one in given if key in one]
        for one, value in zip(own, one_text_a_value(one[key] for one in own), strict=True):
            one[key] = value
    return [(folder, one, read_json(folder / SUMMARY)) for (_, folder), one in zip(trials, given, strict=True)]


def _own_seed(folder: Path) -> int | None:
    """Return the seed that a trial ran with; None where its folder does not tell."""
    found: int | None = read_json(folder / SUMMARY).get("seed")
    return found if found is not None or not holds_run(folder) else began_with(folder).get("seed")


def one_text_a_value(texts: Iterable[str]) -> list[str]:
    """Return values as they are written, a number that is written in several ways (1e-4, 0.0001) as it is first."""
    first: dict[float, str] = {}

    def written(text: str) -> str:
        with suppress(ValueError):
            return first.setdefault(int(text), text)  # a float has no room for a large seed
        return text if math.isnan(number(text)) else first.setdefault(number(text), text)

    return [written(text) for text in texts]


def finished_once(trials: list[Trial]) -> list[Trial]:
    """Return the trials that finished; of several with the same overrides the last, since one that was run again is no
    further seed."""
    last = {tuple(sorted(given.items())): folder for folder, given, found in trials if found.get("status") == FINISHED}
    return [trial for trial in trials if trial[0] in last.values()]


def _by_seed(path: str, seed: str) -> str:
    """Return a path with ``${seed}`` where it names the seed; where it does not say so, at every such number."""
    named = re.sub(rf"(?<=seed[=_-]){seed}(?!\d)", "${seed}", path)
    return named if named != path else re.sub(rf"(?<!\d){seed}(?!\d)", "${seed}", path)


def seed_figures(found: pd.DataFrame) -> dict[str, Any]:
    """Return of a setting's rows, one a seed: mean accuracy, the means of its interval's ends over problems, the 95 % t
    interval over seeds, the lowest and highest seed."""
    over = mean_over_seeds(list(found["accuracy"]), share=True)
    return {
        "mean": over.mean, "low": found["low"].mean(), "high": found["high"].mean(),
        "seed_low": over.low, "seed_high": over.high,
        "lowest": found["accuracy"].min(), "highest": found["accuracy"].max(), "seeds": over.seeds,
    }  # fmt: skip


def read_evaluations(sweep: Path, keys: list[str]) -> pd.DataFrame:
    """Return a row for each kind of evaluation of each finished trial: the trial's values of ``keys``, the kind, its
    accuracy and 95 % interval over problems, the solver's tokens an episode, shares of decompositions, and accuracy by
    number of reasoning steps, where these are known."""
    import pandas as pd

    rows = []
    for _, given, summary in finished_once(read_folders(sweep)):
        found = summary.get("accuracy", {})
        for kind in sorted(found, key=_place):
            entry = found[kind]
            rows.append(
                {key: given.get(key) for key in keys}
                | {"kind": kind, "accuracy": entry["mean"], "low": entry["low"], "high": entry["high"]}
                | ({"plays": entry["plays"]} if "plays" in entry else {})
                | {"solver_tokens": entry.get("solver_tokens")}
                | entry.get("plans", {})
                | {f"steps_{steps}": mean for steps, mean in entry.get("by_steps", {}).items()}
            )
    return pd.DataFrame(rows)


def evaluations_over_seeds(keys: list[str], rows: pd.DataFrame) -> list[dict[str, Any]]:
    """If seeds were swept, return a row for each kind of evaluation of each setting, with its ``seed_figures``."""
    if "seed" not in keys or rows.empty:
        return []
    others = [key for key in keys if key != "seed"]
    plays = rows["plays"].fillna("decomposer") if "plays" in rows else "decomposer"
    named = rows.fillna(dict.fromkeys(others, DEFAULT)).assign(plays=plays)
    return [
        dict(zip(others, setting, strict=False))
        | {"sub-questions from": label(str(kind), str(played))}
        | seed_figures(found)
        for (*setting, kind, played), found in named.groupby([*others, "kind", "plays"], sort=False)
    ]


def _place(kind: str) -> int:
    """Return a kind's place in a table."""
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)
