"""A sweep's trials side by side, from their folders alone: one table (Markdown and CSV) and one picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from trainer.reports import sweep_curves
from trainer.reports.evaluations_table import (
    FINISHED,
    evaluations_over_seeds,
    read_evaluations,
    read_folders,
    seed_figures,
)
from trainer.reports.pictures import COLOURS, OTHER_COLOUR, literal, plain
from trainer.reports.tables import DEFAULT, markdown, number, read_swept, setting_label
from trainer.tracking.labels import label
from trainer.tracking.statistics import difference_over_seeds

if TYPE_CHECKING:
    import pandas as pd

# How a trial may end that is not run again.
DONE = (FINISHED, "out_of_budget", "nothing_to_learn")
# What a trial is judged by: the first of these that was evaluated.
JUDGED = ("ppo", "sft", "base", "policy", "self_consistency", "least_to_most", "direct")
# Trials may train policies of different roles.
LEGEND = {"ppo": "after PPO", "sft": "after fine-tuning"}
FIGURES = ("accuracy", "low", "high", "before", "kind", "steps", "minutes", "status")
OVER_SEEDS = (
    "Over seeds: low and high are the means of the trials' intervals over problems, seed_low and seed_high the ends of "
    "a 95 % t interval over seeds, clipped to 0 and 1."
)


def judged(summary: dict[str, Any]) -> str | None:
    """Return the kind of evaluation that a trial is judged by."""
    return next((kind for kind in JUDGED if kind in summary.get("accuracy", {})), None)


def score(summary: dict[str, Any]) -> float:
    """Return the held-out accuracy of what the trial made, NaN if it was not evaluated."""
    kind = judged(summary)
    return float(summary["accuracy"][kind]["mean"]) if kind is not None else math.nan


def comparable(summary: dict[str, Any]) -> bool:
    """Return whether a trial's score is of what its stages were to make: one that ended before has at most those of the
    solver alone and of the policy as it was on the way."""
    return summary.get("status") == FINISHED and judged(summary) is not None


def minutes(summary: dict[str, Any]) -> float:
    """Return how long a trial took, all its stages together."""
    return float(sum(summary.get("seconds", {}).values())) / 60


def read_trials(sweep: Path) -> tuple[list[str], pd.DataFrame]:
    """Return the keys in which the trials differ, and a row a trial in the order they were begun: those keys' values,
    the held-out accuracy with its 95 % interval, that before PPO, learner steps, minutes and how it ended."""
    import pandas as pd

    rows = []
    for _, given, found in read_folders(sweep):
        summary = found or {"status": "unfinished"}
        kind, accuracy = judged(summary), summary.get("accuracy", {})
        entry = accuracy.get(kind, {})
        rows.append(
            given
            | {"accuracy": entry.get("mean"), "low": entry.get("low"), "high": entry.get("high")}
            | {
                "before": accuracy.get("sft", accuracy.get("base", {})).get("mean") if kind == "ppo" else None,
                "kind": kind,
            }
            | {"steps": summary.get("steps"), "minutes": minutes(summary)}
            | {"status": summary["status"]}
        )
    table = pd.DataFrame(rows, dtype=object)
    keys = [key for key in table.columns if key not in FIGURES and table[key].nunique(dropna=False) > 1]
    return keys, table.reindex(columns=[*keys, *FIGURES])


def read_table(file: Path) -> tuple[list[str], pd.DataFrame]:
    """Return the keys and trials of a trials.csv as ``read_trials`` does; the keys' values are texts."""
    return read_swept(file, FIGURES)


def over_seeds(keys: list[str], trials: pd.DataFrame) -> list[dict[str, Any]]:
    """If seeds were swept, return a row a setting: the mean accuracy over its seeds that count; the means of their
    95 % intervals' ends (``low``, ``high``: of the sample of problems, which all trials share); the 95 % t interval
    over the seeds (``seed_low``, ``seed_high``), clipped to [0, 1], None for one seed or where all are alike; and the
    lowest and highest seed."""
    if "seed" not in keys:
        return []
    others = [key for key in keys if key != "seed"]
    rows = []
    for setting, found in _by_setting(others, trials[_counted(others, trials)]):
        rows.append(dict(zip(others, setting, strict=False)) | seed_figures(found))
    return rows


