"""A run in which nothing can be trained on ends by name, and says what was wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import pytest

from rollout.jobs import Outcome
from rollout.records import Decomposition, Episode
from tests.rollout.fakes import PLAN, CharacterEngine, Scripted, episode_of
from tests.trainer.fakes import Worker
from tests.trainer.loop import GROUPS, train
from tests.trainer.samples import scored
from trainer.stages.drops import Drops, NothingToTrainOn, what_was_wrong
from trainer.stages.sample_groups import trainable


class Failing(Worker):
    """All its episodes, or all but every ``good``-th, end with one outcome."""

    def __init__(self, outcome: str, good: int = 0) -> None:
        super().__init__(1)
        self.outcome, self.good = outcome, good

    async def _run(self, job, life):
        if self.good and job.id % self.good == 0:
            await super()._run(job, life)
        else:
            await asyncio.sleep(0)
            self.done.put_nowait(Outcome(job, Episode(job.problem, "daslam", outcome=self.outcome)))


@pytest.mark.parametrize(
    ("outcome", "advice"),
    [("solver_empty", r"solver\.max_tokens_solve"), ("prompt_too_long", r"rollout\.max_model_len"), ("unheard_of", "")],
)
@pytest.mark.parametrize(("extra", "size"), [([], 1), (GROUPS, 4)])
def test_a_run_without_anything_to_train_on_ends_by_name(outcome, advice, extra, size):
    limit = "controller.max_dropped_in_a_row=40"
    said = rf"40 groups in a row held nothing to train on \({outcome} {40 * size}\), controller\.max_.* 40.*{advice}"
    with pytest.raises(NothingToTrainOn, match=said):
        asyncio.run(train([Failing(outcome)], 1, steps=2, extra=[*extra, limit]))


def test_episodes_that_cannot_be_scored_end_it_too():
    with pytest.raises(NothingToTrainOn, match=r"\(not scored 40\).*logs/reward-0\.log"):
        asyncio.run(train([Worker()], 0, poison_every=1, extra=["controller.max_dropped_in_a_row=40"]))


def test_a_run_with_something_to_train_on_now_and_then_goes_on():
    # However slow the good ones are, of 16 in flight no more than 32 bad ones go before all 16 are good.
    extra = ["controller.max_dropped_in_a_row=64"]
    result, group, rows, _ = asyncio.run(train([Failing("solver_empty", good=3)], 1, steps=3, extra=extra))
    assert result.version == len(group.batches) == 3
    assert result.drops.by_outcome == {"solver_empty": result.dropped}
    assert rows[-1][1]["episode/dropped"] > 3 * 8


class Late(Worker):
    """Every second episode is ended by a timeout, until it is tried for the ``times``-th time after that."""

    def __init__(self, outcome: str, times: int) -> None:
        super().__init__(1)
        self.outcome, self.times = outcome, times

    async def _run(self, job, life):
        if job.id % 2 or job.late >= self.times:
            await super()._run(job, life)
        else:
            await asyncio.sleep(0)
            self.done.put_nowait(Outcome(job, Episode(job.problem, "daslam", outcome=self.outcome)))


@pytest.mark.parametrize("outcome", ["solver_timeout", "verifier_timeout"])
def test_of_a_group_what_a_timeout_ended_is_run_again_and_the_group_is_trained_on_whole(outcome):
    result, group, rows, _ = asyncio.run(train([Late(outcome, 2)], 1, steps=3, extra=GROUPS))
    assert [len(batch) for batch in group.batches] == [8] * 3
    assert result.dropped == 0
    # Half of each batch, twice each.
    assert rows[-1][1]["episode/retried"] >= 3 * 4 * 2
    trained = [item.problem_id for batch in group.batches for item in batch]
    assert {trained.count(name) for name in trained} == {4}


class Unlucky(Worker):
    """Every second episode has these ends, one after the other, before a good one: outcomes, or errors."""

    def __init__(self, *ends: str) -> None:
        super().__init__(1)
        self.ends, self.runs = ends, Counter()

    async def _run(self, job, life):
        number = self.runs[job.id]
        self.runs[job.id] += 1
        if job.id % 2 or number >= len(self.ends):
            await super()._run(job, life)
            return
        await asyncio.sleep(0)
        if (end := self.ends[number]) == "solver_timeout":
            self.done.put_nowait(Outcome(job, Episode(job.problem, "daslam", outcome=end)))
        else:
            self.done.put_nowait(Outcome(job, None, "ConnectError: gone", no_reply=end == "no reply"))


@pytest.mark.parametrize("error", ["no reply", "error"])
@pytest.mark.parametrize("late_first", [True, False])
def test_timeouts_leave_an_episode_its_tries_after_errors_and_errors_those_after_timeouts(error, late_first):
    late, wrong = ["solver_timeout"] * 2, [error] * 2
    worker = Unlucky(*(late + wrong if late_first else wrong + late))
    result, group, *_ = asyncio.run(train([worker], 1, steps=3, extra=GROUPS))
    assert result.version == len(group.batches) == 3
    assert (result.dropped, result.solver_gone) == (0, None)


@pytest.mark.parametrize(
    ("worker", "extra"),
    [(Late("solver_timeout", 3), GROUPS), (Late("solver_empty", 1), GROUPS), (Late("solver_timeout", 1), [])],
    ids=["too often", "no timeout", "no group"],
)  # fmt: skip
def test_what_is_not_run_again_or_too_often_is_dropped_with_its_group(worker, extra):
    with pytest.raises(NothingToTrainOn) if extra else nullcontext():
        result, *_ = asyncio.run(train([worker], 1, steps=2, extra=[*extra, "controller.max_dropped_in_a_row=40"]))
        assert result.dropped > 0
        assert result.pipeline.counts["retried"] == 0


def test_as_many_as_may_be_in_flight_at_once_may_fail_at_once():
    with pytest.raises(NothingToTrainOn, match=r"^17 groups in a row"):
        asyncio.run(train([Failing("solver_empty")], 1, steps=2, extra=["controller.max_dropped_in_a_row=1"]))


def test_a_row_of_drops_is_told_when_it_has_doubled():
    drops, good = Drops(1_000), scored(0, [0])
    bad = replace(good, episode=replace(good.episode, outcome="solver_empty"))
    told = [number for number in range(1, 200) if drops.dropped([bad, good])]
    assert told == [16, 32, 64, 128]
    drops.kept()
    assert [number for number in range(1, 20) if drops.dropped([bad])] == [16]
    assert drops.by_outcome == {"solver_empty": 199 + 19}


@pytest.mark.parametrize(
    ("outcome", "named"),
    [("solver_refused", "logs/solver.mixture.served-0.log"), ("solver_timeout", "solver.mixture.served.timeout_s"),
     ("solver_empty", "solver.mixture.served.max_tokens_solve")],
)  # fmt: skip
def test_the_log_and_the_keys_of_a_mixture_are_those_of_the_solver_that_failed(outcome, named):
    episode = Episode(scored(0, [0]).episode.problem, "daslam", outcome=outcome)
    served, small = (replace(scored(0, [0]), episode=replace(episode, solver=name)) for name in ("served", "small"))
    with pytest.raises(NothingToTrainOn, match=rf"\({outcome} 3\).*: {named}$"):
        Drops(1).dropped([small, served, served])


def test_what_was_wrong_has_one_name():
    good = scored(0, [0])
    assert what_was_wrong(replace(good, reward=replace(good.reward, error="ValueError: poison"))) == "not scored"
    assert what_was_wrong(replace(good, episode=replace(good.episode, calls=[]))) == "no policy tokens"
    assert what_was_wrong(scored(0, [], later=[[], []])) == "no policy tokens"
    assert trainable(scored(0, [], later=[[4], []])), "one of its calls has a token"
    too_long = replace(good.episode, calls=[], decomposition=Decomposition("", [], invalid="prompt_too_long"))
    assert what_was_wrong(replace(good, episode=too_long)) == "prompt_too_long"


@pytest.mark.parametrize("plays", ["decomposer", "solver", "both"])
def test_what_the_gate_kept_from_decomposition_is_dropped_whoever_plays_the_solver(plays):
    found = {}
    for gate, answers in (("closed", ["9"]), ("open", ["9", "5"])):
        said = lambda count, answers=answers: f"The answer is {answers[count % len(answers)]}."  # noqa: E731
        engine = CharacterEngine(lambda prompt, count, said=said: said(count) if "Solve" in prompt else PLAN[0])
        solver = Scripted(lambda _, sample, said=said: said(sample))
        episode = episode_of(engine, [f"policy.plays={plays}", "strategy.gate=disagree"], solver)
        found[gate] = replace(scored(0, []), episode=episode)
        assert episode.gate == episode.facts.gate == gate
    assert bool(found["closed"].episode.calls) == (plays != "decomposer")
    assert not trainable(found["closed"])
    assert what_was_wrong(found["closed"]) == "closed gate"
    assert trainable(found["open"])
    with pytest.raises(NothingToTrainOn, match=r"closed gate 1\).*the solver's draws agree.*strategy\.gate=always"):
        Drops(1).dropped([found["closed"], found["open"]])
