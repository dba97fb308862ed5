"""What a person sees while a run goes on: stages, figures that matter, time left, and the table at the end."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from conf.schema.rewards import PARTS
from trainer.tracking.labels import LIKENESS


class View:
    """A live view on a terminal; on anything else, one plain line now and then."""

    def __init__(self, console: Console, every_s: float = 15.0) -> None:
        self.console = console
        self._every_s = every_s
        self._last_line = 0.0
        self._metrics: dict[str, float] = {}
        self._smooth: dict[str, float] = {}
        self._held_out: dict[str, float] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._live = Live(self, console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._task: Any = None
        self._name = ""
        self._started = 0.0

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()
        if self._live is not None:
            self._live.stop()

    def __rich__(self) -> Group:
        return Group(self._progress, self._figures())

    def say(self, text: str) -> None:
        """One line that stays."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of ``total`` steps (None: unknown)."""
        self.finish()
        self._name, self._started = name, time.perf_counter()
        self._metrics, self._smooth, self._held_out = {}, {}, {}
        self._task = self._progress.add_task(name, total=total)
        if self._live is None:
            self.say(f"{name} …")

    def advance(self, step: int, total: int, metrics: dict[str, float]) -> None:
        """The stage is at ``step`` of ``total``; the newest metrics."""
        self._metrics = metrics
        self._held_out |= {name: value for name, value in metrics.items() if name.startswith("eval/")}
        for name, value in metrics.items():
            # What is measured now and then is shown as it is.
            weight = 0.0 if name == "sft/held_out_loss" else 0.8
            self._smooth[name] = weight * self._smooth.get(name, value) + (1 - weight) * value
        self._progress.update(self._task, completed=step, total=total)
        if self._live is None and (time.perf_counter() - self._last_line > self._every_s or step == total) and step:
            self._last_line = time.perf_counter()
            left = (time.perf_counter() - self._started) / step * (total - step)
            self.say(f"  {self._name} {step}/{total}  {self._line()}  {left:.0f} s left")

    def finish(self) -> None:
        """End the present stage."""
        if self._task is None:
            return
        seconds = time.perf_counter() - self._started
        self._progress.remove_task(self._task)
        self._task = None
        self.say(f"[green]done[/green] {self._name} in {seconds:.0f} s")
        self._metrics = {}

    def _line(self) -> str:
        shown = {
            "sft/loss": "loss {:.3f}",
            "sft/held_out_loss": "held out {:.3f}",
            "episode/accuracy_final": "accuracy {:.2f}",
            "reward/total": "reward {:.2f}",
            "staleness/mean": "staleness {:.1f}",
            "policy/kl": "KL {:.3f}",
            "throughput/episodes_s": "{:.1f} episodes/s",
        }
        parts = [text.format(self._smooth[name]) for name, text in shown.items() if name in self._smooth]
        return "  ".join([*parts, *([f"held out {self._score()}"] if self._held_out else [])])

    def _score(self) -> str:
        """The last evaluation, as it was: a mean over several would be of no policy."""
        score = self._held_out
        return (
            f"{score['eval/accuracy']:.2f} [{score['eval/low']:.2f}, {score['eval/high']:.2f}] "
            f"at version {score['eval/version']:.0f}"
        )

    def _figures(self) -> Table | Text | Group:
        smooth = self._smooth
        if not self._metrics:
            return Text("")
        if "reward/total" not in self._metrics:
            return Text(f"  {self._line()}", style="dim")
        table = Table(show_header=False, box=None, padding=(0, 2))
        table.add_row(
            "accuracy", f"{smooth['episode/accuracy_final']:.3f}",
            "initial", f"{smooth['episode/accuracy_initial']:.3f}",
            "reward", f"{smooth['reward/total']:.3f}", "sub-questions", f"{smooth['episode/subquestions']:.2f}",
        )  # fmt: skip
        parts = [(part, smooth.get(f"reward/{part}/mean")) for part in PARTS[:4]]
        table.add_row(*(cell for part, value in parts for cell in (part, "–" if value is None else f"{value:.3f}")))
        table.add_row(
            "staleness", f"{smooth['staleness/mean']:.2f} (max {self._metrics['staleness/max']:.0f})",
            "KL", f"{smooth['policy/kl']:.4f}", "entropy", f"{smooth['policy/entropy']:.3f}",
            "engine gap", f"{self._metrics['policy/engine_logprob_gap']:.1e}",
        )  # fmt: skip
        table.add_row(
            "episodes/s", f"{smooth['throughput/episodes_s']:.1f}",
            "policy tokens/s", f"{smooth['throughput/policy_tokens_s']:.0f}",
            "learner tokens/s", f"{smooth['throughput/learner_tokens_s']:.0f}",
            "resident GiB", f"{smooth.get('system/resident_gib', 0):.1f}",
        )  # fmt: skip
        if not self._held_out:
            return table
        return Group(table, Text(f"  held out {self._score()}"))


def result_table(accuracy: dict[str, dict[str, Any]], count: int) -> Table:
    """The end of a run: held-out accuracy by who wrote the sub-questions."""
    names = {
        "direct": "solver alone",
        "self_consistency": "solver alone, majority",
        "least_to_most": "with the solver's own sub-questions",
        "filler": "with filler sub-questions",
        "sft": "with the SFT decomposer",
        "ppo": "with the PPO decomposer",
        "policy": "with the decomposer",
        "gold": "with gold sub-questions",
    }
    table = Table(title=f"Held-out accuracy of the frozen solver ({count} problems)")
    for column in ("", "accuracy", "95 % interval", "rescued", "broken", "plans right"):
        table.add_column(column, justify="left" if not column else "right")
    for key, name in names.items():
        if key not in accuracy:
            continue
        entry = accuracy[key]
        plans = entry.get("plans")
        table.add_row(
            name,
            f"{entry['mean']:.3f}",
            f"{entry['low']:.3f} – {entry['high']:.3f}",
            str(entry.get("rescued", "")),
            str(entry.get("broken", "")),
            f"{plans['right']:.2f}" if plans else "",
        )
    return table


def fine_tuning_table(report: dict[str, Any]) -> Table | None:
    """What stage 1 measured: decompositions before and after beside the reference, the held-out loss under it. None
    where nothing was measured."""
    compared, loss = report.get("decompositions", {}), report.get("held_out_loss", {})
    if not (compared or loss):
        return None
    table = Table(
        title="Decompositions beside the reference ones",
        caption=", ".join(f"held-out loss {when} {value:.3f}" for when, value in loss.items()) or None,
    )
    for column in ("", "", "problems", *LIKENESS):
        table.add_column(column, justify="right" if column else "left")
    for name in next(iter(compared.values()), {}):
        for when, sets in compared.items():
            entry = sets[name]
            shown = ("–" if entry[key] is None else f"{entry[key]:.3f}" for key in LIKENESS)
            table.add_row(name.replace("_", " "), when, str(entry["problems"]), *shown)
    return table
