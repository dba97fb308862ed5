"""Pictures of finished runs, made from their folders alone: learning curves and held-out accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from conf.schema.rewards import LIKELIHOOD, PARTS
from rewards.reward import MEASURES
from rollout.episode.verdict import VERDICTS
from trainer.run_folder.files import read_json, read_rows
from trainer.tracking.labels import label, result_label

Row = dict[str, Any]

COLOURS = {
    "direct": "#9aa0a6",
    "filler": "#c9b458",
    "base": "#5b8def",
    "sft": "#5b8def",
    "ppo": "#188038",
    "policy": "#188038",
    "gold": "#333333",
}
OTHER_COLOUR = "#5f6368"
# Share of the accuracy axis that a line of text takes.
LABEL_HEIGHT = 0.045
# Inches and points that stay legible on a telephone, where a picture is as wide as the screen.
SIZE = (4.8, 3.3)
FONT = 11
# Of what was measured, behind its smoothed line.
PALE = 0.2
# Fewer points than these are shown as such.
FEW = 20


@dataclass(frozen=True)
class FinishedRun:
    """The content of a run's folder. ``episodes`` are those of evaluations."""

    name: str
    summary: dict[str, Any]
    config: dict[str, Any]
    metrics: list[Row]
    sft: list[Row]
    episodes: list[Row]

    @property
    def accuracy(self) -> dict[str, dict[str, Any]]:
        """The held-out results by kind of evaluation."""
        found: dict[str, dict[str, Any]] = self.summary.get("accuracy", {})
        return found

    def label(self, kind: str) -> str:
        """Return the words for one of these results."""
        return result_label(kind, self.accuracy[kind], self.summary.get("steps", 0))


@dataclass(frozen=True)
class Panel:
    """A picture of these metrics over steps. Of several runs only the first metric is drawn."""

    file: str
    title: str
    series: tuple[str, ...]
    unit: str = ""
    log: bool = False
    smooth: bool = True
    steps: str = "learner step"


PANELS = (
    Panel("reward", "Reward parts, before weights", ("reward/total", *(f"reward/{part}/mean" for part in PARTS))),
    Panel("leak", "Values handed to the solver", tuple(f"reward/{name}/mean" for name in MEASURES), "share"),
    Panel("policy", "Policy", ("policy/kl", "policy/entropy"), "nats"),
    Panel("staleness", "Staleness of the tokens trained on", ("staleness/mean", "staleness/max"), "weight versions",
          smooth=False),
    Panel("engine_gap", "Engine and learner apart, same tokens and version",
          ("policy/engine_logprob_gap_mean", "policy/engine_logprob_gap"), "nats", log=True, smooth=False),
    Panel("throughput", "Throughput",
          ("throughput/episodes_s", "throughput/policy_tokens_s", "throughput/learner_tokens_s"), "a second", log=True),
    Panel("time", "Where a step's time goes",
          ("time/rollout_wait", "time/learn", "time/weight_push", "time/learner_wait"), "seconds"),
    Panel("verdicts", "Verdicts on replies", tuple(f"verdict/{name}" for name in VERDICTS), "share"),
    Panel("likelihood", "What sub-questions add to the solver's log-probability", (f"reward/{LIKELIHOOD}/mean",),
          "nats"),
    Panel("rewritten", "Sub-questions written again", ("episode/rewritten",), "an episode"),
)  # fmt: skip
FINE_TUNING = Panel("sft", "Fine-tuning", ("sft/held_out_loss", "sft/loss"), "nats", steps="fine-tuning step")


def read_run(folder: Path, name: str | None = None) -> FinishedRun:
    """Read a run's folder; what it does not have is empty."""
    config = folder / "config.yaml"
    return FinishedRun(
        name or folder.name,
        read_json(folder / "summary.json"),
        (yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else None) or {},
        read_rows(folder / "metrics.jsonl"),
        read_rows(folder / "logs" / "sft.jsonl"),
        [row for row in read_rows(folder / "episodes.jsonl") if row.get("split") not in (None, "train")],
    )


def learning_curve(folder: Path) -> Path:
    """Write learning_curve.png and return its path: training accuracy with the held-out results beside it, the reward's
    parts, the policy; of a run that ended with fine-tuning, its losses instead."""
    run = read_run(folder)
    panels = (PANELS[0], PANELS[2]) if run.metrics else (FINE_TUNING,) if run.sft else ()
    accuracy = bool(run.metrics or run.accuracy or not panels)
    figure = _figure(4.2, 5.4 * accuracy + SIZE[0] * len(panels))
    ratios = (1.3,) * accuracy + (1,) * len(panels)
    axes = list(figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0])
    if accuracy:
        _accuracy(axes[0], [run])
        _held_out_lines(axes[0], run)
    for axis, panel in zip(axes[accuracy:], panels, strict=True):
        _curves(axis, [run], panel)
    return _save(figure, folder / "learning_curve.png")


