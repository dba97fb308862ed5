"""A mixture of solvers at work: who is drawn, whose actors are asked, and what the episode records."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from launch.compose import compose
from rollout.episode.contracts import Reply
from rollout.jobs import BUDGET, Job, drawn_solver, solver_of
from rollout.records import Episode, Problem
from rollout.solvers.pool import split_pool
from tests.rollout.fakes import worker_without_engine

MIXTURE = ["solver=mixture", "solver@solver.mixture.second=program", "solver.mixture.tiny.workers=2"]


def problem(number: int) -> Problem:
    return Problem(f"p{number}", "How many?", "3")


def test_each_solver_is_drawn_as_often_as_its_weight_says_and_by_the_same_seeds_again():
    config = compose([*MIXTURE, "solver.mixture.tiny.weight=3"])
    drawn = [drawn_solver(config, seed) for seed in range(4000)]
    assert 0.72 < Counter(drawn)["tiny"] / len(drawn) < 0.78
    assert drawn == [drawn_solver(config, seed) for seed in range(4000)]
    assert {drawn_solver(compose([]), seed) for seed in range(9)} == {None}


def test_the_order_of_the_keys_changes_no_draw():
    config = compose(MIXTURE)
    turned = config.solver.model_copy(update={"mixture": dict(reversed(config.solver.mixture.items()))})
    other = config.model_copy(update={"solver": turned})
    assert [drawn_solver(config, seed) for seed in range(50)] == [drawn_solver(other, seed) for seed in range(50)]


def test_a_job_that_names_no_solver_has_that_of_its_problem():
    config = compose(MIXTURE)
    kinds = [[Job(i, problem(i), kind, seed=i) for i in range(40)] for kind in ("direct", "daslam")]
    assert [solver_of(config, job) for job in kinds[0]] == [solver_of(config, job) for job in kinds[1]]
    assert {solver_of(config, job) for job in kinds[0]} == {"tiny", "second"}
    assert solver_of(config, Job(0, problem(0), "direct", 0, solver="second")) == "second"


def test_actors_are_those_of_their_solver_in_the_order_of_their_start():
    assert split_pool(compose(MIXTURE), ["a", "b", "c"]) == {"tiny": ["a", "b"], "second": ["c"]}
    assert split_pool(compose([]), ["a", "b"]) == {None: ["a", "b"]}


class Named:
    """A client that answers with its name."""

    def __init__(self, name: str, spent: bool = False) -> None:
        self.name, self.spent, self.left = name, spent, 0.0 if spent else 1.0

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        return Reply(f"{self.name} says 3.", 1, 1)


def episodes(clients: dict[str | None, Any], solvers: list[str]) -> list[Episode]:
    """What a worker makes of a job for each of these solvers."""

    async def go() -> list[Episode]:
        worker = worker_without_engine(None, MIXTURE)
        worker._solvers, worker._verifier = clients, None
        jobs = [Job(i, problem(i), "direct", i, given=[], solver=name) for i, name in enumerate(solvers)]
        await worker.submit(jobs)
        found: dict[int, Episode] = {}
        while len(found) < len(jobs):
            found |= {outcome.job.id: outcome.episode for outcome in await worker.collect(5.0)}
        return [found[i] for i in range(len(jobs))]

    return asyncio.run(go())


def test_the_solver_of_the_job_is_asked_and_the_episode_records_its_name():
    found = episodes({"tiny": Named("tiny"), "second": Named("second")}, ["second", "tiny"])
    assert [(one.solver, one.final.text) for one in found] == [("second", "second says 3."), ("tiny", "tiny says 3.")]
    assert [one.facts.solver for one in found] == ["second", "tiny"]
    assert Episode.from_json(found[0].to_json()).solver == "second"


def test_a_spent_budget_is_that_of_its_solver():
    found = episodes({"tiny": Named("tiny", spent=True), "second": Named("second")}, ["second", "tiny"])
    assert [one.outcome for one in found] == ["ok", BUDGET]
