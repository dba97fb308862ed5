"""A sweep's tables and picture: which of its trials are seeds of a setting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trainer.reports.trials import write_trial
from trainer.reports.sweep_table import write_comparison

SETTINGS = [(rate, seed) for rate in ("1e-4", "4e-4") for seed in (0, 1)]
UNTRAINED = {"direct": 0.2, "sft": 0.5}


def trial(folder: Path, overrides: list[str], accuracy: dict[str, float], status: str = "finished") -> None:
    number = len(list(folder.glob("*/trial.json")))
    write_trial(folder, number, overrides, accuracy, spread=0.05, status=status)


def marks(axis) -> list[float]:
    return [line.get_xdata()[0] for line in axis.get_lines() if line.get_marker() == "D"]


@pytest.mark.parametrize(
    ("accuracy", "status"),
    [
        (UNTRAINED, "out_of_budget"), ({"direct": 0.2}, "failed"), (UNTRAINED, "nothing_to_learn"),
        (UNTRAINED, "finished"), (UNTRAINED | {"ppo": 0.3}, "interrupted"),
    ],
)  # fmt: skip
def test_a_trial_that_did_not_come_to_what_its_setting_is_judged_by_is_none_of_its_seeds(
    tmp_path, drawn, accuracy, status
):
    for place, (rate, seed) in enumerate(SETTINGS):
        overrides = [f"learner.lr={rate}", f"seed={seed}"]
        if place == 3:
            trial(tmp_path, overrides, accuracy, status)
        else:
            trial(tmp_path, overrides, UNTRAINED | {"ppo": 0.8 + place / 20})
    text = write_comparison(tmp_path)
    assert "| 1e-4 | 0.825 |" in text
    assert "| 4e-4 | 0.900 | 0.850 | 0.950 |  |  | 0.900 | 0.900 | 1 |" in text
    assert "Differences" not in text
    assert "Left out of what is over seeds: 1 of 4 trials" in text
    assert marks(drawn[0]) == [pytest.approx(0.825)]
    labels = [label.get_text() for label in drawn[0].get_yticklabels()]
    assert labels == ["lr 1e-4, 2 seeds", "lr 4e-4, 1 seed"]


def test_a_trial_that_was_run_again_with_its_number_written_in_another_way_is_no_further_seed(tmp_path):
    for rate, seed, accuracy in (("1e-4", 0, 0.1), ("1e-4", 1, 0.6), ("0.0001", 0, 0.5), ("4e-4", 0, 0.7)):
        trial(tmp_path, [f"learner.lr={rate}", f"seed={seed}"], UNTRAINED | {"ppo": accuracy})
    text = write_comparison(tmp_path)
    assert "| 1e-4 | 0.550 |" in text
    assert "| 1e-4 | PPO decomposer | 0.550 |" in text
    assert "Left out of what is over seeds: 1 of 4 trials" in text
    rows = (tmp_path / "evaluations.csv").read_text().splitlines()
    assert [row.split(",")[3] for row in rows if ",ppo," in row] == ["0.6", "0.5", "0.7"]


@pytest.mark.parametrize("file", ["summary.json", "config.yaml"])
def test_a_trial_without_a_seed_is_the_seed_that_it_ran_with_where_seeds_were_swept_later(tmp_path, file):
    for rate, seeded, accuracy in (("1e-4", [], 0.7), ("4e-4", [], 0.6), ("1e-4", [0, 1], 0.7), ("4e-4", [0, 1], 0.6)):
        for given in [[f"seed={seed}"] for seed in seeded] or [[]]:
            trial(tmp_path, [f"learner.lr={rate}", *given], {"ppo": accuracy + 0.04 * (given == ["seed=1"])})
    for number in ("0", "1"):
        kept = tmp_path / number / file
        kept.write_text(json.dumps((json.loads(kept.read_text()) if kept.is_file() else {}) | {"seed": 0}))
    text = write_comparison(tmp_path)
    assert "| 1e-4 | 0.720 |" in text
    assert "| 1e-4 | PPO decomposer | 0.720 |" in text
    assert "| 4e-4 | -0.100 |  |  | 2 |" in text.partition("Differences over seeds:")[2]
    assert "Left out of what is over seeds: 2 of 6 trials" in text
    assert "default" not in text


def test_a_key_that_a_trial_was_not_given_is_called_default_in_every_table(tmp_path):
    for overrides in (["learner.lr=1e-4"], []):
        for seed in range(2):
            trial(tmp_path, [*overrides, f"seed={seed}"], UNTRAINED)
    assert write_comparison(tmp_path).count("| default |") == 2 + 1 + 2 + 1


def test_a_policy_that_answers_too_is_named_for_what_it_is(tmp_path):
    for seed in range(2):
        trial(tmp_path, ["policy.plays=both", f"seed={seed}"], {"direct": 0.2, "ppo": 0.5})
        file = tmp_path / str(seed) / "summary.json"
        summary = json.loads(file.read_text())
        summary["accuracy"]["ppo"]["plays"] = "both"
        file.write_text(json.dumps(summary))
    text = write_comparison(tmp_path)
    assert "| PPO model | 0.500 |" in text
    assert "| solver alone | 0.200 |" in text


def test_settings_whose_stages_end_with_other_policies_are_each_judged_by_their_own(tmp_path):
    for stages, accuracy in (("[sft,evaluate]", UNTRAINED), ("[sft,ppo,evaluate]", UNTRAINED | {"ppo": 0.8})):
        for seed in range(2):
            trial(tmp_path, [f"stages={stages}", f"seed={seed}"], accuracy)
    text = write_comparison(tmp_path)
    assert "| [sft,evaluate] | 0.500 |" in text
    assert "| [sft,ppo,evaluate] | 0.300 |  |  | 2 |" in text.partition("Differences over seeds:")[2]
    assert "Left out" not in text


@pytest.mark.parametrize("value", ["${seed}_${sft.steps}", "$^$", "from $1 to $2", "\\$1, $2 or $"])
def test_a_value_with_dollar_signs_is_no_formula(tmp_path, value):
    for text in (value, "plain"):
        trial(tmp_path, [f"strategy.solve_template={text}"], UNTRAINED)
    assert f"| {value} |" in write_comparison(tmp_path)
    assert (tmp_path / "trials.png").stat().st_size > 0


def test_a_sweep_whose_trials_are_not_evaluated_keeps_its_table(tmp_path):
    for seed in range(2):
        trial(tmp_path, ["stages=[sft]", f"seed={seed}"], {})
    text = write_comparison(tmp_path)
    assert text.count("| finished |") == 2
    assert "eft out" not in text
    assert (tmp_path / "trials.png").stat().st_size > 0


@pytest.mark.parametrize("any_finished", [True, False])
def test_the_best_of_a_search_is_one_that_was_judged_as_the_others(tmp_path, drawn, any_finished):
    for place in range(3):
        values = [f"{key}={0.1 * (place + 1)}" for key in "abcd"]
        cut_short = place == 2 or not any_finished
        accuracy, status = ({"sft": 0.9}, "out_of_budget") if cut_short else ({"ppo": 0.5 + place / 10}, "finished")
        trial(tmp_path, values, accuracy, status)
    (tmp_path / "optimization_results.yaml").write_text("best_params: {a: 0.2}")
    assert ("The best of the search" in write_comparison(tmp_path)) == any_finished
    if any_finished:
        assert len(drawn) == 4
        assert marks(drawn[0]) == [pytest.approx(0.2)]


def test_every_evaluation_of_the_seeds_has_a_row_and_a_mean(tmp_path):
    for seed, (base, ppo) in enumerate(((0.3, 0.6), (0.3, 0.8))):
        trial(tmp_path, [f"seed={seed}"], {"ppo": ppo, "base": base, "direct": 0.0})
    trial(tmp_path, ["seed=2"], {"direct": 0.5}, "failed")
    text = write_comparison(tmp_path).partition("Each evaluation of the trials")[2]
    assert "| solver alone | 0.000 |" in text
    assert "| decomposer before training | 0.300 |" in text
    assert "| PPO decomposer | 0.700 | 0.650 | 0.750 | 0.000 | 1.000 | 0.600 | 0.800 | 2 |" in text
    rows = (tmp_path / "evaluations.csv").read_text().splitlines()
    assert [row.split(",")[:3] for row in rows[1:4]] == [
        ["0", "direct", "0.0"],
        ["0", "base", "0.3"],
        ["0", "ppo", "0.6"],
    ]
    assert len(rows) == 7


def test_trials_that_each_begin_at_the_start_of_their_seed_are_seeds_of_one_setting(tmp_path):
    for rewards, gain in (("outcome", 0.1), ("bounded", 0.2)):
        for seed in range(2):
            begun = f"start_from='/runs/seed={seed},rewards=outcome/checkpoints/sft'"
            trial(tmp_path, [f"rewards={rewards}", f"seed={seed}", begun], {"ppo": 0.5 + gain + seed / 100})
    text = write_comparison(tmp_path)
    assert "start_from" not in text
    assert "| bounded | 0.100 |  |  | 2 |" in text.partition("Differences over seeds:")[2]


def test_starts_that_differ_by_more_than_the_seed_are_settings(tmp_path):
    for start in ("a", "b"):
        for seed in range(2):
            begun = f"start_from=/runs/{start}/seed={seed}"
            trial(tmp_path, [f"seed={seed}", begun], {"ppo": 0.5 + seed / 100})
    assert "| /runs/b/seed=${seed} | 0.000 |  |  | 2 |" in write_comparison(tmp_path)


@pytest.mark.parametrize("place", ["/runs/v1/seed=", "/data1/seed_"])
def test_a_number_that_is_not_the_seeds_stays_where_the_path_names_the_seed(tmp_path, place):
    for rewards, gain in (("outcome", 0.1), ("bounded", 0.2)):
        for seed in (1, 2, 3):
            begun = f"start_from={place}{seed}/sft"
            trial(tmp_path, [f"rewards={rewards}", f"seed={seed}", begun], {"ppo": 0.5 + gain + seed / 100})
    text = write_comparison(tmp_path)
    assert "start_from" not in text
    assert "| bounded | 0.100 |  |  | 3 |" in text.partition("Differences over seeds:")[2]


def test_one_start_of_all_seeds_is_left_as_it_is(tmp_path):
    for rewards in ("outcome", "bounded"):
        for seed in range(2):
            trial(tmp_path, [f"rewards={rewards}", f"seed={seed}", "start_from=/runs/seed=1"], {"ppo": 0.5})
    assert "start_from" not in write_comparison(tmp_path)
