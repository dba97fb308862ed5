"""The check that a configuration may go on with a run: only some keys may differ from those it began with."""

from __future__ import annotations

import re

import pytest
import yaml

from conf.schema.base import ConfigError
from launch import train
from launch.compose import compose, continued
from launch.submit.job_request import prepare
from trainer.run_folder.resume import OVERRIDES, check_resumable, is_finished, refuse_results_of_others


@pytest.fixture
def began(tmp_path):
    """A run's folder, and a way to say with which values it began that are not the default's."""

    def write(**changed: object) -> None:
        values = compose([]).model_dump(mode="json")
        for name, value in changed.items():
            group, _, key = name.partition("__")
            values[group] = values[group] | {key: value} if key else value
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))

    write.folder = tmp_path
    return write


@pytest.mark.parametrize(
    "changed",
    [
        {"cluster__num_cpus": 3}, {"tracking__tags": ["a"]}, {"solver__timeout_s": 5.0}, {"rewards__workers": 3},
        {"mirror": "s3://a/b"}, {"solver__budget_cost": 3}, {"cluster__of_an_earlier_version": 1},
        {"learner__max_tokens_per_microbatch": 4096, "learner__logits_per_chunk": 8}, {"learner__compile": True},
        {"learner__gradient_checkpointing": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_run_learns_nothing_from_may_differ(began, changed):
    began(**changed)
    check_resumable(began.folder, compose([]))


def test_a_run_may_be_made_longer_and_is_then_not_finished(began):
    began(algorithm__steps=40)
    (began.folder / "summary.json").write_text('{"status": "finished", "steps": 40}')
    longer, same = compose(["algorithm.steps=41"]), compose(["algorithm.steps=40"])
    for config in (longer, same):
        check_resumable(began.folder, config)
    assert (is_finished(began.folder, longer), is_finished(began.folder, same)) == (False, True)
    with pytest.raises(ConfigError, match=r"algorithm\.steps: 39 is not allowed with resume=auto"):
        check_resumable(began.folder, compose(["algorithm.steps=39"]))


def test_a_run_that_was_made_longer_and_killed_is_not_finished(began):
    began(algorithm__steps=60)
    (began.folder / "summary.json").write_text('{"status": "finished", "steps": 40}')
    assert not is_finished(began.folder, compose(["algorithm.steps=60"]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 4}, "seed: 0 is not allowed with resume=auto: the run in"),
        ({"sft__checkpoint_every": 4, "sft__lr": 1.0}, "sft.lr: 0.0003 is"),
        ({"rewards__weights": {}}, "rewards.weights.entity_coverage: 0.15 is"),
        ({"rollout__of_an_earlier_version": 1}, "rollout.of_an_earlier_version: None is"),
        ({"solver__max_model_len": 100}, "solver.max_model_len: 768 is"),
    ],
    ids=str,
)
def test_what_a_run_learns_from_may_not(began, changed, said):
    began(**changed)
    with pytest.raises(ConfigError, match=re.escape(said)):
        check_resumable(began.folder, compose([]))


def without(folder, name: str) -> None:
    """Have the run of a folder begin before this key existed."""
    values = yaml.safe_load((folder / "config.yaml").read_text())
    *groups, key = name.split(".")
    group = values
    for part in groups:
        group = group[part]
    del group[key]
    (folder / "config.yaml").write_text(yaml.safe_dump(values))


@pytest.mark.parametrize("key", ["policy", "verifier", "algorithm.credit", "solver.calculator", "sft.held_out.also"])
def test_a_key_that_did_not_exist_when_a_run_began_counts_as_its_default(began, key):
    began()
    without(began.folder, key)
    check_resumable(began.folder, compose([]))


def test_the_default_of_a_solver_in_a_mixture_is_that_of_its_backend(began):
    mixed = compose(["solver=mixture"])
    (began.folder / "config.yaml").write_text(yaml.safe_dump(mixed.model_dump(mode="json")))
    without(began.folder, f"solver.mixture.{mixed.mixture[0]}.calculator")
    check_resumable(began.folder, mixed)


def test_a_shipped_strategy_that_writes_line_by_line_goes_on_with_a_run_from_before_the_key(began):
    config = compose(["strategy=lm2"])
    (began.folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    without(began.folder, "strategy.line_by_line")
    check_resumable(began.folder, config)


@pytest.mark.parametrize(
    ("key", "override", "said"),
    [
        ("algorithm.credit", "algorithm.credit=subquestion", "algorithm.credit: 'subquestion' is not allowed with "
         "resume=auto: the run in '{}' began with 'terminal'"),
        ("rewards.weights.entity_coverage", "seed=0", "rewards.weights.entity_coverage: 0.15 is"),
        ("algorithm.lam", "seed=0", "algorithm.lam: 1.0 is"),
    ],
)  # fmt: skip
def test_such_a_key_may_have_no_other_value_and_one_without_a_default_must_be_known(began, key, override, said):
    began()
    without(began.folder, key)
    with pytest.raises(ConfigError, match=re.escape(said.format(began.folder))):
        check_resumable(began.folder, compose([override]))


BEGAN = [
    "solver=program",
    "sft=measured",
    "sft.problems=9",
    "cluster.num_cpus=3",
    "run_dir=old",
    "+model.lora={rank: 4}",
]


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ([], [*BEGAN[:4], BEGAN[5]]),
        (["seed=1", "sft.problems=8"], [*BEGAN[:2], BEGAN[3], BEGAN[5], "seed=1", "sft.problems=8"]),
        (["cluster=ray"], [*BEGAN[:3], BEGAN[5], "cluster=ray"]),
        (["sft=measured"], [BEGAN[0], *BEGAN[2:4], BEGAN[5], "sft=measured"]),
        ([*BEGAN[:4], BEGAN[5]], [*BEGAN[:4], BEGAN[5]]),
    ],
)  # fmt: skip
def test_what_the_command_does_not_give_is_as_the_run_began(tmp_path, given, whole):
    (tmp_path / OVERRIDES).write_text(yaml.safe_dump(BEGAN))
    here = [f"run_dir='{tmp_path}'", "resume=auto"]
    assert continued([*given, *here]) == [*whole, *here]
    for other in (here[:1], [here[0], "resume=null"], ["run_dir=/nowhere", "resume=auto"]):
        assert continued([*given, *other]) == [*given, *other], "this goes on with no run"


