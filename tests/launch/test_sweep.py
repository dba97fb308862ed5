"""Sweeps with stand-ins for the run: what is run, what is not run again, and what is made of it at the end."""

from __future__ import annotations

import csv
import json
import os
import stat
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml

import launch.sweep
import launch.train
from conf.schema.places import CONF
from conf.schema.rewards import PARTS
from launch.compose import compose
from launch.sweep import fixed_keys, trial_folder, upload_command
from launch.train import main
from tests.trainer.reports.trials import write_trial
from trainer.reports.sweep_table import write_comparison
from trainer.run_folder.lock import held_folder

FAKE = """#!{python}
import json, os, pathlib, sys, time
folder = pathlib.Path(next(a for a in reversed(sys.argv) if a.startswith("run_dir="))[8:].strip("'"))
began = time.time()
time.sleep(0.6)
if "seed=13" in sys.argv:
    sys.exit(1)
seed = int(next(a for a in sys.argv if a.startswith("seed="))[5:])
summary = {{"status": "finished", "steps": 3, "seconds": {{"ppo": 60.0}}, "span": [began, time.time()],
           "joined": [os.environ.get("DECOMPOSER_RL_SWEEP_CLUSTER"), *sys.argv],
           "accuracy": {{"ppo": {{"mean": seed / 10, "low": seed / 10 - 0.05, "high": seed / 10 + 0.05}}}}}}
(folder / "summary.json").write_text(json.dumps(summary))
"""


