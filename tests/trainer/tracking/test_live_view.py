"""The screen prints what came from outside as it is, and shows figures and results under their names."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from conf.schema.rewards import PARTS
from trainer.tracking.live_view import FIGURES, View, fine_tuning_table, result_table

STEP = {name: 0.25 for names in FIGURES for name in names} | {"staleness/max": 2.0}


@pytest.fixture
def console():
    """A console that is no terminal; ``file`` has what it printed."""
    return Console(file=io.StringIO(), width=200)


@pytest.mark.parametrize(
    "text", ["rank 0 died: no such file [/some/folder]", "[red]not a colour[/red]", "[/]", "a :warning: and [1, 2]"]
)
def test_text_from_outside_is_printed_as_it_is(console, text):
    with View(console) as view:
        view.say(text)
        view.stage(text, 1)
    assert console.file.getvalue().startswith(f"{text}\n{text} …\ndone {text} in 0 s\n")


def test_a_stage_that_was_broken_off_is_not_called_done(console):
    view = View(console)
    view.stage("evaluation", 1)
    view.finish(done=False)
    view.stage("stage 2", 1)
    view.__exit__(RuntimeError)
    said = console.file.getvalue().splitlines()
    assert said == ["evaluation …", "broken off evaluation after 0 s", "stage 2 …", "broken off stage 2 after 0 s"]


def test_the_cost_is_on_the_lines_of_progress_and_of_a_stage_that_is_done(console):
    costs = iter(["cost 0.1 of 2", "cost 0.25 of 2"])
    with View(console, every_s=0.0, cost=lambda: next(costs)) as view:
        view.stage("evaluation", 2)
        view.advance(1, 2, {})
    _, progress, done = console.file.getvalue().splitlines()
    assert progress == "  evaluation 1/2  cost 0.1 of 2"
    assert done == "done evaluation in 0 s, cost 0.25 of 2"


@pytest.mark.parametrize("first", [0, 1, 901])
def test_the_time_left_is_told_from_the_steps_that_were_taken_here(console, monkeypatch, first):
    now = 1000.0
    monkeypatch.setattr("trainer.tracking.live_view.time.perf_counter", lambda: now)
    view = View(console, every_s=0.0)
    for _ in range(2):
        view.stage("stage 2", 1000)
        for step in range(first, first + 3):
            now += 60  # the first of a stage takes as long as what is loaded for it
            view.advance(step, 1000, {})
            now -= 50
    lines = [line for line in console.file.getvalue().splitlines() if "/1000" in line]
    left = [(999 - first) * 10, (998 - first) * 10]
    shown = [[], [f"{left[0]} s left"], [f"{left[1]} s left"]][first == 0 :]
    assert [line.split("/1000")[1].split("  ")[1:] for line in lines] == shown * 2


def test_figures_that_nobody_measured_are_a_dash_and_not_a_number():
    """As the accuracy of the initial attempts is, where a strategy makes none."""
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    with View(console) as view:
        view.stage("stage 2", 2)
        view.advance(1, 2, {name: value for name, value in STEP.items() if name != "episode/accuracy_initial"})
        console.print(view)
    assert re.search(r"accuracy +0\.250 +initial +– +reward +0\.250", console.file.getvalue())


def test_text_from_outside_is_shown_on_a_terminal_as_it_is():
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    with View(console) as view:
        view.stage("reading [/some/folder]", 2)
        view.say("died [/some/folder]")
        view.advance(1, 2, STEP)
    shown = console.file.getvalue()
    assert "reading [/some/folder]" in shown
    assert "died [/some/folder]" in shown


def test_the_names_of_a_configuration_are_no_markup(console):
    entry = dict.fromkeys(("matched", "coverage", "precision", "order"), 0.5) | {"problems": 3}
    console.print(fine_tuning_table({"decompositions": {"before": {"[/x]": entry}}}))
    assert "[/x]" in console.file.getvalue()


def test_figures_have_their_names_and_what_was_not_measured_a_dash(console):
    view = View(console)
    view.stage("stage 2", 2)
    view.advance(1, 2, {name: value for name, value in STEP.items() if name != f"reward/{PARTS[0]}/mean"})
    console.print(view)
    rows = [" ".join(line.split()) for line in console.file.getvalue().splitlines()]
    assert "accuracy 0.250 initial 0.250 reward 0.250 sub-questions 0.25" in rows
    assert f"{PARTS[0]} – " in next(row for row in rows if row.startswith(PARTS[0]))
    assert "staleness 0.25 (max 2) KL 0.2500 entropy 0.250 engine gap 2.5e-01" in rows


def test_the_last_evaluation_is_shown_with_its_interval(console):
    view = View(console, every_s=0.0)
    view.stage("stage 2", 2)
    score = {"eval/accuracy": 0.5, "eval/low": 0.25, "eval/high": 0.75, "eval/version": 7.0}
    view.advance(1, 2, STEP | score)
    assert "held out 0.50 [0.25, 0.75] at version 7" in console.file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_alarm_is_shown_for_as_long_as_the_newest_measurement_rings_it(terminal):
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal, color_system=None)
    view = View(console, every_s=0.0)
    view.stage("stage 2", 4)
    shown = []
    for step, measured in enumerate([{}, {"policy/engine_gap_alarm": 1.0}, {}, {"policy/engine_gap_alarm": 0.0}], 1):
        begun = len(console.file.getvalue())
        view.advance(step, 4, STEP | measured)
        console.print(view)
        shown.append("ENGINE GAP ALARM" in console.file.getvalue()[begun:])
    assert shown == [False, True, True, False]


def test_results_are_listed_by_kind_in_a_fixed_order(console):
    entry = {"mean": 0.5, "low": 0.25, "high": 0.75}
    changes = {"rescued": 3, "broken": 1, "plans": {"right": 0.75}}
    console.print(result_table({"ppo": entry | changes, "direct": entry}, 9))
    shown = console.file.getvalue()
    assert "(9 problems)" in shown
    alone, trained = (
        " ".join(line.replace("│", " ").split()) for line in shown.splitlines() if "0.250 – 0.750" in line
    )
    assert alone == "solver alone 0.500 0.250 – 0.750"
    assert trained == "PPO decomposer 0.500 0.250 – 0.750 3 1 0.75"


def test_results_of_a_policy_that_answers_are_not_called_those_of_a_frozen_solver(console):
    entry = {"mean": 0.5, "low": 0.25, "high": 0.75, "plays": "both"}
    console.print(result_table(dict.fromkeys(("direct", "sft", "ppo", "gold"), entry), 9))
    shown = console.file.getvalue()
    assert "frozen" not in shown
    assert [name for name in ("model alone", "SFT model", "PPO model", "gold sub-questions") if name not in shown] == []


def test_decompositions_that_no_program_can_read_have_no_column(console):
    entry = {"mean": 0.5, "low": 0.25, "high": 0.75, "rescued": 3, "broken": 1}
    console.print(result_table({"ppo": entry, "direct": entry}, 9))
    assert "broken" in console.file.getvalue()
    assert "read as right" not in console.file.getvalue()
