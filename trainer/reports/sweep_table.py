"""A sweep's trials side by side, from their folders alone: one table (Markdown and CSV) and one picture."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from trainer.reports.tables import brief, markdown, number

# How a trial may end that is not run again.
DONE = ("finished", "out_of_budget")
# What a trial is judged by: the first of these that was evaluated.
JUDGED = ("ppo", "sft", "policy", "self_consistency", "least_to_most", "direct")
FIGURES = ("accuracy", "low", "high", "before", "kind", "steps", "minutes", "status")


def judged(summary: dict[str, Any]) -> str | None:
    """The kind of evaluation that a trial is judged by."""
    return next((kind for kind in JUDGED if kind in summary.get("accuracy", {})), None)


def score(summary: dict[str, Any]) -> float:
    """Held-out accuracy of what the trial made, NaN if it was not evaluated."""
    kind = judged(summary)
    return float(summary["accuracy"][kind]["mean"]) if kind is not None else math.nan


def rows(sweep: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The keys in which the trials differ, and a row a trial in the order they were begun: those keys' values, the
    held-out accuracy with its 95 % interval, that before PPO, learner steps, minutes and how it ended."""
    trials = sorted((json.loads(file.read_text()) | {"folder": file.parent} for file in sweep.glob("*/trial.json")),
                    key=lambda trial: trial["number"])  # fmt: skip
    made = []
    for trial in trials:
        file = trial["folder"] / "summary.json"
        summary: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"status": "unfinished"}
        entry = summary.get("accuracy", {}).get(judged(summary), {})
        before = summary.get("accuracy", {}).get("sft", {}).get("mean") if judged(summary) == "ppo" else None
        made.append(
            dict(text.lstrip("+").partition("=")[::2] for text in trial["overrides"])
            | {
                "accuracy": entry.get("mean"),
                "low": entry.get("low"),
                "high": entry.get("high"),
                "before": before,
                "kind": judged(summary),
                "steps": summary.get("steps"),
                "minutes": sum(summary.get("seconds", {}).values()) / 60,
                "status": summary["status"],
            }
        )
    keys = list(dict.fromkeys(key for row in made for key in row if key not in FIGURES))
    return [key for key in keys if len({row.get(key) for row in made}) > 1], made


def over_seeds(keys: list[str], trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where seeds were swept with something else, a row a setting: the mean accuracy over its seeds, the means of their
    95 % intervals' ends (of the sample of problems, which all trials share), and the lowest and highest seed."""
    others = [key for key in keys if key != "seed"]
    if "seed" not in keys or not others:
        return []
    return [
        dict(zip(others, setting, strict=True))
        | {
            name: fmean(row[key] for row in found)
            for name, key in (("mean", "accuracy"), ("low", "low"), ("high", "high"))
        }
        | {"lowest": min(row["accuracy"] for row in found), "highest": max(row["accuracy"] for row in found)}
        | {"seeds": len(found)}
        for setting, found in _by_setting(others, trials).items()
    ]


def _by_setting(keys: list[str], trials: list[dict[str, Any]]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """The trials that were evaluated, together where they have the same values of these keys."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in trials:
        if row["accuracy"] is not None:
            groups.setdefault(tuple(row.get(key, "") for key in keys), []).append(row)
    return groups


def write_comparison(sweep: Path) -> str:
    """Write trials.csv, trials.md and trials.png into a sweep's folder; the text of trials.md."""
    keys, trials = rows(sweep)
    columns = [*keys, *FIGURES]
    with (sweep / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(trials)
    parts = [markdown(columns, trials)]
    seeds = over_seeds(keys, trials)
    if seeds:
        parts.append("Over seeds:\n\n" + markdown(list(seeds[0]), seeds))
    best = _best(sweep)
    if best:
        parts.append(f"The best of the search, as overrides:\n\n```\n{best}\n```")
    text = "\n\n".join(parts)
    (sweep / "trials.md").write_text(text + "\n", encoding="utf-8")
    _picture(sweep / "trials.png", keys, trials)
    return text


def _best(sweep: Path) -> str:
    """The best parameters that an Optuna search wrote down."""
    file = sweep / "optimization_results.yaml"
    found = yaml.safe_load(file.read_text()).get("best_params", {}) if file.is_file() else {}
    return " ".join(f"{key}={value}" for key, value in found.items())


def _picture(path: Path, keys: list[str], trials: list[dict[str, Any]]) -> None:
    """Accuracies and their intervals: a panel a key where many numbers were searched, else a line a setting."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    named = [key for key in keys if key != "seed"] or keys
    settings = _by_setting(named, trials)
    numbers = all(not math.isnan(number(value)) for setting in settings for value in setting)
    searched = len(named) > 3 and bool(settings) and numbers
    figure = _panels(plt, named, settings) if searched else _lines(plt, named, settings)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _panels(plt: Any, named: list[str], settings: dict[tuple[Any, ...], list[dict[str, Any]]]) -> Any:
    """A panel a key: accuracy over its value, all trials in each; the best one is marked."""
    figure, axes = plt.subplots(
        1, len(named), figsize=(2.6 * len(named), 3.2), sharey=True, layout="constrained", squeeze=False
    )
    found = [(setting, row) for setting, rows in settings.items() for row in rows]
    best = max(found, key=lambda item: item[1]["accuracy"])[1]
    for place, (axis, key) in enumerate(zip(axes[0], named, strict=True)):
        for setting, row in found:
            value, color = number(setting[place]), "#0b5394" if row is best else "#188038"
            axis.plot([value, value], [row["low"], row["high"]], color=color, linewidth=2, alpha=0.4)
            axis.plot(value, row["accuracy"], "D" if row is best else ".", color=color)
        axis.set_xlabel(key.removeprefix("rewards.weights."))
        axis.tick_params(axis="x", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", alpha=0.2)
    axes[0][0].set_ylabel("held-out accuracy, 95 % interval")
    return figure


def _lines(plt: Any, named: list[str], settings: dict[tuple[Any, ...], list[dict[str, Any]]]) -> Any:
    """A line a setting, its seeds beneath each other: accuracy and its interval, and the accuracy before PPO."""
    figure, axis = plt.subplots(figsize=(10, 1.5 + 0.35 * len(settings)), layout="constrained")
    for place, found in enumerate(settings.values()):
        for index, row in enumerate(found):
            first = place == index == 0
            height = place + (index - (len(found) - 1) / 2) * 0.2
            axis.plot([row["low"], row["high"]], [height, height], color="#188038", linewidth=2, alpha=0.5)
            axis.plot(row["accuracy"], height, ".", color="#188038", label="after PPO" if first else None)
            if row["before"] is not None:
                axis.plot(row["before"], height, "|", color="#5b8def", label="SFT" if first else None)
        if len(found) > 1:
            mean = fmean(row["accuracy"] for row in found)
            axis.plot(mean, place, "D", color="#0b5394", label="mean over seeds" if place == 0 else None)
    labels = [
        ", ".join(f"{key.rpartition('.')[2]} {brief(value)[:32]}" for key, value in zip(named, setting, strict=True))
        for setting in settings
    ]
    axis.set_yticks(range(len(settings)), labels, fontsize=8 if len(named) < 3 else 6)
    axis.invert_yaxis()
    axis.set(xlabel="held-out accuracy, 95 % interval")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", alpha=0.2)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, frameon=False)
    return figure
