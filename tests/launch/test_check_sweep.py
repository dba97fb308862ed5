"""Sweeps that are refused before anything starts."""

from __future__ import annotations

import re

import pytest

from conf.schema.base import ConfigError
from conf.schema.places import CONF
from launch.check_sweep import check_single, check_sweep
from launch.submit.job_request import prepare
from launch.train import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep=staleness"], "sweep: has several values of controller.max_staleness, algorithm.decoupled, whose "
         "trials are started with -m: python -m launch.train -m sweep=staleness\n"),
        (["sweep=staleness", "controller.max_staleness=1"], "sweep: has several values of algorithm.decoupled, whose"),
        (["learner.lr=1e-4,2e-4"], "a sweep of several values needs -m (python -m launch.train -m KEY=VALUES)"),
        (["rewards=bounded,outcome"], "a sweep of several values needs -m"),
    ],
)  # fmt: skip
def test_a_sweep_without_m_is_refused_with_the_command_that_starts_it(capsys, arguments, said):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("swept", ["seed=0,0", "learner.lr=1e-4,0.0001"])
def test_a_value_that_is_given_twice_is_refused_where_the_sweep_starts_and_where_it_is_submitted(capsys, swept):
    assert main(["-m", swept]) == 2
    assert capsys.readouterr().err.endswith(" is given twice; allowed: once\n")
    with pytest.raises(ConfigError, match="is given twice; allowed: once"):
        prepare(["-m", swept])


@pytest.mark.parametrize("arguments", [["matrix=branched", "matrix.run=r"], ["-m", "seed=0,1", "+matrix.problems=3"]])
def test_a_matrix_is_refused_where_a_training_starts_and_where_it_is_submitted(capsys, arguments):
    assert main(arguments) == 2
    said = "matrix: is for an evaluation; allowed: python -m launch.evaluate matrix=OPTION"
    assert capsys.readouterr().err == f"{said}\n"
    with pytest.raises(ConfigError, match=re.escape(said)):
        prepare(arguments)


def test_one_trial_of_a_sweep_is_a_single_run():
    check_single(["sweep=staleness", "controller.max_staleness=1", "algorithm.decoupled=false"])
    check_single(["sweep=reward_ablation", "rewards=bounded", "seed=1"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["learner.lr=1e-4,fast"], "learner.lr: 'fast' is not allowed"),
        (["seed=0,1", "algorithm.steps=range(5,-2,-1)"], "algorithm.steps: -1 is not allowed"),
        (["learner.lr=interval(1e-4,1e-3)", "algorithm.lam=interval(0.9,1.1)"], "algorithm.lam: 1.1 is not allowed"),
        (["sweep=staleness", "controller.max_staleness=1,-1"], "controller.max_staleness: -1 is not allowed"),
        (["rewards=glob(no_such_*)"], "rewards: is swept and has no value"),
        (["seed=range(3,0)"], "seed: is swept and has no value"),
        (["hydra/sweeper=optuna", "hydra.sweeper.direction=minimize", "learner.lr=interval(1e-4,1e-3)"],
         "hydra.sweeper.direction: a trial's score is an accuracy; allowed: maximize"),
        (["seed=1,0,1"], "seed: 1 is given twice; allowed: once"),
        (["seed=0,1", "run_dir=runs/mine"], "run_dir: a sweep gives each trial a folder of its own; allowed: hydra.sw"),
        (["learner.lr=1e-4,0.0001"], "learner.lr: 0.0001 is given twice"),
        (["algorithm.lam=choice(1,1.0)"], "algorithm.lam: 1.0 is given twice"),
        (["rewards=bounded,outcome,bounded"], "rewards: bounded is given twice"),
        (["start_from=x,'x'"], "start_from: 'x' is given twice"),
        (["stages=[sft],[sft]"], "stages: [sft] is given twice"),
        (["learner.lr=interval(1e-4,1e-4)"], "learner.lr: 0.0001 is given twice"),
        (["sweep=staleness", "controller.max_staleness=1,1"], "controller.max_staleness: 1 is given twice"),
        (["mirror=s3://a,s3://a"], "mirror: a value is given twice"),
        (["seed=0,1", "seed=5"], "seed: is swept and given twice; allowed: once, with all its values"),
        (["hydra/sweeper=optuna", "learner.lr=interval(1e-4,1e-3)", "stages=[sft,ppo]"],
         "stages: [sft,ppo] is not allowed in a search, which goes by the held-out accuracy; allowed: stages"),
        (["sweep=search", "stages=choice([ppo,evaluate],[sft,ppo])"], "stages: [sft,ppo] is not allowed in a search"),
    ],
)  # fmt: skip
def test_every_value_is_checked_before_the_first_trial(arguments, said):
    with pytest.raises(ConfigError) as error:
        check_sweep(["-m", *arguments])
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("stages", "swept", "stage"),
    [
        ("ppo,evaluate", "sft.lr=1e-4,2e-4", "sft"),
        ("ppo,evaluate", "sft=default,measured", "sft"),
        ("sft,evaluate", "learner.lr=interval(1e-4,1e-3)", "ppo"),
        ("sft", "algorithm=ppo,rloo", "ppo"),
        ("sft,evaluate", "learner.warmup_steps=0,20", "ppo"),
        ("sft,evaluate", "learner.lr_schedule=constant,linear", "ppo"),
        ("sft,evaluate", "controller.max_staleness=0,1", "ppo"),
        ("sft,evaluate", "rewards=bounded,outcome", "ppo"),
        ("evaluate", "rewards.weights.correctness=1,2", "ppo"),
    ],
)
def test_a_key_of_a_stage_that_is_not_run_is_not_swept(stages, swept, stage):
    with pytest.raises(ConfigError, match=f"only stage {stage} reads it, and stages is \\[{stages}\\]"):
        check_sweep(["-m", f"stages=[{stages}]", swept])


def test_a_key_of_training_is_not_swept_where_nothing_is_trained():
    with pytest.raises(ConfigError, match=r"only stages sft and ppo read it, .*; allowed: stages with sft or ppo"):
        check_sweep(["-m", "stages=[evaluate]", "learner.grad_clip=0.5,1.0"])


@pytest.mark.parametrize(
    ("stages", "swept"),
    [
        ("sft", "learner.grad_clip=0.5,1.0"),
        ("sft,ppo", "sft.lr=1e-4,2e-4"),
        ("evaluate", "learner.dtype=float32,bfloat16"),
        ("sft,evaluate", "rewards.episode_seconds=5,10"),
    ],
)
def test_a_key_of_a_stage_that_is_run_is_swept(stages, swept):
    check_sweep(["-m", f"stages=[{stages}]", swept])


@pytest.mark.parametrize("path", sorted((CONF / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_value_of_every_shipped_sweep_is_allowed(path):
    check_sweep(["-m", f"sweep={path.stem}"])


@pytest.mark.parametrize("given", [["hydra.sweep.dir=runs/swept"], []], ids=["named", "as Hydra names it"])
def test_copies_in_the_place_of_the_trials_are_refused_before_the_first_starts(tmp_path, monkeypatch, capsys, given):
    monkeypatch.chdir(tmp_path)
    arguments = ["-m", "seed=0,1", *given]
    assert main([*arguments, f"mirror=file://{tmp_path}/runs"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mirror: 'file://{tmp_path}/runs/swe")
    assert "/TRIAL' are one or lie in one another; allowed: a folder elsewhere\n" in said
    assert not list(tmp_path.iterdir())
    check_sweep([*arguments, f"mirror=file://{tmp_path}/runs/swept/copies"])