@pytest.fixture
def ran(monkeypatch):
    """Runs that only write a summary: best at a learning rate of 4e-4; the list of what was run."""
    done = []

    def execute(config, overrides):
        done.append(overrides)
        if config.seed == 13:
            return 1
        mean = 1 - abs(config.learner.lr - 4e-4) * 1000
        entry = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}
        summary = {"status": "finished", "steps": 60, "seconds": {"ppo": 90.0}, "accuracy": {"ppo": entry}}
        (Path(config.run_dir) / "summary.json").write_text(json.dumps(summary))
        return 0

    monkeypatch.setattr(launch.sweep, "execute", execute)
    monkeypatch.setattr(sys, "argv", ["train"])
    return done


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_keeps_to_its_folder_and_ends_with_a_table_and_a_picture(ran, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "learner.lr=2e-4,4e-4", "seed=0,1", "hydra.sweep.dir=swept"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["swept"]
    assert len(ran) == 4
    configs = [compose(overrides) for overrides in ran]
    assert {Path(config.run_dir).parent for config in configs} == {tmp_path / "swept"}
    assert {config.tracking.group for config in configs} == {"swept"}
    rows = table(tmp_path / "swept")
    assert [(row["learner.lr"], row["seed"], row["accuracy"], row["steps"]) for row in rows] == [
        ("0.0002", "0", "0.8", "60"), ("0.0002", "1", "0.8", "60"), ("0.0004", "0", "1.0", "60"),
        ("0.0004", "1", "1.0", "60"),
    ]  # fmt: skip
    shown = capsys.readouterr().out
    assert "| learner.lr | seed | accuracy |" in shown
    head = "| learner.lr | mean | low | high | seed_low | seed_high | lowest | highest | seeds |"
    assert head in shown.partition("Over seeds:")[2]
    assert "| 0.0002 | 0.800 | 0.700 | 0.900 |  |  | 0.800 | 0.800 | 2 |" in shown, "alike: no interval over seeds"
    assert "| 0.0004 | 0.200 |  |  | 2 |" in shown.partition("above that of lr 0.0002, paired by seed")[2]
    assert (tmp_path / "swept" / "trials.png").stat().st_size > 0
    assert (tmp_path / "swept" / "trials.md").read_text().strip() in shown


def test_a_sweep_that_was_tracked_offline_says_how_to_upload_it(tmp_path, capsys):
    trial(tmp_path, 0, ["seed=0"])
    assert launch.sweep.main([str(tmp_path)]) == 0
    assert "wandb" not in capsys.readouterr().out
    runs = [tmp_path / place / "wandb" / "offline-run-1" for place in ("0", "unfinished/1-try-1")]
    for run in runs:
        run.mkdir(parents=True)
    assert launch.sweep.main([str(tmp_path)]) == 0
    places = f"{tmp_path}/*/wandb/offline-* {tmp_path}/unfinished/*/wandb/offline-*"
    assert capsys.readouterr().out.endswith(f"\ntracked offline; to upload: wandb sync {places}\n")
    (runs[0] / "run-1.wandb.synced").touch()
    assert upload_command(tmp_path) == f"wandb sync {tmp_path}/unfinished/*/wandb/offline-*"


def test_what_is_finished_is_not_run_again_and_what_is_not_is_set_aside(ran, tmp_path):
    arguments = ["-m", "learner.lr=1e-4,2e-4,3e-4", f"hydra.sweep.dir={tmp_path}"]
    main(arguments)
    killed = trial_folder(tmp_path, ["learner.lr=0.0002"])
    (killed / "summary.json").write_text(json.dumps({"status": "interrupted"}))
    (killed / "metrics.jsonl").write_text("kept")
    ran.clear()
    main(arguments)
    assert [compose(overrides).learner.lr for overrides in ran] == [2e-4]
    assert (tmp_path / "unfinished" / f"{killed.name}-try-1" / "metrics.jsonl").read_text() == "kept"
    assert [row["status"] for row in table(tmp_path)] == ["finished"] * 3


@pytest.mark.parametrize("left", [None, {"status": "interrupted"}, {"status": "running"}], ids=str)
def test_a_trial_of_stage_1_that_was_killed_is_no_finished_one(ran, tmp_path, left):
    arguments = ["-m", "stages=[sft]", "seed=1,2", f"hydra.sweep.dir={tmp_path}"]
    main(arguments)
    killed = trial_folder(tmp_path, ["stages=[sft]", "seed=2"])
    (killed / "summary.json").unlink()
    (killed / "checkpoints" / "sft_steps" / "step-3.partial").mkdir(parents=True)
    if left is not None:
        (killed / "summary.json").write_text(json.dumps(left))
    ran.clear()
    main(arguments)
    assert [compose(overrides).seed for overrides in ran] == [2]
    assert not (killed / "checkpoints").exists(), "it begins again"


def test_a_trial_that_was_killed_while_its_folder_was_made_is_run_again(ran, tmp_path, monkeypatch):
    whole, arguments = Path.write_text, ["-m", "seed=1,2", f"hydra.sweep.dir={tmp_path}"]

    def killed(path, text, **named):
        whole(path, text[:5], **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", killed)
        assert main(arguments) == 130
    main(arguments)
    assert [compose(overrides).seed for overrides in ran] == [1, 2]
    assert [row["status"] for row in table(tmp_path)] == ["finished"] * 2


def test_a_trials_folder_names_only_what_is_swept(ran, tmp_path):
    fixed = ["rewards=outcome", "rewards.penalty.given=0.0", "stages=[ppo,evaluate]", "seed=5"]
    assert main(["-m", *fixed, "learner.lr=1e-4,4e-4", f"hydra.sweep.dir={tmp_path}"]) == 0
    assert sorted(file.parent.name for file in tmp_path.glob("*/trial.json")) == [
        "learner.lr=0.0001",
        "learner.lr=0.0004",
    ]
    configs = [compose(overrides) for overrides in ran]
    assert {config.rewards.mode for config in configs} == {"outcome"}
    ran.clear()
    # Other fixed overrides in the same folder are other trials, and the first are found again.
    assert main(["-m", "seed=6", "learner.lr=1e-4,4e-4", f"hydra.sweep.dir={tmp_path}"]) == 0
    assert len(ran) == 2
    assert main(["-m", *fixed, "learner.lr=1e-4,4e-4", f"hydra.sweep.dir={tmp_path}"]) == 0
    assert len(ran) == 2
    assert len(list(tmp_path.glob("*/trial.json"))) == 4


def test_other_overrides_in_a_sweeps_folder_are_named_and_a_column_of_the_table(ran, tmp_path, capsys):
    folder = f"hydra.sweep.dir={tmp_path}"
    main(["-m", "seed=0,1", "algorithm.steps=4", "learner.lr=1e-4", folder])
    main(["-m", "learner.lr=1e-4", "seed=1,2", "algorithm.steps=4", folder])
    assert "other overrides" not in capsys.readouterr().out, "another order, other seeds"
    assert len(ran) == 3
    main(["-m", "seed=0", "learner.lr=4e-4", folder])
    shown = capsys.readouterr().out
    assert "holds trials with other overrides, which the tables show beside these: " in shown
    assert "algorithm.steps (4 there, default here)" in shown
    assert "learner.lr (0.0001 there, 0.0004 here)" in shown
    assert "| 0 | default | 0.0004 | 1.000 |" in shown


@pytest.mark.parametrize(
    ("arguments", "fixed"),
    [
        (["seed=0,1", "algorithm.steps=5"], ["algorithm.steps"]),
        (["sweep=staleness", "seed=3"], ["sweep", "seed"]),
        (["sweep=staleness", "seed=3", "controller.max_staleness=4"], ["sweep", "seed"]),
        (["sweep=reward_ablation", "+model.lora={rank: 4}"], ["sweep", "model.lora"]),
        (["learner.lr=interval(1e-4,1e-3)", "seed=1"], ["seed"]),
        (["seed=range(0,3)", "stages=[ppo]"], ["stages"]),
    ],
)
def test_a_key_with_one_value_is_fixed_unless_the_chosen_sweep_varies_it(arguments, fixed):
    assert sorted(fixed_keys(["-m", *arguments])) == sorted(fixed)


def test_a_long_name_is_shortened_so_that_it_still_shows_what_differs(tmp_path):
    values = [f"rewards.weights.{part}=0.2744067519636624" for part in PARTS]
    name = trial_folder(tmp_path, [*values, "seed=0"], ["seed"]).name
    assert name.rpartition("-")[0] == ",".join(f"{part}=0.274" for part in PARTS)[:100]


def trial(
    folder: Path, number: int, overrides: list[str], mean: float = 0.5, kinds: tuple[str, ...] = ("ppo",)
) -> None:
    """A finished trial of a sweep."""
    write_trial(folder, number, overrides, dict.fromkeys(kinds, mean), spread=0.1)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        (("sft",), ["after fine-tuning"]), (("policy",), ["decomposer"]), (("direct",), ["solver alone"]),
        (("sft", "ppo"), ["after PPO", "before PPO"]),
    ],
)  # fmt: skip
def test_a_picture_says_what_it_shows(tmp_path, drawn, kinds, said):
    """A sweep without PPO shows no accuracy after PPO."""
    for number in range(2):
        trial(tmp_path, number, [f"seed={number}"], kinds=kinds)
    write_comparison(tmp_path)
    assert drawn[0].get_legend_handles_labels()[1] == [*said, "mean over seeds"]


