"""A sweep's learning curves over trained tokens: what is kept of each step, and the picture of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trainer.reports.trials import write_trial
from trainer.reports import sweep_curves
from trainer.reports.sweep_table import write_comparison

TOKENS = [100, 50, 50]


def trial(sweep: Path, rewards: str, seed: int, accuracy: list[float], status: str = "finished") -> None:
    """Write a trial with the sampled accuracy of each step."""
    number = len(list(sweep.glob("*/trial.json")))
    write_trial(sweep, number, [f"rewards={rewards}", f"seed={seed}"], {"ppo": 0.5}, spread=0.05, status=status)
    rows = [
        {"step": step, "tokens/policy": tokens, "episode/accuracy_final": value, "reward/total": 0.1, "policy/kl": 0.01}
        for step, (tokens, value) in enumerate(zip(TOKENS, accuracy, strict=True), 1)
    ]
    lines = [{"step": 2, "eval/ppo/accuracy": 0.5}, *rows]  # an evaluation on the way has a row of its own
    (sweep / str(number) / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in lines))


def test_trained_tokens_add_up_and_only_finished_trials_count(tmp_path):
    trial(tmp_path, "outcome", 0, [0.1, 0.2, 0.6])
    trial(tmp_path, "bounded", 0, [0.3, 0.3, 0.3], status="failed")
    write_comparison(tmp_path)
    keys, curves = sweep_curves.read_table(tmp_path / "curves.csv")
    assert keys == ["rewards"]
    assert list(curves["trained_tokens"]) == [100, 150, 200]
    assert list(curves["sampled_accuracy"]) == [0.1, 0.2, 0.6]
    assert curves["given"].isna().all()
    assert (tmp_path / "curves.png").is_file()


def test_the_picture_has_a_line_a_setting_over_the_mean_tokens_with_the_interval_over_seeds(tmp_path):
    for seed, accuracy in enumerate(([0.1, 0.2, 0.6], [0.3, 0.2, 0.8])):
        trial(tmp_path, "outcome", seed, accuracy)
        trial(tmp_path, "bounded", seed, [0.0, 0.0, 0.0])
    write_comparison(tmp_path)
    keys, curves = sweep_curves.read_table(tmp_path / "curves.csv")
    axis = sweep_curves.picture(keys, curves).axes[0]
    first, second = axis.get_lines()
    assert [first.get_label(), second.get_label()] == ["rewards outcome, 2 seeds", "rewards bounded, 2 seeds"]
    assert list(first.get_xdata()) == [100, 150, 200]
    # The mean of a step and those before it, then over seeds.
    assert list(first.get_ydata()) == pytest.approx([0.2, 0.2, (0.3 + 1.3 / 3) / 2])
    assert list(second.get_ydata()) == [0.0, 0.0, 0.0]


def test_a_sweep_without_ppo_has_no_curves(tmp_path):
    write_trial(tmp_path, 0, ["seed=0"], {"sft": 0.5}, spread=0.05)
    write_comparison(tmp_path)
    assert not list(tmp_path.glob("curves.*"))
