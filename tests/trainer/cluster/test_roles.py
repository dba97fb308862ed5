"""The configuration that actors are given, which may run in another directory."""

from __future__ import annotations

import shutil

from rich.console import Console

from conf.schema.places import ASSETS
from launch.compose import compose
from trainer.cluster.roles import for_actors
from trainer.run import Run
from trainer.run_folder.paths import TYPED_IN

GIVEN = ["model.path=mine", "solver.path=./solver", "solver.cache_path=cache.sqlite"]


def models(folder) -> None:
    for name, shipped in (("mine", "tiny_branched_decomposer"), ("solver", "tiny_branched_solver")):
        shutil.copytree(ASSETS / shipped, folder / name)


def test_actors_get_the_models_of_the_command_by_their_absolute_paths(tmp_path, monkeypatch):
    models(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TYPED_IN, "/elsewhere")  # of a job, which reads relative paths where it runs
    given = for_actors(compose([*GIVEN, "start_from=mine"]))
    assert (given.start_from, given.model.path, given.solver.path, given.solver.cache_path) == tuple(
        f"{tmp_path}/{name}" for name in ("mine", "mine", "solver", "cache.sqlite")
    )
    mixed = for_actors(compose(["solver=mixture", "solver.mixture.second.path=./solver"]))
    assert mixed.solvers["solver.mixture.second"].path == f"{tmp_path}/solver"


def test_names_of_models_stay_for_actors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wordllama").mkdir()
    config = compose(["model.path=owner/name", "solver=openai", "solver.base_url=http://h/v1", "solver.model=m"])
    given = for_actors(config)
    assert (given.model.path, given.rewards.vectors) == ("owner/name", config.rewards.vectors)
    assert for_actors(compose([])).decomposer_path == compose([]).decomposer_path


def test_the_learner_gets_the_absolute_path_of_the_model_to_begin_with(tmp_path, monkeypatch):
    models(tmp_path)
    monkeypatch.chdir(tmp_path)
    for more, name in (([], "mine"), (["start_from=./solver"], "solver")):
        run = Run(compose([*GIVEN, *more]), tmp_path / "run", Console(), [])
        assert run.decomposer == f"{tmp_path}/{name}"
