"""The learning curves of a sweep's trials over the tokens that they trained on, from their folders alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.reports.evaluations_table import finished_once, read_folders
from trainer.reports.pictures import literal
from trainer.reports.tables import DEFAULT, read_swept, setting_label
from trainer.run_folder.files import read_rows
from trainer.tracking.statistics import mean_over_seeds

if TYPE_CHECKING:
    import pandas as pd

# What is kept of each step, by the name of its metric.
METRICS = {
    "episode/accuracy_final": "sampled_accuracy",
    "reward/total": "reward",
    "reward/given/mean": "given",
    "policy/kl": "kl",
}
FIGURES = ("step", "trained_tokens", *METRICS.values())
# Steps whose mean is drawn: a batch of a hundred episodes alone is off by 0.05.
SMOOTHED = 3


def read_curves(sweep: Path, keys: list[str]) -> pd.DataFrame:
    """Return a row for each learner step of each finished trial: the trial's values of ``keys``, the step, the tokens
    of the policy that were trained on up to it, and of its batch the sampled accuracy, the mean reward, the share of
    given values and the KL divergence from the start a token."""
    import pandas as pd

    rows = []
    for folder, given, _ in finished_once(read_folders(sweep)):
        tokens = 0.0
        for row in read_rows(folder / "metrics.jsonl"):
            if row.get("tokens/policy") is None:
                continue
            tokens += row["tokens/policy"]
            rows.append(
                {key: given.get(key) for key in keys}
                | {"step": row["step"], "trained_tokens": round(tokens)}
                | {name: row.get(metric) for metric, name in METRICS.items()}
            )
    return pd.DataFrame(rows, columns=[*keys, *FIGURES])


def read_table(file: Path) -> tuple[list[str], pd.DataFrame]:
    """Return the keys and rows of a curves.csv as ``read_curves`` does; the keys' values are texts."""
    return read_swept(file, FIGURES)


def smoothed(curves: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the rows with the mean sampled accuracy of each step and those before it, ``SMOOTHED`` in all."""
    rows = curves.fillna(dict.fromkeys(keys, DEFAULT)).sort_values("step")
    by: Any = keys or [[""] * len(rows)]
    groups = rows.groupby(by, sort=False)["sampled_accuracy"]
    means = groups.transform(lambda values: values.rolling(SMOOTHED, min_periods=1).mean())
    return rows.assign(sampled_accuracy=means)


def picture(keys: list[str], curves: pd.DataFrame) -> Any:
    """Draw sampled accuracy over trained tokens, a line a setting: the mean over its seeds, and in pale its 95 % t
    interval over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    named = [key for key in keys if key != "seed"]
    rows = smoothed(curves, keys)
    by: Any = named or [[""] * len(rows)]
    for setting, found in rows.groupby(by, sort=False):
        steps = [own for _, own in found.groupby("step")]
        tokens = [own["trained_tokens"].mean() for own in steps]
        over = [mean_over_seeds(list(own["sampled_accuracy"]), share=True) for own in steps]
        seeds = len(set(found["seed"])) if "seed" in found else None
        (line,) = axis.plot(tokens, [one.mean for one in over], label=literal(setting_label(named, setting, seeds)))
        ends = [(one.mean, one.mean) if one.low is None else (one.low, one.high) for one in over]
        axis.fill_between(tokens, *zip(*ends, strict=True), color=line.get_color(), alpha=0.15, linewidth=0)
    axis.set(xlabel="tokens of the policy trained on", ylabel=f"sampled accuracy, mean of {SMOOTHED} steps")
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False)
    return figure
