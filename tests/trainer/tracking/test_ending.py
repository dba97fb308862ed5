"""What is said of a run before it ends: how long it takes, and that there is nothing to be learned."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.table import Table

from trainer.tracking.ending import RunLength, ending, goes_on, nothing_to_learn


@pytest.mark.parametrize(
    ("alone", "gold", "warned"), [(0.5, 0.5, True), (0.6, 0.4, True), (0.4, 0.5, False), (0.4, None, False)]
)
def test_gold_that_brings_no_more_than_the_solver_alone_is_warned_of(alone, gold, warned):
    accuracy = {"direct": {"mean": alone}} | ({} if gold is None else {"gold": {"mean": gold}})
    line = nothing_to_learn(accuracy, 100)
    assert (line is not None) == warned
    assert line is None or f"{gold:.3f} of 100 held-out problems right, alone {alone:.3f}" in line


def test_a_row_that_the_table_lacks_is_told_below_it():
    accuracy = {"direct": {"mean": 0.5, "low": 0.4, "high": 0.6}}
    summary = {"status": "finished", "steps": 0, "accuracy": accuracy, "n_eval": 4}
    reasons = {"gold": "1 of 4 held-out problems has no sub-questions"}
    table, said, *_ = ending(summary | {"not_evaluated": reasons}, {}, 0, Path("run"), None, "")
    assert isinstance(table, Table)
    assert said == "no gold row: 1 of 4 held-out problems has no sub-questions"
    assert len(list(ending(summary, {}, 0, Path("run"), None, ""))) == 3


def test_the_length_of_a_run_is_estimated_once_when_the_first_steps_are_known(monkeypatch):
    clock = iter(range(100, 1000, 10))
    monkeypatch.setattr("trainer.tracking.ending.time.perf_counter", lambda: float(next(clock)))
    length = RunLength(50, spent_s=60.0, evaluation_s=20.0, began=90.0)
    said = {step: line for step in range(1, 20) if (line := length.step(step)) is not None}
    # 60 s before stage 2, 40 s for four steps, 46 of 10 s to come, and 20 s.
    assert said == {
        4: "the whole run takes about 10 min: 2 min so far, 46 more learner steps of 10 s, the last evaluation 20 s"
    }


@pytest.mark.parametrize(
    ("steps", "kept", "said"),
    [
        (0, 0, "running. To go on: "),
        (15, 15, "running. It goes on after step 15. To go on: "),
        (15, 14, "It goes on from step 14; step 15 is taken again. To go on: "),
        (15, 12, "It goes on from step 12; steps 13 to 15 are taken again. To go on: "),
        (2, 0, "It goes on from the beginning of stage 2; steps 1 to 2 are taken again. To go on: "),
    ],
)
def test_a_run_that_was_stopped_says_where_it_goes_on(steps, kept, said, tmp_path):
    summary = {"status": "interrupted", "steps": steps, "accuracy": {}, "n_eval": 0}
    lines = list(ending(summary, {}, 130, tmp_path, None, "again", kept=kept))
    assert f"{said}again" in lines[0]


def test_a_stop_in_stage_1_says_which_steps_are_meant():
    assert goes_on(5, 5, stage=1) == "It goes on after step 5 of stage 1. "
    assert goes_on(5, 3, stage=1) == "It goes on from step 3 of stage 1; steps 4 to 5 are taken again. "
    assert goes_on(1, 0, stage=1) == "It goes on from the beginning of stage 1; step 1 is taken again. "
