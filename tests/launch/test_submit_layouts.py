"""The layout of a submitted job: its own, that of its experiment, or that of the cluster which it joins."""

from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from conf.schema.places import CONF
from launch.compose import compose
from launch.submit.job_request import prepare


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of one's own with experiments: with a layout for a GPU here, with one for a cluster, with none."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "own" / "experiment"
    folder.mkdir(parents=True)
    for name, layout in (("here", "gpu1"), ("there", "node8"), ("any", None)):
        chosen = f"defaults: [{{override /cluster: {layout}}}]\n" if layout else ""
        (folder / f"{name}.yaml").write_text(f"# @package _global_\n{chosen}seed: 5\n")
    return ["--config-dir", str(folder.parent)]


def test_an_experiment_with_a_layout_keeps_it(own):
    config, sent = prepare([*own, "experiment=here", "cluster.address=auto"])
    assert (config.seed, config.learner.gpus_per_rank, config.cluster.beside) == (5, 0.4, ["rollout", "solver"])
    assert compose(sent).learner == config.learner
    assert prepare([*own, "experiment=there"])[0].learner.ranks == 4


def test_an_experiment_with_a_layout_that_starts_a_ray_of_its_own_is_refused(own):
    with pytest.raises(ConfigError, match=r"cluster\.address: None is not allowed in a job"):
        prepare([*own, "experiment=here"])


def test_an_experiment_without_a_layout_joins_the_cluster(own):
    config, sent = prepare([*own, "experiment=any"])
    assert (config.seed, config.cluster.address, config.learner.gpus_per_rank) == (5, "auto", 0)
    assert "cluster=ray" in sent


def test_a_sweep_over_experiments_keeps_the_layout_of_each(own):
    assert "cluster=ray" in prepare(["-m", *own, "experiment=any,smoke"])[1]
    for swept in ("there,here", "there,any", "any,there"):
        with pytest.raises(ConfigError, match=r"cluster\.address: None is not allowed in a job"):
            prepare(["-m", *own, f"experiment={swept}"])
    sent = prepare(["-m", *own, "experiment=there,any", "cluster.address=auto"])[1]
    assert "cluster=ray" not in sent


def test_a_layout_that_is_typed_counts_more(own):
    assert prepare([*own, "experiment=here", "cluster=ray"])[0].learner.gpus_per_rank == 0


@pytest.mark.parametrize("layout", sorted(path.stem for path in CONF.glob("cluster/*.yaml")))
def test_the_experiment_that_proves_a_cluster_goes_with_every_layout(layout):
    assert compose(["experiment=smoke", f"cluster={layout}"]).algorithm.batch_size == 16