def test_a_run_with_other_settings_goes_on_by_its_folder_alone_and_others_are_still_refused(began, capsys):
    settings = ["solver=program", "learner.lr=0.002", "tracking.tags=[a]"]
    (began.folder / OVERRIDES).write_text(yaml.safe_dump(settings))
    (began.folder / "config.yaml").write_text(yaml.safe_dump(compose(settings).model_dump(mode="json")))
    (began.folder / "summary.json").write_text('{"status": "finished", "steps": 50}')
    here = [f"run_dir={began.folder}", "resume=auto"]
    assert train.main(here) == 0
    assert "is finished" in " ".join(capsys.readouterr().out.split())
    assert prepare([*here, "tracking.tags=[b]"])[0].tracking.tags == ["b"]
    for changed, named in (("learner.lr=0.001", "learner.lr: 0.001"), ("solver=tiny", "solver.backend: 'vllm'")):
        assert train.main([*here, changed]) == 2
        assert capsys.readouterr().err.startswith(f"{named} is not allowed with resume=auto")


@pytest.mark.parametrize("content", ["", "- [", "7"])
@pytest.mark.parametrize("name", [OVERRIDES, "config.yaml"])
def test_a_run_whose_files_are_damaged_is_not_gone_on_with_and_that_is_said_in_one_line(began, capsys, name, content):
    began()
    (began.folder / name).write_text(content)
    assert train.main([f"run_dir={began.folder}", "resume=auto"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"run_dir: '{began.folder}/{name}' is damaged; allowed: ")
    assert len(said.splitlines()) == 1


def test_what_a_launcher_or_a_start_that_failed_left_is_no_result_of_others(tmp_path):
    refuse_results_of_others(tmp_path / "not there")
    for folder in ("logs", "checkpoints", "wandb", "cells"):
        (tmp_path / folder).mkdir()
    left = ("logs/slurm.sh", "logs/solver-0.usage.json", "trial.json", "output.log", "overrides.yaml", "gate.json")
    for name in (*left, "matrix.yaml", "notes.txt"):
        (tmp_path / name).write_text("[]")
    for status in ("failed", "interrupted"):
        (tmp_path / "summary.json").write_text(f'{{"status": "{status}", "steps": 0}}')
        refuse_results_of_others(tmp_path)
    for text in ('{"status": "finished"}', "[1]", "no JSON", '{"accuracy": 0.9}'):
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(ConfigError, match=r"^run_dir: '.*' holds 'summary\.json' of something else; allowed: "):
            refuse_results_of_others(tmp_path)
