"""Every strategy with the shipped models on real engines, from its configuration to its evaluation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conf.schema.rewards import Rewards
from conf.schema.strategy import ITERATIVE, UNTRAINED
from launch.compose import compose
from rewards.actor import score_batch
from rewards.nouns_and_vectors import TextResources
from rewards.reward import Scored
from rollout.solvers import pool
from rollout.strategies import STRATEGIES
from rollout.worker import RolloutWorker
from tests.trainer.fakes import Actor
from trainer.cluster.ray_cluster import ray_session
from trainer.run import make_source
from trainer.stages.evaluation import evaluate
from trainer.workers.pipeline import Pipeline

COUNT = 8
Evaluated = dict[str, tuple[dict[str, Any], list[Scored]]]


class Rewarder:
    """Scores as the reward actor does."""

    def __init__(self) -> None:
        self.resources = TextResources()

    async def score(self, episodes: list[Any]) -> list[Any]:
        rewards = score_batch(episodes, self.resources, Rewards.for_mode("outcome"))
        return list(zip(episodes, rewards, strict=True))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Evaluated:
    """What each strategy's evaluation found, and that of the gold plans under ``gold``."""
    logs = tmp_path_factory.mktemp("logs")
    config = compose(["stages=[evaluate]", "solver.timeout_s=600"])
    problems = make_source(config.data).held_out(COUNT)
    with ray_session(config):
        # The solver has a process of its own: vLLM's engines on the CPU cannot run on two threads of one.
        solver = pool.SolverActor.options(max_concurrency=1_000).remote(config, 0, str(logs))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rollout.worker.actor_log", lambda folder, name: None)
            worker = RolloutWorker.__ray_metadata__.modified_class(config, 0, str(logs))

        async def go() -> Evaluated:
            await worker.ready([solver])
            pipeline = Pipeline([Actor(worker)], [solver], [Actor(Rewarder())], logs, 300.0, 1)
            pipeline.start()
            found = {"gold": await evaluate(pipeline, problems, "gold", "daslam")}
            for name in STRATEGIES:
                worker.config = compose([f"strategy={name}", "stages=[evaluate]"])
                found[name] = await evaluate(pipeline, problems, name if name in UNTRAINED else "policy", name)
            await pipeline.stop()
            return found

        found = asyncio.run(go())
        worker.engine.stop()
    return found


def check_dialogue(episode: Any, *, concepts: bool) -> None:
    """Every call of an iterative episode is recorded and begins with the one before it, token for token."""
    purposes = [call.purpose for call in episode.calls]
    assert purposes == ["concepts"] * concepts + ["next"] * (len(purposes) - concepts)
    assert len(episode.turns) <= len(purposes) - concepts
    for call in episode.calls:
        assert len(call.token_ids) == len(call.logprobs) == len(call.versions) > 0
    for before, after in zip(episode.calls, episode.calls[1:], strict=False):
        assert (
            after.prompt_ids[: len(before.prompt_ids) + len(before.token_ids)] == before.prompt_ids + before.token_ids
        )
    assert episode.policy_tokens == episode.decomposer_tokens == sum(len(call.token_ids) for call in episode.calls)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_runs_whole_on_real_engines(name, evaluated):
    result, scored = evaluated[name]
    assert len(scored) == COUNT
    assert 0 <= result["low"] <= result["mean"] <= result["high"] <= 1
    assert result["solver_tokens"] > 0
    for item in scored:
        episode = item.episode
        assert episode.strategy == name
        assert episode.outcome == "ok"
        assert episode.final.text
        assert (episode.initial is None) == (name in (*UNTRAINED, "daslam_no_feedback"))
        assert (episode.decomposition is None) == (name in ("direct", "self_consistency"))
        assert len(episode.turns) == (len(episode.decomposition.subquestions) if episode.decomposition else 0)
        assert len(episode.draws) == (5 if name == "self_consistency" else 0)
        if name in ITERATIVE:
            check_dialogue(episode, concepts=name == "lm2")
            continue
        assert len(episode.calls) == (name not in UNTRAINED)
        for call in episode.calls:
            assert episode.policy_tokens == len(call.token_ids) == len(call.logprobs) > 0
            assert call.purpose == "decompose"
            assert call.text == episode.decomposition.text


def test_the_shipped_solver_answers_through_gold_plans_and_not_alone(evaluated):
    assert evaluated["gold"][0]["mean"] >= 0.75
    assert evaluated["direct"][0]["mean"] <= 0.25
