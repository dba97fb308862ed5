"""Sweeps that are refused before anything starts."""

from __future__ import annotations

import pytest

from launch.check_sweep import check_single
from launch.train import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep=credit"], "sweep: has several values of algorithm.credit, algorithm.lam, whose trials are started "
         "with -m: python -m launch.train -m sweep=credit\n"),
        (["sweep=credit", "algorithm.lam=1.0"], "sweep: has several values of algorithm.credit, whose"),
        (["learner.lr=1e-4,2e-4"], "a sweep of several values needs -m (python -m launch.train -m KEY=VALUES)"),
        (["rewards=bounded,outcome"], "a sweep of several values needs -m"),
    ],
)  # fmt: skip
def test_a_sweep_without_m_is_refused_with_the_command_that_starts_it(capsys, arguments, said):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_one_trial_of_a_sweep_is_a_single_run():
    check_single(["sweep=credit", "algorithm.lam=1.0", "algorithm.credit=call"])
    check_single(["sweep=reward_ablation", "rewards=bounded", "seed=1"])
