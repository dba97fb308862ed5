"""Whole episodes, many at once, over a server that misbehaves and within limits of their own."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from conf.schema.rewards import Rewards
from rewards.actor import score_batch
from rewards.nouns_and_vectors import TextResources
from rewards.reward import Reward, Scored
from rollout.data.chained import generate
from rollout.engine.vllm_engine import Generation
from rollout.episode.contracts import Reply
from rollout.jobs import Job
from rollout.records import Episode
from rollout.solvers import pool
from rollout.solvers.openai import OpenAISolver
from tests.rollout.fakes import PLAN, PROBLEM, Scripted, by_question, worker_without_engine
from tests.rollout.server import Server
from tests.rollout.solvers.test_openai import permits_of
from tests.rollout.solvers.test_rate_limits import most
from tests.settings import openai_solver
from tests.trainer.fakes import Actor
from trainer.stages.evaluation import summarize
from trainer.workers.pipeline import Pipeline

COUNT = 40
CONCURRENCY = 16
SOLVER = pool.SolverActor.__ray_metadata__.modified_class


@pytest.fixture(scope="module")
def rewarder() -> Any:
    """Scores as the reward actor does."""
    resources = TextResources()

    class Rewarder:
        async def score(self, episodes: list[Episode]) -> list[tuple[Episode, Reward]]:
            rewards = score_batch(episodes, resources, Rewards.for_mode("outcome"))
            return list(zip(episodes, rewards, strict=True))

    return Rewarder()


async def every_outcome(pipeline: Pipeline, jobs: list[Job]) -> list[Scored]:
    """All that comes out of the pipeline, each as often as it comes, in order of the jobs."""
    await pipeline.submit(jobs)
    found: list[Scored] = []
    while not pipeline.idle:
        found += await pipeline.next()
    return sorted(found, key=lambda scored: scored.job.id)


@pytest.mark.parametrize(
    ("kind", "outcomes"),
    [
        ("429", {"ok"}),
        ("500", {"ok"}),
        ("closed", {"ok"}),
        ("half", {"ok"}),
        ("garbage", {"ok"}),
        ("page", {"ok"}),
        ("hang", {"ok", "solver_timeout"}),
        ("no_choices", {"ok", "solver_empty"}),
    ],
)
def test_over_a_server_that_fails_three_calls_in_ten_every_episode_ends_once_and_under_a_name(
    kind, outcomes, rewarder, monkeypatch, tmp_path
):
    problems = list(itertools.islice(generate(7, "held_out", {2: 1.0, 3: 1.0}), COUNT))
    # The gold plans and a solver that makes no mistakes: right is what was answered, and nothing else.
    jobs = [Job(index, each, "daslam", 0, given=list(each.subquestions)) for index, each in enumerate(problems)]
    rng = random.Random(kind)
    monkeypatch.setattr(pool, "actor_log", lambda folder, name: None)

    async def go() -> tuple[list[Scored], Pipeline, OpenAISolver, Server, list[Any]]:
        async with Server(lambda number, body: kind if rng.random() < 0.3 else "program", "0.02") as server:
            # One retry a reply: some replies fail for good, and then their jobs are run again.
            limit = 0.5 if kind == "hang" else 20.0
            solver = OpenAISolver(
                openai_solver(
                    server.url, concurrency=CONCURRENCY, max_retries=1, backoff_s=0.01, backoff_max_s=0.02,
                    request_timeout_s=limit, timeout_s=60.0, requests_per_minute=60, max_tokens_subquestion=40,
                    max_tokens_solve=160, stop_solve=["\nQ:"],
                ),
                minute_s=0.2,
            )  # fmt: skip
            permits = permits_of(solver)
            monkeypatch.setattr(pool, "make_solver", lambda settings: solver)
            actor = Actor(SOLVER(None, 0, str(tmp_path)))
            worker = worker_without_engine(pool.SolverClient([actor], window_s=0.0), concurrency=32)
            pipeline = Pipeline([Actor(worker)], [actor], [Actor(rewarder)], tmp_path, 30.0, max_tries=50)
            pipeline.start()
            try:
                return await every_outcome(pipeline, jobs), pipeline, solver, server, permits
            finally:
                await pipeline.stop()

    scored, pipeline, solver, server, permits = asyncio.run(go())
    assert [item.job.id for item in scored] == list(range(COUNT)), "lost or doubled"
    found = Counter(item.episode.outcome for item in scored)
    assert set(found) == outcomes
    for item in scored:
        assert (item.reward.correct == 1) == (item.episode.outcome == "ok")
    result = summarize(scored)
    assert result["mean"] == pytest.approx(found["ok"] / COUNT)
    assert result.get("unanswered", {}) == {name: count for name, count in found.items() if name != "ok"}
    assert result.get("mean_answered", 1.0) == 1.0
    failed = server.kinds.count(kind)
    assert 0.2 < failed / len(server.kinds) < 0.4
    assert (pipeline.counts["retried"] > 0) == (outcomes == {"ok"})
    assert pipeline.counts["solver_failures"] == COUNT - found["ok"]
    paid = solver.usage.requests
    assert paid == server.kinds.count("program") + (failed if kind == "no_choices" else 0)
    assert server.most_running <= CONCURRENCY
    assert len(permits) == len(server.requests)
    assert most(permits, 0.2)[0] <= 60


# -- limits of an episode ----------------------------------------------------------------------------------------


def run_limited(client: Any, limit: str, engine: Any = None, plan: list[str] | None = None) -> Episode:
    async def go() -> Episode:
        worker = worker_without_engine(client, [f"rollout.{limit}"], engine=engine)
        await worker.submit([Job(0, PROBLEM, "daslam", 0, given=plan)])
        (outcome,) = await worker.collect(5.0)
        assert outcome.error is None
        return outcome.episode

    return asyncio.run(go())


class Client(Scripted):
    """A scripted solver where a client of the pool is expected; what ``slow`` is in takes for ever."""

    spent, left = False, 1.0

    def __init__(self, slow: str = "nothing") -> None:
        super().__init__(by_question)
        self.slow = slow

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        if self.slow in prompt.rsplit("\nQ: ", 1)[1]:
            await asyncio.sleep(60)
        return await super().ask(prompt, purpose=purpose, sample=sample)


def test_an_episode_has_limited_time_and_keeps_what_it_has():
    began = time.monotonic()
    episode = run_limited(Client(slow="has Bob"), "episode_timeout_s=0.2", plan=PLAN)
    assert time.monotonic() - began < 3
    assert episode.outcome == "episode_timeout"
    assert [turn.question for turn in episode.turns] == PLAN[:1]
    assert episode.final.text == ""


def test_the_decomposers_time_is_the_episodes_too():
    async def generate(prompt: str, sampling: Any) -> Generation:
        await asyncio.sleep(60)
        raise AssertionError

    episode = run_limited(Client(), "episode_timeout_s=0.2", SimpleNamespace(version=4, generate=generate))
    assert episode.outcome == "episode_timeout"
    assert episode.initial is not None
    assert episode.decomposition is None


# Replies of four, four, four and nine words.
@pytest.mark.parametrize(("tokens", "turns", "outcome"), [(1, 0, "episode_tokens"), (8, 1, "episode_tokens"),
                                                          (12, 2, "episode_tokens"), (13, 2, "ok")])  # fmt: skip
def test_an_episode_has_limited_tokens_and_nothing_is_asked_beyond(tokens, turns, outcome):
    client = Client()
    episode = run_limited(client, f"episode_solver_tokens={tokens}", plan=PLAN)
    assert (episode.outcome, len(episode.turns)) == (outcome, turns)
    assert len(client.asked) == 1 + turns + (outcome == "ok")
    assert episode.solver_tokens == client.tokens
    assert episode.solver_tokens < tokens + 9