@pytest.mark.parametrize(
    ("overrides", "rows"),
    [
        ([["seed=0"], ["seed=1"], ["seed=2"]], ["3 seeds"]),
        ([["learner.lr=1e-4", "seed=0"], ["learner.lr=0.0001", "seed=1"], ["learner.lr=4e-4", "seed=0"]],
         ["lr 1e-4, 2 seeds", "lr 4e-4, 1 seed"]),
        ([["seed=0"], ["seed=0", "algorithm=rloo"], ["seed=1", "algorithm=rloo"]],
         ["algorithm default, 1 seed", "algorithm rloo, 2 seeds"]),
        ([["rewards=lm2", "seed=4"], ["rewards=outcome", "seed=4"]], ["rewards lm2", "rewards outcome"]),
        ([["seed=0"]], [""]),
    ],
)  # fmt: skip
def test_a_picture_has_a_row_a_setting_with_the_number_of_its_seeds(tmp_path, drawn, overrides, rows):
    for number, texts in enumerate(overrides):
        trial(tmp_path, number, texts, 0.5 + number / 100)
    write_comparison(tmp_path)
    assert [text.get_text() for text in drawn[0].get_yticklabels()] == rows
    marks = [line for line in drawn[0].get_lines() if line.get_marker() == "D"]
    assert len(marks) == sum("seeds" in row for row in rows)


def test_seeds_alone_have_a_mean_too(tmp_path, drawn):
    for seed in range(2):
        trial(tmp_path, seed, [f"seed={seed}"], 0.5 + seed / 10)
    means = write_comparison(tmp_path).partition("Over seeds:")[2].split("\n")
    assert means[2:5] == [
        "| mean | low | high | seed_low | seed_high | lowest | highest | seeds |", "|---|---|---|---|---|---|---|---|",
        "| 0.550 | 0.450 | 0.650 | 0.000 | 1.000 | 0.500 | 0.600 | 2 |",
    ]  # fmt: skip


