"""The last lines of a run on the screen: its tables, why it ended, what its solver cost, and how to go on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from conf.schema.config import Config
from conf.schema.override_text import command, evaluated_alone
from trainer.tracking.labels import KINDS, missing_rows
from trainer.tracking.live_view import fine_tuning_table, result_table

# How a run ends that evaluation.stop_if_hopeless ends.
NOTHING_TO_LEARN = "nothing_to_learn"
# So many steps after the first tell how long one takes.
MEASURED = 3


def ending(
    summary: dict[str, Any], fine_tuning: dict[str, Any], code: int, folder: Path, account: str | None, go_on: str,
    *, gone: bool = False, kept: int = 0, unmeasured: str | None = None,
) -> Iterator[Table | Text | str]:  # fmt: skip
    """Yield what the screen of a run ends with. ``fine_tuning`` is the report of stage 1, empty without it; ``account``
    the line on the solver; ``go_on`` the command that goes on, where the solver is ``gone`` too; ``kept`` the steps in
    the newest checkpoint; ``unmeasured`` the command that evaluates what stage 2 made, where the budget left nothing
    for that."""
    if code == 0 and (table := fine_tuning_table(fine_tuning)):
        yield table
    if code == 0 and summary["accuracy"]:
        yield result_table(summary["accuracy"], summary["n_eval"], summary["steps"])
        if missing := missing_rows(summary.get("not_evaluated", {})):
            yield missing
    if unmeasured is not None:
        yield f"{KINDS['ppo']}: not measured (budget spent); to measure its checkpoint alone: {unmeasured}"
    if account is not None:
        yield account
    if code == 0 and summary["accuracy"]:
        yield f"picture {folder / 'learning_curve.png'}\nreport  {folder / 'report.html'}"
    if summary["status"] == "out_of_budget":
        yield f"to go on with a larger budget: {go_on}"
    elif summary["status"] == NOTHING_TO_LEARN:
        yield f"ended before stage 2 (evaluation.stop_if_hopeless); to go on all the same: {go_on}"
    elif code > 128:
        yield f"stopped; nothing of the run is left running. {goes_on(summary['steps'], kept)}To go on: {go_on}"
    elif code == 1:
        yield Text.assemble(("failed", "red"), f" {summary['error']}")
        yield f"details in {folder / 'logs'}"
        if gone:
            yield f"To go on: {go_on}"
    yield str(folder)


def stopping(limit_s: float) -> str:
    """Return the line on what a run does that was asked to stop, for ``limit_s`` seconds at most."""
    return f"stopping: the present step is ended and kept if that takes no more than {limit_s:g} s"


def goes_on(steps: int, kept: int, stage: int = 2) -> str:
    """Return the sentence on where a run that has taken ``steps`` of a stage goes on; nothing where none was taken."""
    step = f"step {kept}" if stage == 2 else f"step {kept} of stage {stage}"
    if steps <= kept:
        return f"It goes on after {step}. " if kept else ""
    lost = f"step {steps} is" if steps == kept + 1 else f"steps {kept + 1} to {steps} are"
    return f"It goes on from {step if kept else f'the beginning of stage {stage}'}; {lost} taken again. "


def unmeasured_command(summary: dict[str, Any], config: Config, overrides: Sequence[str], folder: Path) -> str | None:
    """Return the command that evaluates what stage 2 made, by itself, where the budget was spent before the run did;
    None elsewhere."""
    made = folder / "checkpoints" / "ppo"
    missing = summary["status"] == "out_of_budget" and "ppo" not in summary["accuracy"]
    if not missing or "evaluate" not in config.stages or not made.is_dir():
        return None
    return command("launch.evaluate", evaluated_alone(overrides, str(made)))


def nothing_to_learn(accuracy: dict[str, dict[str, Any]], count: int) -> str | None:
    """Return the warning that even the data's own decompositions help no more than none do; None if they help, or if
    that was not measured."""
    if not {"direct", "gold"} <= set(accuracy):
        return None
    alone, gold = accuracy["direct"]["mean"], accuracy["gold"]["mean"]
    if gold > alone:
        return None
    return (
        f"nothing to be learned here: with gold sub-questions the solver answers {gold:.3f} of {count} held-out "
        f"problems right, alone {alone:.3f}; another solver, strategy or data set may leave more to a decomposer: "
        "python -m launch.gate measures that before a run"
    )


@dataclass
class RunLength:
    """An estimate of a whole run's length, made once, when some of stage 2's ``steps`` are known. ``spent_s`` were used
    before them, ``evaluation_s`` will be after them."""

    steps: int
    spent_s: float
    evaluation_s: float
    began: float = field(default_factory=time.perf_counter)
    _first: tuple[int, float] | None = None
    _said: bool = False

    @classmethod
    def begun(cls, config: Config, seconds: dict[str, float], accuracy: dict[str, Any]) -> RunLength:
        """Return it for a run that begins stage 2 now, after these ``seconds`` by stage and evaluations."""
        # PPO's result is one that an earlier process left, and its time is not among the seconds.
        evaluated = len(accuracy.keys() - {"ppo"}) if "evaluate" in config.stages else 0
        one = seconds.get("evaluate", 0.0) / evaluated if evaluated else 0.0
        return cls(config.algorithm.steps, sum(seconds.values()), one)

    def step(self, step: int) -> str | None:
        """Note that a step was taken; return the estimate, if it is to be said now. The first step warms up."""
        now = time.perf_counter()
        if self._first is None:
            self._first = step, now
        taken = step - self._first[0]
        if self._said or taken < MEASURED or step == self.steps:
            return None
        self._said = True
        return length_line(
            self.spent_s + now - self.began, (now - self._first[1]) / taken, self.steps - step, self.evaluation_s
        )


def length_line(spent_s: float, step_s: float, left: int, evaluation_s: float) -> str:
    """Return the estimate of a whole run's length: seconds ``spent_s`` so far, ``left`` learner steps to come, and the
    evaluation after them."""
    parts = [f"{_time(spent_s)} so far", f"{left} more learner steps of {step_s:.3g} s"]
    if evaluation_s:
        parts.append(f"the last evaluation {_time(evaluation_s)}")
    return f"the whole run takes about {_time(spent_s + step_s * left + evaluation_s)}: {', '.join(parts)}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
