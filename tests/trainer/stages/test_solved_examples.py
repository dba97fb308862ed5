"""Stage 1's decompositions that are put to the solver: none is lost behind a gate, and what is kept of them."""

from __future__ import annotations

import asyncio
import io
import itertools

import pytest
from rich.console import Console

from launch.compose import compose
from rewards.reward import Reward, Scored
from rollout.data.source import make_source
from rollout.jobs import Job, solver_of
from rollout.run_episode import run_episode
from tests.rollout.fakes import PROBLEM, CharacterEngine, Scripted
from trainer.run_folder.files import read_rows
from trainer.stages.fine_tuning import FineTuning
from trainer.stages.fine_tuning_examples import ungated
from trainer.stages.line_examples import concepts_of
from trainer.tracking.live_view import View

SMALL = [
    "data=branched",
    "sft.problems=4",
    "sft.held_out.problems=2",
    "sft.held_out.scored=3",
    "strategy.gate=disagree",
]


class Agreeing:
    """A pipeline whose solver always says the same, so that every gate closes."""

    def __init__(self, config) -> None:
        self.config = config

    async def run(self, jobs, progress=lambda done: None):
        reward = Reward({}, 1.0, {}, [], 1.0, 1.0)
        return [Scored(job, await self._episode(job), reward) for job in jobs]

    async def _episode(self, job):
        engine = CharacterEngine(lambda prompt, number: ["How many has Ann?", "Done."][min(number, 1)])
        return await run_episode(job, engine, Scripted(lambda prompt, sample: "The answer is 9."), self.config)


@pytest.mark.parametrize("strategy", ["interleaved", "daslam"])
def test_no_decomposition_of_stage_1_is_lost_behind_a_closed_gate(strategy, tmp_path):
    config = compose([*SMALL, f"strategy={strategy}", "sft.sources.data.screen=true"])
    stage, pipeline = FineTuning(config, tmp_path, make_source(config.data)), Agreeing(config)

    async def go():
        await stage.examples(pipeline, lambda done, count: None)
        with View(Console(file=io.StringIO())) as view:
            await stage.compare("before", pipeline, view)

    asyncio.run(go())
    assert stage.report["sources"]["data"]["unusable"] == 0
    assert stage.report["decompositions"]["before"]["held_out"]["invalid"] == 0
    gated = asyncio.run(pipeline.run([Job(0, PROBLEM, strategy, 0)]))[0].episode
    assert (gated.gate, gated.decomposition) == ("closed", None)


def test_a_source_of_a_decomposer_that_writes_concepts_is_kept_with_them(tmp_path):
    config = compose([*SMALL, "strategy=lm2"])
    source = make_source(config.data)
    asyncio.run(FineTuning(config, tmp_path, source).examples(Agreeing(config), lambda done, count: None))
    rows = read_rows(tmp_path / "sft" / "data.jsonl")
    problems = {problem.id: problem for problem in itertools.islice(source.train(0), 4)}
    assert rows
    assert [row["concepts"] for row in rows] == [concepts_of(problems[row["id"]], config.strategy) for row in rows]


def test_a_job_without_its_gate_keeps_its_solver_of_a_mixture():
    config = compose(["solver=mixture", "strategy.gate=disagree"])
    jobs = [Job(number, PROBLEM, "daslam", number, solver=name) for number, name in enumerate(config.mixture)]
    for job in ungated(config, jobs):
        assert job.config.strategy.gate == "always"
        assert job.config.solver == config.solver.mixture[solver_of(config, job)]
    assert ungated(compose([]), jobs) == jobs