def pictures(runs: Sequence[FinishedRun], folder: Path) -> dict[str, Path]:
    """Write a picture a file into ``folder``, of one run or of several compared; return title -> file, without those
    for which there is nothing to draw."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = list(dict.fromkeys(kind for run in runs for kind in run.accuracy))
    made: dict[str, Path] = {}
    if kinds:
        figure = _figure(max(SIZE[1], 0.9 + len(kinds) * (0.25 + 0.17 * len(runs))))
        _bars(figure.subplots(), runs, kinds)
        made["Held-out accuracy"] = _save(figure, folder / "held_out.png")
    if any(run.metrics for run in runs):
        figure = _figure()
        _accuracy(figure.subplots(), runs)
        made["Accuracy while training"] = _save(figure, folder / "accuracy.png")
    for panel in (*PANELS, FINE_TUNING):
        if any(_points(run, name) for run in runs for name in _series(panel, runs)):
            figure = _figure()
            _curves(figure.subplots(), runs, panel)
            made[panel.title] = _save(figure, folder / f"{panel.file}.png")
    return made


def _figure(height: float = SIZE[1], width: float = SIZE[0]) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> Path:
    # Tight: the layout does not always see how wide the numbers along an axis become.
    figure.savefig(path, dpi=120, bbox_inches="tight")
    return path


def _points(run: FinishedRun, name: str) -> list[tuple[float, float]]:
    steps = run.sft if name.startswith("sft/") else run.metrics
    return [(row["step"], row[name]) for row in steps if row.get(name) is not None]


def _smooth(values: Sequence[float], weight: float = 0.8) -> list[float]:
    smoothed: list[float] = []
    for value in values:
        smoothed.append(weight * smoothed[-1] + (1 - weight) * value if smoothed else value)
    return smoothed


def _line(
    axis: Any, points: Sequence[tuple[float, float]], name: str, colour: str | None = None, *, smooth: bool = True
) -> None:
    """Draw a smoothed line, and pale behind it what was measured; or that alone, with its points."""
    if points:
        x, y = zip(*points, strict=True)
        if not smooth:
            axis.plot(x, y, label=name, color=colour, marker="o" if len(x) < FEW else None, markersize=4)
            return
        (line,) = axis.plot(x, _smooth(y), label=name, color=colour)
        axis.plot(x, y, color=line.get_color(), alpha=PALE, linewidth=1)


def _series(panel: Panel, runs: Sequence[FinishedRun]) -> list[str]:
    """Return the panel's metrics; beside the five parts of the reward, the user's own."""
    parts = [part for run in runs for part in run.config.get("rewards", {}).get("parts", {})]
    own = [f"reward/{part}/mean" for part in parts if panel.file == "reward"]
    return list(dict.fromkeys([*panel.series, *own]))


def _curves(axis: Any, runs: Sequence[FinishedRun], panel: Panel) -> None:
    alone = len(runs) == 1
    measured = [name for name in _series(panel, runs) if any(_points(run, name) for run in runs)]
    for name in measured if alone else measured[:1]:
        for run in runs:
            # What is measured on held-out problems now and then has no noise that smoothing would take away.
            smooth = panel.smooth and "held_out" not in name
            _line(axis, _points(run, name), label(name) if alone else literal(run.name), smooth=smooth)
    title = panel.title if alone else f"{panel.title}: {label(measured[0])}"
    axis.set(title=title, xlabel=panel.steps, ylabel=panel.unit)
    if panel.log and alone:
        axis.set_yscale("log")
    _explain_pale(axis)
    _whole_steps(axis)
    _tidy(axis)


def _accuracy(axis: Any, runs: Sequence[FinishedRun]) -> None:
    """Draw the training batches' accuracy, and the held-out subset's with its intervals where it was evaluated."""
    alone = len(runs) == 1
    for index, run in enumerate(runs):
        colour = "#e8710a" if alone else f"C{index}"
        name = "training batches (sampled decompositions)" if alone else literal(run.name)
        _line(axis, _points(run, "episode/accuracy_final"), name, colour)
        scores = [row for row in run.metrics if row.get("eval/accuracy") is not None]
        if scores:
            # Of an older run an end may be past the mean by what rounding left.
            errors = [[max(0.0, row["eval/accuracy"] - row["eval/low"]) for row in scores],
                      [max(0.0, row["eval/high"] - row["eval/accuracy"]) for row in scores]]  # fmt: skip
            axis.errorbar(
                [row["eval/version"] for row in scores], [row["eval/accuracy"] for row in scores], errors,
                label="held-out subset (greedy decompositions)" if alone else None,
                color=COLOURS["ppo"] if alone else colour, marker="o", markersize=4, linewidth=1, capsize=2,
            )  # fmt: skip
    axis.set(title="Solver's accuracy", xlabel="learner step", ylim=(0, 1.02))
    _explain_pale(axis)
    _whole_steps(axis)
    _tidy(axis)


def _held_out_lines(axis: Any, run: FinishedRun) -> None:
    """Draw the held-out results as lines across, named right of the axes, each label clear of the one beneath it."""
    beneath = -1.0
    for kind, entry in sorted(run.accuracy.items(), key=lambda item: item[1]["mean"]):
        colour = COLOURS.get(kind)
        axis.axhline(entry["mean"], color=colour, linestyle="--", linewidth=1.2)
        axis.axhspan(entry["low"], entry["high"], color=colour, alpha=0.12, linewidth=0)
        beneath = max(entry["mean"], beneath + LABEL_HEIGHT)
        axis.annotate(
            f"{run.label(kind)} {entry['mean']:.2f}", (1, beneath), xycoords=axis.get_yaxis_transform(),
            xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=colour,
        )  # fmt: skip


def _bars(axis: Any, runs: Sequence[FinishedRun], kinds: Sequence[str]) -> None:
    """Draw a bar with its interval for each kind of evaluation, and of several runs one each."""
    height = 0.8 / len(runs)
    for index, run in enumerate(runs):
        name = literal(run.name) if len(runs) > 1 else None
        for kind, entry in run.accuracy.items():
            y = kinds.index(kind) + (index - (len(runs) - 1) / 2) * height
            colour = COLOURS.get(kind, OTHER_COLOUR) if len(runs) == 1 else f"C{index}"
            interval = (entry["low"], entry["high"])
            bar(axis, y, entry["mean"], *interval, FONT - 2, height=height * 0.92, color=colour, label=name)
            name = None
    axis.set(title="Held-out accuracy", xlabel="share of right answers, 95 % interval", xlim=(0, 1.1))
    played = {kind: entry.get("plays", "decomposer") for run in runs for kind, entry in run.accuracy.items()}
    names = [runs[0].label(kind) if len(runs) == 1 else label(kind, played[kind]) for kind in kinds]
    axis.set_yticks(range(len(kinds)), names)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)
    _tidy(axis)


def bar(axis: Any, place: float, mean: float, low: float, high: float, font: int, **style: Any) -> Any:
    """Draw a bar across with its interval and, right of it, its value; return the bar."""
    drawn = axis.barh(place, mean, alpha=0.8, **style)
    error = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
    axis.errorbar(mean, place, xerr=error, color="#202124", linewidth=1, capsize=2)
    axis.text(high + 0.02, place, f"{mean:.2f}", va="center", fontsize=font)
    return drawn


def literal(text: str) -> str:
    """Return a text from outside so that it is drawn as it is: what stands between two dollar signs is a formula."""
    return text.replace("$", r"\$")


def plain(axis: Any, grid: str = "both") -> None:
    """Take the frame's upper and right side away and draw a pale grid."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, alpha=0.2)


def _whole_steps(axis: Any) -> None:
    """Put the ticks of an axis of steps at whole numbers: there is no step of 1.5."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _explain_pale(axis: Any) -> None:
    """Say in the legend what the pale lines are, where there are some."""
    pale = [line for line in axis.get_lines() if line.get_alpha() == PALE]
    if pale:
        axis.plot([], [], color="#5f6368", alpha=2 * PALE, linewidth=1, label="pale: unsmoothed")


def _tidy(axis: Any) -> None:
    axis.title.set_fontsize(FONT + 1)
    axis.tick_params(labelsize=FONT - 1)
    axis.xaxis.label.set_fontsize(FONT - 1)
    axis.yaxis.label.set_fontsize(FONT - 1)
    plain(axis)
    labels = axis.get_legend_handles_labels()[1]
    if labels:
        # Beneath the axes, where it covers nothing.
        columns = max(1, min(3, 50 // max(map(len, labels))))
        axis.legend(fontsize=FONT - 2, frameon=False, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.2))
