"""The verifier as a pool beside the solver's: its own account, its own names, and nothing lost when it goes away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conf.schema.rewards import Rewards
from conf.schema.role_sizes import role_sizes
from launch.compose import compose
from rewards.actor import score_batch
from rewards.nouns_and_vectors import TextResources
from rollout.episode.contracts import Reply, SolverFailure
from rollout.jobs import Job
from rollout.solvers import make_verifier, pool
from rollout.solvers.base import Backend, SolverUnavailable, Usage, for_role
from rollout.solvers.program_verifier import ProgramVerifier
from tests.rollout.fakes import PLAN, PROBLEM, CharacterEngine, Scripted, by_question, worker_without_engine
from tests.trainer.fakes import Actor
from trainer.cluster.placement import in_words
from trainer.workers.pipeline import Pipeline

ACTOR = pool.SolverActor.__ray_metadata__.modified_class
LM2 = ["strategy=lm2", "verifier=program", "stages=[evaluate]"]


class Client(Scripted):
    """A scripted solver where a client of the pool is expected."""

    spent, left = False, 1.0


class Judge(Backend):
    """A verifier that gives no reply for a while, or fails, as told."""

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def __init__(self, away: int = 0, failure: str | None = None) -> None:
        super().__init__(compose(LM2).verifier)
        self.away, self.failure = away, failure

    async def check(self) -> None:
        if self.away > 0:
            self.away -= 1
            raise SolverUnavailable("no reply from http://judge/v1: gone")

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        if self.away > 0:
            raise SolverUnavailable("no reply from http://judge/v1: gone")
        if self.failure is not None:
            raise SolverFailure(self.failure)
        reply = Reply("no mistake", 2, 30)
        self.usage.count(reply)
        return reply


class Rewarder:
    """Scores as the reward actor does."""

    async def score(self, episodes: list[Any]) -> list[Any]:
        rewards = score_batch(episodes, TextResources(), Rewards.for_mode("lm2"))
        return list(zip(episodes, rewards, strict=True))


def scored(judge: Backend, monkeypatch: pytest.MonkeyPatch, folder: Any, count: int = 6) -> tuple[list[Any], Any]:
    """Every job of a pipeline with a verifier of its own."""
    monkeypatch.setattr(pool, "actor_log", lambda folder, name: None)
    monkeypatch.setattr(pool, "make_verifier", lambda config: judge)

    async def go() -> tuple[list[Any], Any]:
        solver, verifier = Client(by_question), Actor(ACTOR(None, 0, str(folder), "verifier"))
        texts = ["Doubling.", *PLAN, "Done."]
        engine = CharacterEngine(
            lambda prompt, number: texts[min(prompt.count("\nA: ") + ("Concepts:\nD" in prompt), 3)]
        )
        worker = worker_without_engine(solver, LM2[:2], concurrency=count, engine=engine)
        worker._verifier = pool.SolverClient([verifier], window_s=0.0)
        actors = [Actor(worker)], [], [Actor(Rewarder())]
        pipeline = Pipeline(*actors, folder, 30.0, 3, solver_name="judge", outage_s=60.0, verifiers=[verifier])
        pipeline.start()
        try:
            return await pipeline.run([Job(i, PROBLEM, "lm2", seed=i) for i in range(count)]), pipeline
        finally:
            await pipeline.stop()

    return asyncio.run(go())


def test_replies_are_judged_and_accounted_for_in_a_file_of_their_own(monkeypatch, tmp_path):
    found, _ = scored(Judge(), monkeypatch, tmp_path)
    assert [item.episode.outcome for item in found] == ["ok"] * 6
    for item in found:
        assert [turn.verdicts for turn in item.episode.turns] == [["no_mistake"]] * 2
        assert (item.episode.verifier_tokens, item.episode.verifier_prompt_tokens) == (4, 60)
        assert item.reward.by_call == [0.0, 1.0, 1.0, 0.0]
    assert [path.name for path in tmp_path.glob("*.usage.json")] == ["verifier-0.usage.json"]


def test_a_verifier_that_goes_away_is_waited_for_and_no_job_is_lost(monkeypatch, tmp_path):
    found, pipeline = scored(Judge(away=2), monkeypatch, tmp_path)
    assert [item.job.id for item in found] == list(range(6))
    assert {item.episode.outcome for item in found} == {"ok"}
    assert pipeline.counts["retried"] >= 1


@pytest.mark.parametrize("kind", ["timeout", "refused", "empty"])
def test_a_verifier_that_fails_is_counted_under_its_own_name(kind, monkeypatch, tmp_path):
    found, pipeline = scored(Judge(failure=f"solver_{kind}"), monkeypatch, tmp_path)
    assert [item.episode.outcome for item in found] == [f"verifier_{kind}"] * 6
    assert pipeline.counts["solver_failures"] == 6


def test_a_message_about_a_verifier_names_its_own_keys():
    said = "solver.api_key_env: the key in KEY; http://solver.local/v1 and http://a/solver.model say solver.model"
    assert for_role(said, "solver") == said
    told = "verifier.api_key_env: the key in KEY; http://solver.local/v1 and http://a/solver.model say verifier.model"
    assert for_role(said, "verifier") == told
    assert for_role("solver: http://a does not take the request", "verifier").startswith("verifier: http://a")


def test_the_program_is_another_one_as_verifier():
    assert isinstance(make_verifier(compose(LM2)), ProgramVerifier)


def test_a_run_has_a_verifier_where_one_is_configured_and_no_solver_that_nobody_asks():
    assert "verifier" not in {role.name for role in role_sizes(compose([]))}
    config = compose(["verifier=program"])
    assert [role.count for role in role_sizes(config) if role.name == "verifier"] == [1]
    assert "the verifier" in in_words(config)
    alone = compose(["policy.plays=both", "strategy=monolith", "stages=[ppo]"])
    assert "solver" not in {role.name for role in role_sizes(alone)}
    assert Usage() == Judge().usage