def differences(keys: list[str], trials: pd.DataFrame) -> tuple[str, list[dict[str, Any]]]:
    """If seeds were swept, return the first setting's label, and a row for each other setting that has the same seeds
    among its trials that count: by how much its accuracy is above the first one's, seed by seed: the mean and its 95 %
    t interval."""
    if "seed" not in keys:
        return "", []
    others = [key for key in keys if key != "seed"]
    settings = [
        (setting, dict(zip(found["seed"], found["accuracy"], strict=True)))
        for setting, found in _by_setting(others, trials[_counted(others, trials)])
    ]
    rows = []
    for setting, own in settings[1:]:
        if own.keys() == settings[0][1].keys():
            over = difference_over_seeds(settings[0][1], own)
            rows.append(
                dict(zip(others, setting, strict=True))
                | {"difference": over.mean, "seed_low": over.low, "seed_high": over.high, "seeds": over.seeds}
            )
    return (setting_label(others, settings[0][0]) if settings else ""), rows


def _counted(others: list[str], trials: pd.DataFrame) -> pd.Series[bool]:
    """Return of each trial whether it counts among the seeds of its setting: it finished, was not run again later, and
    is judged by what the setting's stages make, which is the first of ``JUDGED`` that any of them was. Other accuracies
    are of other policies, or of the solver alone."""
    places = trials["kind"].map({kind: float(place) for place, kind in enumerate(JUDGED)})
    place = places.where(trials["accuracy"].notna() & (trials["status"] == FINISHED)).astype(float)
    by: list[Any] = [trials[key].fillna(DEFAULT) for key in others] or [[""] * len(trials)]
    counts = place == place.groupby(by).transform("min")
    if "seed" not in trials:
        return counts
    again = trials.loc[counts, list({*others, "seed"})].duplicated(keep="last")
    return counts & ~again.reindex(trials.index, fill_value=False)


def left_out(keys: list[str], trials: pd.DataFrame) -> str:
    """Return a sentence on the trials that do not count, if seeds were swept and any trial was evaluated."""
    counted = _counted([key for key in keys if key != "seed"], trials)
    if "seed" not in keys or counted.all() or not trials["accuracy"].notna().any():
        return ""
    return (
        f"Left out of what is over seeds: {(~counted).sum()} of {len(trials)} trials, not finished, run again later, "
        "or without the accuracy by which their setting is judged."
    )


def _by_setting(keys: list[str], trials: pd.DataFrame) -> Any:
    """Group the trials that were evaluated by their values of these keys."""
    found = trials[trials["accuracy"].notna()].infer_objects()
    # Without a key all are one group.
    by: list[Any] = [*keys] or [[""] * len(found)]
    return found.fillna(dict.fromkeys(keys, DEFAULT)).groupby(by, sort=False)


def write_comparison(sweep: Path) -> str:
    """Write trials.csv, evaluations.csv, trials.md and trials.png into a sweep's folder, and curves.csv and curves.png
    where policies were trained by PPO; return the text of trials.md."""
    keys, trials = read_trials(sweep)
    trials.to_csv(sweep / "trials.csv", index=False)
    shown = trials.fillna(dict.fromkeys(keys, DEFAULT))
    shown["minutes"] = shown["minutes"].map("{:.1f}".format)
    parts = [markdown(list(shown.columns), shown.to_dict("records"))]
    seeds = over_seeds(keys, trials)
    if seeds:
        parts.append(f"{OVER_SEEDS}\n\n{markdown(list(seeds[0]), seeds)}")
    evaluations = read_evaluations(sweep, keys)
    evaluations.to_csv(sweep / "evaluations.csv", index=False)
    if kinds := evaluations_over_seeds(keys, evaluations):
        parts.append(f"Each evaluation of the trials, over seeds:\n\n{markdown(list(kinds[0]), kinds)}")
    first, apart = differences(keys, trials)
    if apart:
        told = f"Differences over seeds: accuracy above that of {first}, paired by seed, with a 95 % t interval."
        parts.append(f"{told}\n\n{markdown(list(apart[0]), apart)}")
    if out := left_out(keys, trials):
        parts.append(out)
    best = _best(sweep)
    if best and _counted(keys, trials).any():
        parts.append(f"The best of the search, as overrides:\n\n```\n{best}\n```")
    text = "\n\n".join(parts)
    (sweep / "trials.md").write_text(text + "\n", encoding="utf-8")
    picture(keys, trials).savefig(sweep / "trials.png", dpi=120)
    curves = sweep_curves.read_curves(sweep, keys)
    if len(curves):
        curves.to_csv(sweep / "curves.csv", index=False)
        sweep_curves.picture(keys, curves).savefig(sweep / "curves.png", dpi=120)
    return text


