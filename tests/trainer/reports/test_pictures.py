"""What the pictures draw, read from the figures themselves."""

from __future__ import annotations

import json

import pytest
from matplotlib.figure import Figure

from trainer.reports.pictures import FinishedRun, learning_curve, pictures, read_run
from trainer.tracking.statistics import wilson

# Title -> the places of the marks along the axis of steps.
ticks: dict[str, list[float]] = {}


@pytest.fixture
def drawn(monkeypatch):
    """Every axes of the figures that are saved: title -> {label of a line: its values}."""
    found = {}
    ticks.clear()

    def keep(figure, *_args, **_named):
        for axes in figure.axes:
            found[axes.get_title()] = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
            ticks[axes.get_title()] = list(axes.get_xticks())

    monkeypatch.setattr(Figure, "savefig", keep)
    return found


def lines(folder, name, rows):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_run_of_fine_tuning_alone_shows_its_losses_and_nothing_empty(tmp_path, drawn):
    rows = [{"step": 0, "sft/held_out_loss": 1.0}, {"step": 1, "sft/loss": 2.0}, {"step": 2, "sft/loss": 1.0},
            {"step": 25, "sft/held_out_loss": 0.5}]  # fmt: skip
    lines(tmp_path, "logs/sft.jsonl", rows)
    learning_curve(tmp_path)
    assert list(drawn) == ["Fine-tuning"]
    # Measured now and then, so as it was measured; the steps' own loss is smoothed.
    assert drawn["Fine-tuning"]["held out loss"] == [1.0, 0.5]
    assert drawn["Fine-tuning"]["loss"] == pytest.approx([2.0, 1.8])


def test_a_whole_run_shows_accuracy_reward_and_policy(tmp_path, drawn):
    lines(tmp_path, "logs/sft.jsonl", [{"step": 1, "sft/loss": 2.0}])
    lines(tmp_path, "metrics.jsonl", [{"step": 1, "episode/accuracy_final": 0.5, "reward/total": 1.0}])
    learning_curve(tmp_path)
    assert list(drawn) == ["Solver's accuracy", "Reward parts, before weights", "Policy"]
    assert drawn["Solver's accuracy"]["training batches (sampled decompositions)"] == [0.5]


def test_the_solvers_likelihood_has_a_picture_of_its_own_in_nats(tmp_path, drawn):
    lines(tmp_path, "metrics.jsonl", [{"step": 1, "reward/total": 1.0, "reward/solver_likelihood/mean": 150.0}])
    pictures([read_run(tmp_path)], tmp_path)
    title = "What sub-questions add to the solver's log-probability"
    assert drawn[title]["solver likelihood"] == [150.0]
    assert "solver likelihood" not in drawn["Reward parts, before weights"]


def test_a_run_that_only_evaluates_shows_its_accuracies(tmp_path, drawn):
    entry = {"mean": 0.5, "low": 0.25, "high": 0.75}
    (tmp_path / "summary.json").write_text(json.dumps({"accuracy": {"sft": entry}}))
    learning_curve(tmp_path)
    assert list(drawn) == ["Solver's accuracy"]
    assert [0.5, 0.5] in drawn["Solver's accuracy"].values()


@pytest.mark.parametrize(
    "score", [wilson(50, 50), wilson(0, 50), {"mean": 1.0, "low": 0.9, "high": 1 - 2**-53}], ids=str
)
def test_an_evaluation_in_which_all_is_right_or_nothing_is_drawn(tmp_path, drawn, score):
    row = {"step": 5, "eval/accuracy": score["mean"], "eval/version": 5}
    lines(tmp_path, "metrics.jsonl", [row | {"eval/low": score["low"], "eval/high": score["high"]}])
    learning_curve(tmp_path)
    assert "Solver's accuracy" in drawn


def test_names_of_runs_with_dollar_signs_are_no_formulas(tmp_path):
    accuracy = {"sft": {"mean": 0.5, "low": 0.25, "high": 0.75}}
    rows = [{"step": 1, "episode/accuracy_final": 0.5, "reward/total": 1.0}]
    runs = [FinishedRun(name, {"accuracy": accuracy}, {}, rows, [], []) for name in ("$^$", "${a}_${b}")]
    made = pictures(runs, tmp_path)
    assert {"Held-out accuracy", "Accuracy while training", "Reward parts, before weights"} <= set(made)


def test_steps_are_whole_and_pale_lines_are_explained(tmp_path, drawn):
    rows = [{"step": step, "episode/accuracy_final": 0.5, "reward/total": 1.0, "policy/kl": 0.1} for step in (1, 2)]
    lines(tmp_path, "metrics.jsonl", rows)
    learning_curve(tmp_path)
    for title in ("Solver's accuracy", "Reward parts, before weights", "Policy"):
        assert all(float(place).is_integer() for place in ticks[title]), ticks[title]
        assert "pale: unsmoothed" in drawn[title]


def test_a_picture_without_pale_lines_explains_none(tmp_path, drawn):
    lines(tmp_path, "logs/sft.jsonl", [{"step": step, "sft/held_out_loss": 1.0} for step in (0, 1, 2)])
    learning_curve(tmp_path)
    assert "pale: unsmoothed" not in drawn["Fine-tuning"]
