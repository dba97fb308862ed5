"""Examples of stage 1 whose first attempt the solver failed to make: left out, counted and told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose
from rewards.reward import Reward, Scored
from rollout.data.source import make_source
from rollout.records import Attempt, Episode, RecordError
from trainer.stages.fine_tuning import FineTuning
from trainer.stages.fine_tuning_examples import in_words

SMALL = ["data=branched", "sft.problems=8", "sft.held_out.problems=4", "sft.drop=0", "sft.swap=0", "sft.redundant=0"]


class Failing:
    """A pipeline whose solver answers some of the problems, by their places."""

    def __init__(self, answered: set[int]) -> None:
        self.answered = answered

    async def run(self, jobs, progress=lambda done: None):
        return [
            Scored(job, self._episode(job), Reward({}, 0.0, {}, [], 0.0, None))
            for job in jobs
        ]  # fmt: skip

    def _episode(self, job) -> Episode:
        if job.id in self.answered:
            return Episode(job.problem, job.strategy, final=Attempt(f"It is {job.id}."))
        return Episode(job.problem, job.strategy, outcome="solver_timeout")


def examples(folder: Path, answered: set[int], *more: str):
    config = compose([*SMALL, *more])
    stage = FineTuning(config, folder, make_source(config.data))
    return stage, *asyncio.run(stage.examples(Failing(answered), lambda done, count: None))


def test_a_decomposition_whose_attempt_failed_is_not_learned(tmp_path):
    stage, rows, held_out = examples(tmp_path, {0, 2, 3})
    shown = [prompt.partition("First attempt: ")[2].partition("\n")[0] for prompt, _ in rows]
    assert shown == ["It is 0.", "It is 2.", "It is 3."]
    assert not any("First attempt: \n" in prompt for prompt, _ in (*rows, *held_out))
    counts = stage.report["sources"]["data"]
    assert (counts["problems"], counts["without_attempt"], counts["examples"]) == (8, 5, 3)
    assert (stage.report["held_out"], stage.report["held_out_without_attempt"]) == (3, 1)
    said = in_words(len(rows), stage.report["sources"])
    assert said == "stage 1 has 3 examples (data 3); 5 were left out: the solver failed to make an attempt"
    assert stage._fewer()[0] == "sft.held_out.problems: 1 are not measured: the solver failed to make an attempt"


def test_nothing_is_said_where_every_attempt_was_made(tmp_path):
    stage, rows, _ = examples(tmp_path, set(range(8)))
    assert len(rows) == 8
    assert "without_attempt" not in stage.report["sources"]["data"]
    assert "held_out_without_attempt" not in stage.report


def test_a_source_of_which_no_attempt_was_made_is_refused(tmp_path):
    said = r"sft\.sources\.data \(data\) has no example that can be learned from \(.*without_attempt 8\)"
    with pytest.raises(RecordError, match=said):
        examples(tmp_path, set())
    assert not (tmp_path / "sft" / "examples.jsonl").exists()


def test_fewer_attempts_than_learner_ranks_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"only 1 examples .*learner\.ranks \(2\)"):
        examples(tmp_path, {4}, "learner.ranks=2")
