"""Studies of the learner on the embedded default: ``python -m benchmarks.studies staleness`` or ``algorithms``.

Every trial is stage 2 and the evaluation of the default job, from one SFT checkpoint, in a process of its own. A trial
that is finished is not run again, so a study goes on where it was stopped. It ends with a table (Markdown) and a
picture.

The problems held out are the same in all trials. A row's interval is Wilson's for that many problems at the mean over
the seeds: what another set of problems would do to it; the range over the seeds says what luck in training does.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trainer.metrics import wilson
from trainer.report import read_lines

# What stage 2 of a trial does without: these answers do not depend on it.
SHARED = ("stages=[ppo,evaluate]", "evaluation.gold=false", "evaluation.filler=false", "tracking.wandb=disabled")


@dataclass(frozen=True)
class Variant:
    """One line of a study: its name and what it sets. ``series`` and ``x`` say where it stands in the picture."""

    name: str
    overrides: tuple[str, ...]
    series: str = ""
    x: float = 0.0

    @property
    def folder(self) -> str:
        """A name for the trials' folders, the same for variants that set the same."""
        return re.sub(r"[^\w.]+", "-", "_".join(self.overrides)) or "default"


def staleness() -> list[Variant]:
    """Bounds on staleness with either objective. At 0 both are one: behaviour and proximal policy are the same."""
    variants = []
    for bound in (0, 1, 4, 8):
        for decoupled in (True, False):
            overrides = [f"controller.max_staleness={bound}"] if bound != 1 else []
            overrides += [] if decoupled or bound == 0 else ["algorithm.decoupled=false"]
            name = "decoupled" if decoupled else "plain"
            variants.append(Variant(f"{name}, at most {bound}", tuple(overrides), name, bound))
    return variants


def algorithms() -> list[Variant]:
    """Estimators of the advantage and ways of credit, at the same number of episodes and steps."""
    subquestion = "algorithm.credit=subquestion"
    return [
        Variant("gae, terminal", ()),
        Variant("gae, subquestion", (subquestion,)),
        Variant("grpo", ("algorithm=grpo",)),
        Variant("rloo", ("algorithm=rloo",)),
        Variant("reinforce_plus_plus, terminal", ("algorithm=reinforce_plus_plus",)),
        Variant("reinforce_plus_plus, subquestion", ("algorithm=reinforce_plus_plus", subquestion)),
    ]


STUDIES = {"staleness": staleness, "algorithms": algorithms}


def finished(folder: Path) -> dict[str, Any] | None:
    """A trial's summary, if it came to its end."""
    file = folder / "summary.json"
    summary: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return summary if summary.get("status") == "finished" else None


def train(folder: Path, overrides: list[str]) -> None:
    """Run the main job into a folder; what an unfinished one left there is removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "launch.train", f"run_dir={folder}", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(
            f"{folder.name} ended with status {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-500:]}"
        )


def trial_folder(out: Path, variant: Variant, seed: int) -> Path:
    """Where a trial lies: studies in one folder share the trials that they have in common."""
    return out / f"{variant.folder}-seed{seed}"


def run(variants: list[Variant], seeds: list[int], out: Path, extra: list[str], console: Console) -> None:
    """All trials that are not finished yet."""
    out.mkdir(parents=True, exist_ok=True)
    sft = out / "sft"
    todo = [(variant, seed) for seed in seeds for variant in variants]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("stage 1", total=len(todo))
        if finished(sft) is None:
            train(sft, ["stages=[sft]", "tracking.wandb=disabled", *extra])
        for variant, seed in todo:
            folder = trial_folder(out, variant, seed)
            progress.update(bar, description=f"{variant.name}, seed {seed}")
            if finished(folder) is None:
                start = f"start_from={sft / 'checkpoints' / 'sft'}"
                train(folder, [*SHARED, start, f"seed={seed}", *variant.overrides, *extra])
            progress.advance(bar)


@dataclass(frozen=True)
class Row:
    """What a variant reached: accuracies by seed, and means over its seeds' steps."""

    variant: Variant
    accuracies: list[float]
    interval: dict[str, float]
    sft: float
    staleness: float
    kl: float
    clipped: float
    seconds: float


def read(variants: list[Variant], seeds: list[int], out: Path) -> list[Row]:
    """The rows of the table, from the trials' folders."""
    rows = []
    for variant in variants:
        folders = [trial_folder(out, variant, seed) for seed in seeds]
        found = [(folder, summary) for folder in folders if (summary := finished(folder)) is not None]
        if not found:
            continue
        accuracies = [summary["accuracy"]["ppo"]["mean"] for _, summary in found]
        count = found[0][1]["n_eval"]
        metrics = [row for folder, _ in found for row in read_lines(folder / "metrics.jsonl")]
        last = [read_lines(folder / "metrics.jsonl")[-1] for folder, _ in found]
        rows.append(
            Row(
                variant,
                accuracies,
                wilson(fmean(accuracies) * count, count),
                fmean(summary["accuracy"]["sft"]["mean"] for _, summary in found),
                fmean(row["staleness/mean"] for row in metrics),
                fmean(row["policy/kl"] for row in last),
                fmean(row["policy/clip_fraction"] for row in metrics),
                fmean(summary["seconds"]["ppo"] for _, summary in found),
            )
        )
    return rows


def markdown(rows: list[Row]) -> str:
    """The table."""
    lines = [
        "| | accuracy, mean of seeds | 95 % | each seed | staleness, mean | KL at the end | clipped | stage 2, min |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        each = ", ".join(f"{accuracy:.3f}" for accuracy in row.accuracies)
        lines.append(
            f"| {row.variant.name} | {row.interval['mean']:.3f} | {row.interval['low']:.3f} – "
            f"{row.interval['high']:.3f} | {each} | {row.staleness:.2f} | {row.kl:.3f} | {row.clipped:.3f} | "
            f"{row.seconds / 60:.1f} |"
        )
    return "\n".join(lines)


def picture(rows: list[Row], path: Path) -> None:
    """Accuracy with its interval, every seed a dot: against x by series, or one line below the other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    series = list(dict.fromkeys(row.variant.series for row in rows))
    for index, row in enumerate(rows):
        place = series.index(row.variant.series)
        mean = row.interval["mean"]
        bar = [[mean - row.interval["low"]], [row.interval["high"] - mean]]
        colour = f"C{place}"
        if len(series) > 1:
            x = row.variant.x + 0.12 * (place - (len(series) - 1) / 2)
            label = row.variant.series if index == place else None
            axis.errorbar([x], [mean], yerr=bar, fmt="o", color=colour, capsize=3, label=label)
            axis.plot([x] * len(row.accuracies), row.accuracies, "_", color=colour)
        else:
            axis.errorbar([mean], [-index], xerr=bar, fmt="o", color=colour, capsize=3)
            axis.plot(row.accuracies, [-index] * len(row.accuracies), "|", color=colour)
    sft = fmean(row.sft for row in rows)
    if len(series) > 1:
        axis.axhline(sft, color="grey", linestyle="--", linewidth=1)
        axis.annotate("SFT", (1, sft), xycoords=axis.get_yaxis_transform(), va="bottom", ha="right", color="grey")
        axis.set(xlabel="bound on staleness (weight versions)", ylabel="accuracy on held-out problems")
        axis.set_xticks(sorted({row.variant.x for row in rows}))
        axis.legend(frameon=False)
    else:
        axis.axvline(sft, color="grey", linestyle="--", linewidth=1, label="SFT")
        axis.set_yticks([-index for index in range(len(rows))], [row.variant.name for row in rows])
        axis.set(xlabel="accuracy on held-out problems")
        axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Run a study, or what is left of it; print its table and write it and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--out", type=Path, default=Path("runs/studies"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--read", action="store_true", help="run nothing, only report what is finished")
    parser.add_argument("overrides", nargs="*", help="for every trial, stage 1 included, e.g. algorithm.steps=20")
    options = parser.parse_args()
    console, variants, out = Console(), STUDIES[options.study](), options.out.resolve()
    if not options.read:
        run(variants, options.seeds, out, options.overrides, console)
    rows = read(variants, options.seeds, out)
    if not rows:
        raise SystemExit(f"no finished trial in {out}")
    table = markdown(rows)
    (out / f"{options.study}.md").write_text(table + "\n")
    picture(rows, out / f"{options.study}.png")
    console.print(table, highlight=False, soft_wrap=True, markup=False)
    console.print(f"table {out / options.study}.md, picture {out / options.study}.png", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