def _best(sweep: Path) -> str:
    """Return the best parameters that an Optuna search wrote down, as overrides."""
    file = sweep / "optimization_results.yaml"
    found = yaml.safe_load(file.read_text()).get("best_params", {}) if file.is_file() else {}
    return " ".join(f"{key}={value}" for key, value in found.items())


def picture(keys: list[str], trials: pd.DataFrame) -> Any:
    """Draw accuracies and their intervals: a panel a key where many numbers were searched, else a line a setting."""
    named = [key for key in keys if key != "seed"]
    marked = trials.assign(counted=_counted(named, trials))
    settings = [(setting, rows.to_dict("records")) for setting, rows in _by_setting(named, marked)]
    numbers = all(not math.isnan(number(value)) for setting, _ in settings for value in setting)
    counted = [row for _, rows in settings for row in rows if row["counted"]]
    if len(named) > 3 and counted and numbers:
        return _panels(named, counted)
    return _lines(named, settings)


def _panels(named: list[str], trials: list[dict[str, Any]]) -> Any:
    """Draw a panel a key: accuracy over its value, all trials that count in each; the best one is marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(named), 3.2), layout="constrained")
    axes = figure.subplots(1, len(named), sharey=True)
    best = max(trials, key=lambda row: row["accuracy"])
    for axis, key in zip(axes, named, strict=True):
        for row in trials:
            value, color = number(row[key]), "#0b5394" if row is best else "#188038"
            axis.plot([value, value], [row["low"], row["high"]], color=color, linewidth=2, alpha=0.4)
            axis.plot(value, row["accuracy"], "D" if row is best else ".", color=color)
        axis.set_xlabel(key.removeprefix("rewards.weights."))
        axis.tick_params(axis="x", labelsize=8)
        plain(axis, "y")
    axes[0].set_ylabel("held-out accuracy, 95 % interval")
    return figure


def _lines(named: list[str], settings: list[tuple[tuple[Any, ...], list[dict[str, Any]]]]) -> Any:
    """Draw a line a setting, its seeds beneath each other: accuracy and its interval, of what each trial is judged by,
    and the accuracy before PPO."""
    from matplotlib.figure import Figure

    most = max((len(found) for _, found in settings), default=1)
    figure = Figure(figsize=(10, 1.7 + max(0.35, 0.12 * most) * len(settings)), layout="constrained")
    axis = figure.subplots()
    named_already: set[str] = set()

    def once(name: str) -> str | None:
        """Return a name for the legend the first time that it is asked for."""
        new = name not in named_already
        named_already.add(name)
        return name if new else None

    for place, (_, found) in enumerate(settings):
        for index, row in enumerate(found):
            colour = COLOURS.get(row["kind"], OTHER_COLOUR)
            height = place + (index - (len(found) - 1) / 2) * min(0.2, 0.8 / most)
            axis.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=2, alpha=0.5)
            name = LEGEND.get(row["kind"]) or label(row["kind"])
            axis.plot(row["accuracy"], height, ".", color=colour, label=once(name))
            if row["before"] is not None and not math.isnan(row["before"]):
                axis.plot(row["before"], height, "|", color=COLOURS["sft"], label=once("before PPO"))
        counted = [row["accuracy"] for row in found if row["counted"]]
        if len(counted) > 1:
            mean = sum(counted) / len(counted)
            axis.plot(mean, place, "D", color="#0b5394", label=once("mean over seeds"))
    seeds = [sum(row["counted"] for row in found) for _, found in settings]
    labels = [
        literal(setting_label(named, setting, count if most > 1 else None))
        for (setting, _), count in zip(settings, seeds, strict=True)
    ]
    axis.set_yticks(range(len(settings)), labels, fontsize=8 if len(named) < 3 else 6)
    axis.set(xlabel="held-out accuracy, 95 % interval", ylim=(max(len(settings), 1) - 0.5, -0.5))
    plain(axis, "x")
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure
