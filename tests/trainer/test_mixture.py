"""A mixture of solvers in a run: groups, actors, accounts, metrics and results by solver."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from conf.schema.base import ConfigError
from conf.schema.role_sizes import role_sizes
from launch.compose import compose
from launch.evaluate.cells import cells
from rewards.reward import Reward, Scored
from rollout.jobs import Job
from rollout.records import Attempt, Episode, Problem
from rollout.solvers.base import Usage
from tests.trainer.fakes import Actor
from trainer.cluster.placement import bundles, in_words
from trainer.cluster.roles import RunningRoles, for_actors
from trainer.run_folder.resume import check_resumable
from trainer.stages.evaluation import summarize
from trainer.stages.in_flight import InFlight
from trainer.stages.ppo import Controller
from trainer.tracking.live_view import result_table
from trainer.tracking.metrics_catalogue import episode_metrics, mixture_catalogue
from trainer.workers.pipeline import Pipeline
from trainer.workers.scored_episode_json import row_scored, scored_row
from trainer.workers.solver_account import SolverAccount

MIXTURE = ["solver=mixture", "solver@solver.mixture.second=openai", "solver.mixture.second.model=m"]
PRICED = [*MIXTURE, "solver.mixture.second.price_prompt=1", "solver.mixture.second.budget_tokens=100"]
TINY, SECOND = "solver.mixture.tiny", "solver.mixture.second"


def scored(number: int, solver: str | None, correct: float, first: float | None = 0.0) -> Scored:
    problem = Problem(f"p{number}", "How many?", "3")
    episode = Episode(problem, "daslam", Attempt("?"), solver=solver)
    return Scored(Job(number, problem, "daslam", 1, solver=solver), episode, Reward({}, 0.0, {}, [], correct, first))


SCORED = [scored(0, "tiny", 1.0), scored(1, "tiny", 0.0), scored(2, "tiny", 1.0, 1.0), scored(3, "second", 0.0)]


# -- groups -------------------------------------------------------------------------------------------------------


def groups(*overrides: str, count: int = 30) -> list[list[Job]]:
    """The jobs of the first groups of a run."""
    config = compose([*MIXTURE, "algorithm=grpo", *overrides])
    problems = (Problem(f"p{number}", "How many?", "3") for number in range(count))
    pipeline: Any = SimpleNamespace(on_version=None)
    controller = Controller(config, pipeline, None, problems, lambda *_: None)  # type: ignore[arg-type]
    return [controller.in_flight.admit(controller._fresh_group) for _ in range(count)]


def test_every_episode_of_a_group_has_the_same_solver_and_groups_have_both():
    found = groups()
    assert {len({job.solver for job in group}) for group in found} == {1}
    assert {group[0].solver for group in found} == {"tiny", "second"}
    assert len(found[0]) > 1
    assert [group[0].solver for group in found] == [group[0].solver for group in groups()]
    assert [group[0].solver for group in found] != [group[0].solver for group in groups("seed=1")]


def test_a_group_that_goes_on_after_a_resume_keeps_its_solver():
    found = groups(count=2)
    size = len(found[0])
    ledger = InFlight(size, SimpleNamespace(admit=lambda count: None))  # type: ignore[arg-type]
    state = {"groups": 2, "in_flight": [list(map(asdict, group)) for group in found], "put_back": []}
    ledger.restore(json.loads(json.dumps(state)), [])
    assert [job.solver for job in ledger.running] == [job.solver for group in found for job in group]


def test_a_recorded_episode_keeps_the_name_and_an_older_recording_has_none():
    item = scored(0, "tiny", 1.0)
    item.episode.calls = []
    row = json.loads(json.dumps(scored_row(item)))
    assert (row["job"]["solver"], row["episode"]["solver"]) == ("tiny", "tiny")
    row["calls"] = [{"purpose": "decompose", "prompt_ids": [1], "token_ids": [2], "logprobs": [-1.0], "versions": [0]}]
    assert row_scored(row).job.solver == row_scored(row).episode.solver == "tiny"
    del row["job"]["solver"], row["episode"]["solver"]
    assert row_scored(row).job.solver is row_scored(row).episode.solver is None


# -- actors -------------------------------------------------------------------------------------------------------


def test_each_solver_of_a_mixture_has_actors_of_its_own():
    config = compose([*MIXTURE, f"{TINY}.workers=2", f"{TINY}.gpus=1", "cluster=gpu8"])
    sizes = {role.name: (role.count, role.gpus) for role in role_sizes(config)}
    assert (sizes[TINY], sizes[SECOND]) == ((2, 1), (1, 0))
    assert "3 solvers" in in_words(config)
    reserved = [actor for bundle in bundles(config) for actor in bundle.actors]
    assert [actor for actor in reserved if actor[0] == TINY] == [(TINY, 0), (TINY, 1)]
    assert {role.name for role in role_sizes(config, ("solver",))} == {TINY, SECOND}


def test_neighbours_of_the_learner_are_all_solvers_of_a_mixture():
    gpus = [f"{name}.{key}" for name in (TINY, "solver.mixture.second") for key in ("gpus=0.1",)]
    small = [f"{name}.gpu_memory_utilization=0.1" for name in (TINY, SECOND)]
    config = compose(["solver=mixture", "cluster=gpu1", *gpus, *small])
    (bundle,) = bundles(config, ("learner", "rollout", "solver"))
    assert [name for name, _ in bundle.actors] == ["learner", "rollout", TINY, SECOND]


def test_the_caches_of_a_mixture_have_absolute_paths():
    config = for_actors(compose([*MIXTURE, f"{TINY}.cache_path=one.sqlite"]))
    assert [one.cache_path.startswith("/") for one in config.solvers.values()] == [True, True]


def test_the_pipeline_knows_the_solvers_by_their_keys(tmp_path):
    config = compose([*MIXTURE, f"{SECOND}.outage_minutes=2"])
    pools = {TINY: ["a", "b"], SECOND: ["c"]}
    roles = RunningRoles(["a", "b", "c"], [], [], None, tmp_path, mixture=pools)
    pipeline = roles.pipeline(config)
    assert pipeline.solver_names == [f"{TINY}-0", f"{TINY}-1", f"{SECOND}-0"]
    assert (pipeline.outage_s, pipeline.outage_key) == (120.0, f"{SECOND}.outage_minutes")


def test_a_matrix_refuses_a_mixture():
    config = compose(["matrix=chained", "matrix.run=some/run", "stages=[evaluate]"])
    matrix = config.matrix.model_copy(update={"solvers": {"both": MIXTURE}})
    with pytest.raises(ConfigError, match=r"each solver of a mixture by its own name in matrix\.solvers"):
        cells(config.model_copy(update={"matrix": matrix}), [])


# -- accounts -----------------------------------------------------------------------------------------------------


def used(requests: int, tokens: int, cost: float = 0.0) -> Usage:
    return Usage(requests=requests, prompt_tokens=tokens, completion_tokens=tokens, cost=cost)


class Asked:
    """A solver that says what it was asked."""

    def __init__(self, usage: Usage) -> None:
        self.said = usage

    async def usage(self) -> Usage:
        return self.said


def test_each_solver_has_an_account_and_the_sum_is_the_runs(tmp_path):
    account = SolverAccount(compose(PRICED), tmp_path, {})
    actors = [Actor(Asked(used(number, 10 * number, number))) for number in (1, 2, 6)]
    names = [f"{TINY}-0", f"{TINY}-1", f"{SECOND}-0"]
    pipeline = Pipeline([], actors, [], tmp_path, 5.0, 3, solver_names=names)
    state = asyncio.run(account.state(pipeline))
    assert account.usages == {TINY: used(3, 30, 3), SECOND: used(6, 60, 6)}
    assert account.usage == used(9, 90, 9)
    assert account.summary()["solvers"] == {"tiny": asdict(used(3, 30, 3)), "second": asdict(used(6, 60, 6))}
    assert account.line() == (
        f"{TINY}  3 requests answered, 60 tokens (30 read, 30 written), cost 3\n"
        f"{SECOND}  6 requests answered, 120 tokens (60 read, 60 written) of {SECOND}.budget_tokens=100, cost 6"
    )
    assert account.larger_budget() == [f"{SECOND}.budget_tokens=240"]
    compose([*PRICED, *account.larger_budget()])
    # The files are lost, the checkpoint is not.
    resumed = SolverAccount(compose(PRICED), tmp_path, {SECOND: used(1, 5)})
    resumed.restore(json.loads(json.dumps(state)))
    assert resumed.open() == used(10, 95, 9)
    assert resumed.usages == {TINY: used(3, 30, 3), SECOND: used(7, 65, 6)}
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{SECOND}-0.usage.json", f"{TINY}-0.usage.json"]
    assert not resumed.settle()


def test_a_run_goes_on_with_a_larger_budget_of_one_solver_and_not_with_other_weights(tmp_path):
    began = compose(PRICED).model_dump(mode="json")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(began))
    going_on = [*PRICED, "resume=auto", f"run_dir={tmp_path}"]
    check_resumable(tmp_path, compose([*going_on, f"{SECOND}.budget_tokens=240", f"{TINY}.workers=2"]))
    with pytest.raises(ConfigError, match=rf"^{TINY}\.weight: 2\.0 is not allowed with resume=auto"):
        check_resumable(tmp_path, compose([*going_on, f"{TINY}.weight=2"]))


# -- figures ------------------------------------------------------------------------------------------------------


def test_a_batch_has_the_accuracy_of_each_solver_and_of_one_solver_nothing_more():
    metrics = {name: value for name, value in episode_metrics(SCORED).items() if name.startswith("mixture/")}
    assert metrics == {
        "mixture/tiny/share": 0.75, "mixture/tiny/accuracy_initial": 1 / 3, "mixture/tiny/accuracy_final": 2 / 3,
        "mixture/second/share": 0.25, "mixture/second/accuracy_initial": 0, "mixture/second/accuracy_final": 0,
    }  # fmt: skip
    assert metrics.keys() < mixture_catalogue(["tiny", "second"]).keys()
    assert not [name for name in episode_metrics([scored(0, None, 1.0)]) if name.startswith("mixture")]
    alone = episode_metrics([scored(0, "tiny", 1.0, None)])
    assert [name for name in alone if "tiny" in name] == ["mixture/tiny/share", "mixture/tiny/accuracy_final"]


def test_an_evaluation_has_the_accuracy_of_each_solver():
    found = summarize(SCORED)
    assert {name: (one["problems"], one["mean"]) for name, one in found["by_solver"].items()} == {
        "second": (1, 0.0), "tiny": (3, 2 / 3),
    }  # fmt: skip
    table = result_table({"ppo": found, "direct": summarize([scored(0, None, 1.0)])}, 4)
    assert [str(column.header) for column in table.columns][-2:] == ["second", "tiny"]
    assert list(table.columns[-1].cells) == ["", "0.67 of 3"]
    assert "by_solver" not in summarize([scored(0, None, 1.0)])