def test_settings_that_share_their_seeds_are_paired_by_seed(tmp_path):
    marks = {"1e-4": {0: 0.5, 1: 0.6, 2: 0.7}, "2e-4": {2: 0.9, 0: 0.6, 1: 0.9}, "4e-4": {0: 0.8, 1: 0.8}}
    trials = [(rate, seed, mean) for rate, seeds in marks.items() for seed, mean in seeds.items()]
    for number, (rate, seed, mean) in enumerate(trials):
        trial(tmp_path, number, [f"learner.lr={rate}", f"seed={seed}"], mean)
    found = write_comparison(tmp_path).partition("Differences over seeds:")[2].split("\n")
    # By hand: differences 0.1, 0.3, 0.2; mean 0.2, standard error 0.1 / sqrt(3), t of 2 degrees of freedom 4.303.
    assert found == [
        " accuracy above that of lr 1e-4, paired by seed, with a 95 % t interval.", "",
        "| learner.lr | difference | seed_low | seed_high | seeds |", "|---|---|---|---|---|",
        "| 2e-4 | 0.200 | -0.048 | 0.448 | 3 |",
    ]  # fmt: skip


def test_a_trial_that_another_process_still_runs_is_not_moved_from_under_it(ran, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(launch.sweep, "LEAVING_S", 0.2)
    folder = trial_folder(tmp_path, ["seed=1"])
    with held_folder(folder), pytest.raises(SystemExit):
        main(["-m", "seed=1", f"hydra.sweep.dir={tmp_path}"])
    assert not ran
    assert folder.is_dir()
    shown = capsys.readouterr()
    assert f"waiting up to 0.2 s for the process that is still at work in {folder}" in shown.out
    assert f"another process is at work in '{folder}'" in shown.err
    main(["-m", "seed=1", f"hydra.sweep.dir={tmp_path}"])
    assert len(ran) == 1


def test_a_trial_that_fails_fails_the_sweep_after_the_others(ran, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["-m", "seed=13,14", f"hydra.sweep.dir={tmp_path}"])
    assert end.value.code == 1
    assert len(ran) == 2
    assert "seed=13: exit status 1" in capsys.readouterr().err
    assert launch.sweep.main([str(tmp_path)]) == 0
    assert [row["status"] for row in table(tmp_path)] == ["unfinished", "finished"]


def test_a_bad_sweep_is_refused_before_its_first_trial(ran, tmp_path, capsys):
    assert main(["-m", "learner.lr=-1,1e-4", f"hydra.sweep.dir={tmp_path}/none"]) == 2
    assert capsys.readouterr().err == "learner.lr: -1 is not allowed: input should be greater than 0\n"
    assert main(["-m", "rewards=bounded,nonsense"]) == 2
    assert "rewards: 'nonsense' is unknown" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert not ran


def test_a_search_goes_on_from_its_folder_and_says_its_best_as_overrides(ran, tmp_path, capsys):
    search = ["-m", "sweep=search", "hydra/launcher=basic", f"hydra.sweep.dir={tmp_path}", "hydra.sweeper.n_trials="]
    main([*search[:-1], f"{search[-1]}4"])
    first = [compose(overrides) for overrides in ran]
    assert len({config.learner.lr for config in first}) == 4
    assert all(0 <= config.rewards.weights["cot_proximity"] <= 0.5 for config in first)
    ran.clear()
    main([*search[:-1], f"{search[-1]}6"])
    assert len(ran) == 2
    shown = capsys.readouterr().out
    best = shown.rpartition("```\n")[0].rpartition("```\n")[2].split()
    top = max(table(tmp_path), key=lambda row: float(row["accuracy"]))
    assert compose(best).learner.lr == float(top["learner.lr"])


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_search_made_by_hand_looks_for_the_highest_accuracy_and_goes_on(ran, tmp_path, monkeypatch, sampler):
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.delenv("NO_COLOR")
    key = "learner.lr=choice(1e-4,2e-4,4e-4)" if sampler == "grid" else "learner.lr=tag(log, interval(1e-4, 1e-3))"
    search = ["-m", "hydra/sweeper=optuna", f"hydra/sweeper/sampler={sampler}", key, f"hydra.sweep.dir={tmp_path}"]
    main([*search, "hydra.sweeper.n_trials=3"])
    best = yaml.safe_load((tmp_path / "optimization_results.yaml").read_text())
    assert best["best_value"] == max(float(row["accuracy"]) for row in table(tmp_path))
    assert len(ran) == 3
    main([*search, "hydra.sweeper.n_trials=3"])
    assert len(ran) == 3, "the same trials, from their folders"
    assert os.environ["NO_COLOR"] == "1", "for Optuna's log, which is on no terminal"


@pytest.fixture
def fake_python(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text(FAKE.format(python=sys.executable))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(sys, "argv", ["train"])
    # Another cluster of this machine is not what these trials need.
    monkeypatch.setattr(launch.sweep, "with_room", lambda _, most: most)
    return tmp_path / "swept"


def test_trials_side_by_side_are_so_many_at_once(fake_python, capsys):
    parallel = ["-m", "hydra/launcher=parallel", "hydra.launcher.at_once=2", "cluster=ray"]
    assert main([*parallel, "seed=1,2,3,4", f"hydra.sweep.dir={fake_python}"]) == 0
    assert [(row["seed"], row["accuracy"]) for row in table(fake_python)] == [
        ("1", "0.1"), ("2", "0.2"), ("3", "0.3"), ("4", "0.4"),
    ]  # fmt: skip
    spans = [json.loads(file.read_text())["span"] for file in fake_python.glob("*/summary.json")]
    overlaps = [sum(a[0] < b[1] and b[0] < a[1] for b in spans) - 1 for a in spans]
    assert min(overlaps) >= 1
    assert all(sum(begin <= at < end for begin, end in spans) <= 2 for at, _ in spans)
    capsys.readouterr()
    assert main([*parallel, "seed=1,2,3,4,5", f"hydra.sweep.dir={fake_python}"]) == 0
    assert capsys.readouterr().out.count("found finished") == 4
    with pytest.raises(SystemExit):
        main([*parallel, "seed=13,6", f"hydra.sweep.dir={fake_python}"])
    said = capsys.readouterr()
    assert "seed=13: failed (1)" in said.out
    assert "seed=6: 0.600 after 1.0 min" in said.out
    assert "| 6 | 0.600 | 0.550 | 0.650 |  | ppo | 3 | 1.0 | finished |" in write_comparison(fake_python)


def test_a_trial_joins_the_sweeps_own_cluster_and_goes_on_without_it(fake_python, monkeypatch):
    monkeypatch.setattr(launch.sweep, "_shared_cluster", lambda *_: ("10.0.0.1:6379", lambda: None))
    main(["-m", "hydra/launcher=parallel", "seed=1", f"hydra.sweep.dir={fake_python}"])
    address, *argv = json.loads((fake_python / "seed=1" / "summary.json").read_text())["joined"]
    assert address == "10.0.0.1:6379"
    assert not any("10.0.0.1" in text for text in argv)
    started = []
    monkeypatch.setattr(launch.train, "execute", lambda config, overrides: started.append((config, overrides)) or 0)
    monkeypatch.setenv("DECOMPOSER_RL_SWEEP_CLUSTER", address)
    assert main(["seed=1"]) == 0
    ((config, overrides),) = started
    assert (config.cluster.address, overrides) == (address, ["seed=1"])


@pytest.mark.parametrize("path", sorted((CONF / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_sweep_composes(path):
    assert compose([f"sweep={path.stem}"]).seed == 0


def test_a_search_over_many_numbers_is_shown_to_three_digits_and_as_a_panel_a_key(tmp_path):
    for number in range(3):
        values = [f"{key}={0.123456789012 * (number + 1)}" for key in "abcd"]
        trial(tmp_path, number, values, 0.5 + number / 10)
    assert "| 0.123 | 0.123 | 0.123 | 0.123 | 0.500 |" in write_comparison(tmp_path)
    assert table(tmp_path)[0]["a"] == "0.123456789012"
    height, width = plt.imread(tmp_path / "trials.png").shape[:2]
    assert width > 2 * height
