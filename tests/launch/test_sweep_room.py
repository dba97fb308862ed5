"""Trials at once: no more than have room together, on this machine, on a cluster that is joined, and on SLURM."""

from __future__ import annotations

import argparse
import re

import pytest

from conf.schema.base import ConfigError
from launch import sweep
from launch.compose import compose
from launch.submit import slurm
from launch.submit.__main__ import main
from trainer.cluster import ray_cluster
from trainer.cluster.placement import Node

ON_GPU = ["cluster=gpu1"]
JOINING = ["cluster=gpu1", "cluster.address=auto"]


@pytest.mark.parametrize(
    ("overrides", "nodes", "found"),
    [
        (ON_GPU, [Node(1, 1)], 1),
        (ON_GPU, [Node(1, 3)], 3),
        ([], [Node(1, 0)], 4),
        (JOINING, [Node(64, 2)], 2),
        (JOINING, [Node(4, 8)], 1),
        (JOINING, [Node(64, 0)], 1),
    ],
)
def test_no_more_trials_run_at_once_than_have_room(monkeypatch, capsys, overrides, nodes, found):
    monkeypatch.setattr(ray_cluster, "available", lambda config: nodes)
    configs = [compose([*overrides, f"seed={seed}"]) for seed in (1, 2)]
    assert sweep.with_room(configs, 4) == found
    said = capsys.readouterr().out
    assert said.startswith(f"hydra.launcher.at_once: {found} instead of 4, since there is no room for more; ") == (
        found < 4
    )
    assert ("trials at once want" in said) == (found < 4)


def test_a_cluster_that_cannot_be_joined_is_left_for_the_trials_to_say(monkeypatch):
    def refuse(config: object) -> None:
        raise ConnectionError("nothing answers there")

    monkeypatch.setattr(ray_cluster, "available", refuse)
    assert sweep.with_room([compose(["cluster=ray"])], 2) == 2


def asked(at_once: int, *overrides: str, **given: int) -> slurm.Allocation:
    options = argparse.Namespace(**{"nodes": None, "gpus": None, "cpus": None} | given)
    return slurm.allocation(compose(list(overrides)), options, at_once)


def test_slurm_is_asked_for_room_for_all_trials_at_once():
    one, three = (asked(count, "cluster=ray") for count in (1, 3))
    assert (three.nodes, three.cpus, three.gpus) == (1, 3 * one.cpus, 0)
    assert asked(2, *JOINING, nodes=1, gpus=2) == slurm.Allocation(1, 2 * asked(1, *JOINING).cpus, 2)
    assert asked(2, "cluster=nodes4") == slurm.Allocation(8, 64, 8)
    assert asked(2, "cluster=node8", nodes=1) == asked(1, "cluster=node8"), "one at a time has room"
    with pytest.raises(ConfigError, match=r"GPU: .* 8 .*the allocation has 4"):
        asked(2, "cluster=node8", nodes=1, gpus=4)


def test_a_script_for_a_sweep_side_by_side_has_room_for_its_trials(capsys):
    def cores(*overrides: str) -> int:
        assert main(["--slurm", "--dry-run", "--", *overrides]) == 0
        return int(re.findall(r"--cpus-per-task=(\d+)", capsys.readouterr().out)[0])

    one = cores("-m", "seed=0,1,2")
    assert cores("-m", "seed=0,1,2", "hydra/launcher=parallel", "hydra.launcher.at_once=3") == 3 * one
    assert cores("-m", "seed=0,1", "hydra/launcher=parallel", "hydra.launcher.at_once=8") == 2 * one
    several = ["-m", "seed=0,1,2", "algorithm.gamma=0.9,1.0", "hydra/launcher=parallel"]
    assert cores(*several, "hydra.launcher.at_once=8") == 6 * one
    assert cores("-m", "seed=range(0,6)", "hydra/launcher=parallel", "hydra.launcher.at_once=5") == 5 * one
