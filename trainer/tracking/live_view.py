"""The screen of a run: its stages, the figures that matter, the time left, and the tables at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich import progress as bars
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from conf.schema.rewards import PARTS
from rewards.reward import MEASURES
from trainer.tracking.labels import KINDS, LIKENESS, LIVE, result_label

# The figures in one line, where there is no screen, and those in the table of a screen, row by row.
LINE = ("sft/loss", "sft/held_out_loss", "episode/accuracy_final", "reward/total", "episode/dropped", "staleness/mean",
        "policy/kl", "throughput/episodes_s")  # fmt: skip
FIGURES = (
    ("episode/accuracy_final", "episode/accuracy_initial", "reward/total", "episode/subquestions"),
    tuple(f"reward/{part}/mean" for part in PARTS[:4]),
    tuple(f"reward/{name}/mean" for name in MEASURES),
    ("staleness/mean", "policy/kl", "policy/entropy", "policy/engine_logprob_gap"),
    ("throughput/episodes_s", "throughput/policy_tokens_s", "throughput/learner_tokens_s", "system/resident_gib"),
)
# Measured now and then, or the largest of its kind: shown as it is.
UNSMOOTHED = ("sft/held_out_loss", "policy/engine_logprob_gap", "episode/dropped")
# Said for as long as the newest measurement is above controller.engine_gap_alarm.
ALARM, ALARMED = "policy/engine_gap_alarm", "ENGINE GAP ALARM"


class View:
    """A live view on a terminal; on anything else, one plain line now and then. ``cost`` says in a few words what the
    run has cost so far, nothing where that is not known."""

    def __init__(self, console: Console, every_s: float = 15.0, cost: Callable[[], str] = str) -> None:
        self.console = console
        self._cost = cost
        self._every_s = every_s
        self._last_line = 0.0
        self._metrics: dict[str, float] = {}
        self._smooth: dict[str, float] = {}
        self._held_out: dict[str, float] = {}
        self._alarmed = False
        begun = (
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=28),
        )
        counts = (bars.MofNCompleteColumn(), bars.TimeElapsedColumn(), bars.TimeRemainingColumn())
        self._progress = bars.Progress(*begun, *counts, console=console)
        self._live = Live(self, console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._task: Any = None
        self._name = ""
        self._started = 0.0
        self._first: tuple[int, float] | None = None  # the first step told in the present stage, and when

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.finish(done=error is None)
        if self._live is not None:
            self._live.stop()

    def __rich__(self) -> Group:
        return Group(self._progress, self._figures())

    def say(self, text: str | Text) -> None:
        """Print a line that stays, as it is: an error's text may hold what looks like markup."""
        self.console.print(Text(text) if isinstance(text, str) else text, soft_wrap=True)

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of ``total`` steps (None: unknown)."""
        self.finish()
        self._name, self._started, self._first = name, time.perf_counter(), None
        self._metrics, self._smooth, self._held_out, self._alarmed = {}, {}, {}, False
        self._task = self._progress.add_task(name, total=total)
        if self._live is None:
            self.say(f"{name} …")

    def advance(self, step: int, total: int, metrics: dict[str, float]) -> None:
        """Show that the stage is at ``step`` of ``total``, and its newest metrics."""
        self._metrics = metrics
        self._alarmed = bool(metrics.get(ALARM, self._alarmed))
        self._held_out |= {name: value for name, value in metrics.items() if name.startswith("eval/")}
        for name, value in metrics.items():
            weight = 0.0 if name in UNSMOOTHED else 0.8
            self._smooth[name] = weight * self._smooth.get(name, value) + (1 - weight) * value
        self._progress.update(self._task, completed=step, total=total)
        now = time.perf_counter()
        if self._first is None:
            self._first = step, now
        if self._live is None and (now - self._last_line > self._every_s or step == total) and step:
            self._last_line = now
            parts = [f"  {self._name} {step}/{total}", self._line(), self._left(step, total, now)]
            self.say("  ".join(filter(None, parts)))

    def finish(self, *, done: bool = True) -> None:
        """End the present stage, which is done unless it was broken off."""
        if self._task is None:
            return
        seconds = time.perf_counter() - self._started
        self._progress.remove_task(self._task)
        self._task = None
        how, taken = (("done", "green"), "in") if done else (("broken off", "yellow"), "after")
        self.say(Text.assemble(how, f" {self._name} {taken} {', '.join([f'{seconds:.0f} s', *self._costs()])}"))
        self._metrics = {}

    def _left(self, step: int, total: int, now: float) -> str:
        """Return the time left, from the steps that were taken here: those before a resume took none of this stage's
        time. Nothing before the second step."""
        assert self._first is not None
        first, then = self._first
        return f"{(now - then) / (step - first) * (total - step):.0f} s left" if step > first else ""

    def _line(self) -> str:
        parts = [f"{LIVE[name][0]} {self._figure(name)}" for name in LINE if name in self._smooth]
        held_out = [f"held out {self._score()}"] if self._held_out else []
        return "  ".join([*parts, *held_out, *self._costs(), *([ALARMED] if self._alarmed else [])])

    def _costs(self) -> list[str]:
        return [cost] if (cost := self._cost()) else []

    def _figure(self, name: str) -> str:
        return format(self._smooth[name], LIVE[name][1]) if name in self._smooth else "–"

    def _score(self) -> str:
        """Return the last evaluation as it was: a mean over several would be of no policy."""
        score = self._held_out
        return (
            f"{score['eval/accuracy']:.2f} [{score['eval/low']:.2f}, {score['eval/high']:.2f}] "
            f"at version {score['eval/version']:.0f}"
        )

    def _figures(self) -> Text | Group:
        if "reward/total" not in self._metrics:
            return Text(f"  {self._line()}" if self._metrics else "  ".join(["", *self._costs()]), style="dim")
        table = Table(show_header=False, box=None, padding=(0, 2))
        for names in FIGURES:
            shown = {name: self._figure(name) for name in names}
            if "staleness/mean" in shown:
                shown["staleness/mean"] += f" (max {self._metrics['staleness/max']:.0f})"
            table.add_row(*(cell for name, figure in shown.items() for cell in (LIVE[name][0], figure)))
        below = [Text(f"  held out {self._score()}")] if self._held_out else []
        below += [Text(f"  {cost}") for cost in self._costs()]
        return Group(table, *below, *([Text(f"  {ALARMED}", style="red")] if self._alarmed else []))


def result_table(accuracy: dict[str, dict[str, Any]], count: int, steps: int = 0) -> Table:
    """Return the table at the end of a run of so many ``steps``: held-out accuracy by who wrote the sub-questions, how
    many decompositions are right where a program can read them, and accuracy by the solvers of a mixture."""
    frozen = not any("plays" in entry for entry in accuracy.values())
    table = Table(title=f"Held-out accuracy{' of the frozen solver' * frozen} ({count} problems)")
    readable = any(entry.get("plans") for entry in accuracy.values())
    columns = ("sub-questions from" if frozen else "", "accuracy", "95 % interval", "rescued", "broken")
    for column in (*columns, *(["read as right"] if readable else [])):
        table.add_column(column, justify="right" if table.columns else "left")
    solvers = sorted({name for entry in accuracy.values() for name in entry.get("by_solver", {})})
    for name in solvers:
        table.add_column(Text(name), justify="right")
    for kind in KINDS:
        if kind in accuracy:
            entry = accuracy[kind]
            table.add_row(
                result_label(kind, entry, steps),
                f"{entry['mean']:.3f}",
                f"{entry['low']:.3f} – {entry['high']:.3f}",
                *(str(entry.get(change, "")) for change in ("rescued", "broken")),
                *([f"{entry['plans']['right']:.2f}" if entry.get("plans") else ""] if readable else []),
                *(_of_solver(entry.get("by_solver", {}).get(one)) for one in solvers),
            )
    return table


def _of_solver(entry: dict[str, Any] | None) -> str:
    return "" if entry is None else f"{entry['mean']:.2f} of {entry['problems']}"


def fine_tuning_table(report: dict[str, Any]) -> Table | None:
    """Return the table of what stage 1 measured: decompositions before and after beside the reference, the held-out
    loss under it; None where nothing was measured."""
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
            # The name is the configuration's.
            table.add_row(Text(name.replace("_", " ")), when, str(entry["problems"]), *shown)
    return table
