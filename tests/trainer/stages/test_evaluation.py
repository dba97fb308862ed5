"""Stage 3: which episodes are run for which strategy, and what is counted."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

import pytest

from launch.compose import compose
from rewards.reward import Reward, Scored
from rollout.data.chained import generate, make_problem
from rollout.data.generated import Generated
from rollout.data.graph import Graph
from rollout.records import Attempt, Decomposition, Episode, PolicyCall, Problem
from tests.trainer.fakes import Group
from trainer.stages.evaluation import Evaluator, earlier_results, eval_jobs, kinds_at_start, kinds_before, summarize
from trainer.tracking.labels import missing_rows
from trainer.tracking.live_view import result_table

PROBLEMS = Generated(generate, {2: 1.0}, {2: 1.0}).held_out(3)


@pytest.mark.parametrize(
    ("strategy", "stages", "kinds"),
    [
        ("direct", "evaluate", ["direct"]),
        ("self_consistency", "evaluate", ["direct", "self_consistency"]),
        ("least_to_most", "sft,evaluate", ["direct", "least_to_most"]),
        ("independent", "evaluate", ["direct", "gold", "filler", "policy"]),
        ("daslam", "sft,ppo,evaluate", ["direct", "gold", "filler", "sft"]),
    ],
)
def test_a_strategy_is_evaluated_as_it_is_run(strategy, stages, kinds):
    config = compose([f"strategy={strategy}", f"stages=[{stages}]"])
    assert kinds_before(config, PROBLEMS) == (kinds, {})
    for kind in kinds:
        jobs = eval_jobs(PROBLEMS, kind, strategy)
        assert {job.strategy for job in jobs} == {"direct" if kind == "direct" else strategy}
        assert all((job.given is not None) == (kind in ("gold", "filler")) for job in jobs)
        assert all(job.temperature == 0.0 for job in jobs)


@pytest.mark.parametrize(
    ("overrides", "kinds"),
    [
        ([], ["base"]),
        (["evaluation.base=false"], []),
        (["stages=[ppo,evaluate]"], []),  # what PPO begins with is evaluated before it
        (["strategy=direct", "stages=[evaluate]"], []),
    ],
)
def test_what_stage_1_begins_with_is_evaluated_before_it(overrides, kinds):
    assert kinds_at_start(compose(overrides), PROBLEMS) == kinds


@pytest.mark.parametrize(
    ("asked", "more", "kinds", "missing"),
    [
        ([["a?"], ["b?"]], [], ["direct", "gold", "sft"],
         "no filler row: only generated problems have filler sub-questions"),
        ([["a?"], [], None], ["evaluation.filler=false"], ["direct", "sft"],
         "no gold row: 1 of 3 held-out problems has no sub-questions"),
        ([None, None], [], ["direct", "sft"],
         "no gold row: 2 of 2 held-out problems have no sub-questions; "
         "no filler row: only generated problems have filler sub-questions"),
        ([None], ["evaluation.gold=false", "evaluation.filler=false"], ["direct", "sft"], ""),
    ],
)  # fmt: skip
def test_a_kind_that_cannot_be_evaluated_is_left_out_with_its_reason(asked, more, kinds, missing, tmp_path):
    (tmp_path / "mine.jsonl").write_text("{}\n")
    config = compose(["data=jsonl", f"data.train={tmp_path}/mine.jsonl", *more])
    problems = [Problem(str(n), f"{n}?", "1", subquestions=given) for n, given in enumerate(asked)]
    found, reasons = kinds_before(config, problems)
    assert found == kinds
    assert missing_rows(reasons) == missing


def test_problems_of_one_step_have_no_filler_row():
    config = compose(["data=chained", "+data.eval_steps.1=1"])
    problems = [make_problem(0, 0, steps) for steps in (1, 3, 1)]
    found, reasons = kinds_before(config, problems)
    assert found == ["direct", "gold", "sft"]
    assert missing_rows(reasons) == "no filler row: of 3 held-out problems 2 cannot have any, being of one step"
    with pytest.raises(ValueError, match="one step"):
        Graph(problems[0]).filler_plan(random.Random(0))


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        (["strategy=monolith", "policy.plays=both", "sft.role=monolith"], ["direct", "sft"]),
        (["strategy=monolith", "policy.plays=both", "stages=[ppo,evaluate]"], ["direct", "base"]),
        (["strategy=monolith", "policy.plays=both", "stages=[evaluate]"], ["direct", "policy"]),
        (["strategy=direct", "policy.plays=solver", "stages=[ppo,evaluate]"], ["base"]),
        (["strategy=monolith", "stages=[evaluate]"], ["direct", "monolith"]),
        (["strategy=direct", "stages=[evaluate]"], ["direct"]),
    ],
)
def test_a_policy_that_answers_is_evaluated_before_ppo_under_the_name_of_what_it_is(settings, kinds):
    assert kinds_before(compose(settings), PROBLEMS) == (kinds, {})


def test_tokens_and_closed_gates_are_counted():
    reward = Reward({}, 1.0, {}, [], 1.0, 1.0)
    episodes = [
        Episode(problem, "daslam", final=Attempt("1"), gate=gate, solver_tokens=tokens)
        for problem, gate, tokens in zip(PROBLEMS, ("open", "closed", "closed"), (60, 20, 10), strict=True)
    ]
    jobs = eval_jobs(PROBLEMS, "policy", "daslam")
    result = summarize([Scored(*pair, reward) for pair in zip(jobs, episodes, strict=True)])
    assert result["solver_tokens"] == 30
    assert result["gate_closed"] == pytest.approx(2 / 3)
    episodes = [Episode(problem, "direct", final=Attempt("1")) for problem in PROBLEMS]
    assert "gate_closed" not in summarize([Scored(*pair, reward) for pair in zip(jobs, episodes, strict=True)])


def judged(problems, marks, **fields):
    """Episodes with their marks after the first attempt and in the end, decomposed where they have ``fields``."""
    rewards = [Reward({}, 1.0, {}, [], last, first) for first, last in marks]
    episodes = [Episode(problem, "daslam", final=Attempt("1"), **fields) for problem in problems]
    return [Scored(*item) for item in zip(eval_jobs(problems, "policy", "daslam"), episodes, rewards, strict=True)]


@pytest.mark.parametrize("left_out", [{"gate": "closed"}, {"outcome": "solver_timeout"}], ids=str)
def test_accuracy_by_steps_is_of_all_problems_and_not_of_those_that_were_decomposed(left_out):
    problems = Generated(generate, {2: 1.0, 3: 1.0}, {2: 1.0, 3: 1.0}).held_out(12)
    plan = {"decomposition": Decomposition("a?", ["a?"])}
    marks = [(0.0, float(number % 3 == 0)) for number in range(12)]
    scored = judged(problems[:5], marks[:5], **left_out) + judged(problems[5:], marks[5:], **plan)
    result = summarize(scored)
    counts = Counter(str(problem.meta["steps"]) for problem in problems)
    assert set(result["by_steps"]) == set(counts) == {"2", "3"}
    assert sum(result["by_steps"][steps] * count for steps, count in counts.items()) / 12 == pytest.approx(
        result["mean"]
    )
    assert set(result["plans"]) >= {"right", "solves"}
    alone = summarize(scored[:5])
    assert alone["by_steps"]
    assert "plans" not in alone


def test_an_episode_without_a_first_attempt_is_neither_rescued_nor_broken_and_hides_no_other():
    problems = Generated(generate, {2: 1.0}, {2: 1.0}).held_out(4)
    result = summarize(judged(problems, [(0.0, 1.0), (1.0, 0.0), (None, 1.0), (0.0, 1.0)]))
    assert (result["rescued"], result["broken"]) == (2, 1)
    assert "rescued" not in summarize(judged(problems, [(None, 1.0)] * 4))


def test_the_figures_of_a_result_that_a_run_goes_on_with_stand_for_no_other(tmp_path):
    entry = {"mean": 0.5, "low": 0.25, "high": 0.75, "step": 4}
    now = {"n_eval": 4, "accuracy": {"sft": entry}, "rescued": 3, "broken": 1}
    for changes in ({"rescued": 2, "broken": 0}, {}):
        earlier = {"steps": 4, "n_eval": 4, "accuracy": {"ppo": entry | changes}}
        (tmp_path / "summary.json").write_text(json.dumps(earlier))
        found = now | earlier_results(tmp_path, 4, now)
        assert (found["rescued"], found["broken"]) == ((2, 0) if changes else (None, None))
    (tmp_path / "summary.json").write_text(json.dumps({"steps": 4, "n_eval": 4, "accuracy": {"sft": entry}}))
    assert (now | earlier_results(tmp_path, 4, now))["rescued"] == 3


def test_what_was_evaluated_is_in_the_table():
    entry = {"mean": 0.5, "low": 0.4, "high": 0.6}
    kinds = dict.fromkeys(["direct", "self_consistency", "least_to_most", "policy"], entry)
    assert result_table(kinds, 3).row_count == 4


class Judged:
    """A pipeline whose plans are by the versions that are set, and of which so many are right."""

    def __init__(self) -> None:
        self.versions: list[int] = []
        self.right = 0
        self.jobs: list = []

    async def run(self, jobs):
        self.jobs = list(jobs)
        samples = [PolicyCall("decompose", [1], [2, 3], [0.0, 0.0], self.versions) for _ in jobs]
        episodes = [Episode(job.problem, "daslam", calls=[sample]) for job, sample in zip(jobs, samples, strict=True)]
        rewards = [Reward({}, 1.0, {}, [], float(index < self.right), None) for index in range(len(jobs))]
        return [Scored(*item) for item in zip(jobs, episodes, rewards, strict=True)]


def test_the_best_policy_is_one_that_was_evaluated_itself(tmp_path):
    config = compose(["evaluation.every=5"])
    pipeline, learner = Judged(), Group(0.0)
    held_out = Generated(generate, {2: 1.0}, {2: 1.0}).held_out(8)

    async def evaluate(evaluator, version, right, versions):
        learner.version, pipeline.versions, pipeline.right = version, versions, right
        await evaluator.keep(version)
        learner.version += 1  # the learner goes on
        evaluator.begin(version)
        return await evaluator.metrics(wait=True)

    def kept():
        record = json.loads((tmp_path / "best" / "evaluation.json").read_text())
        assert (tmp_path / "best" / "version").read_text() == str(record["version"])
        assert [path.name for path in tmp_path.iterdir()] == ["best"]
        return record["version"], record["mean"]

    async def go():
        evaluator = Evaluator(config, pipeline, learner, held_out, tmp_path)
        assert await evaluate(evaluator, 4, 8, [4, 4]) == {}
        found = await evaluate(evaluator, 5, 4, [5, 5])
        assert (found["eval/accuracy"], found["eval/version"], found["eval/version_mean"]) == (0.5, 5, 5)
        assert kept() == (5, 0.5)
        # A push reached a plan: what was found is told, but no weights are those that did it.
        found = await evaluate(evaluator, 10, 6, [10, 11])
        assert (found["eval/accuracy"], found["eval/version_mean"], found["eval/best"]) == (0.75, 10.5, 0.5)
        assert kept() == (5, 0.5)
        await evaluate(evaluator, 15, 4, [15, 15])
        assert kept() == (5, 0.5)
        await evaluate(evaluator, 20, 5, [20, 20])
        assert kept() == (20, 0.625)
        # A run that goes on in the folder knows what was best.
        evaluator = Evaluator(config, pipeline, learner, held_out, tmp_path)
        await evaluate(evaluator, 25, 4, [25, 25])
        assert kept() == (20, 0.625)

    asyncio.run(go())
    assert all((job.temperature, job.ahead, job.given) == (0.0, True, None) for job in pipeline.jobs)
    assert [job.problem.id for job in pipeline.jobs] == [problem.id for problem in held_out]


def test_an_evaluation_is_left_out_while_the_one_before_goes_on(tmp_path):
    config = compose(["evaluation.every=1"])
    learner = Group(0.0)

    class Slow(Judged):
        async def run(self, jobs):
            await asyncio.sleep(0.05)
            return await super().run(jobs)

    async def go():
        pipeline = Slow()
        evaluator = Evaluator(config, pipeline, learner, PROBLEMS, tmp_path)
        found = []
        for version in range(1, 4):
            learner.version, pipeline.versions = version, [1, 1]
            await evaluator.keep(version)
            evaluator.begin(version)
            found.append(await evaluator.metrics())
        return [*found, await evaluator.metrics(wait=True), await evaluator.metrics(wait=True)]

    found = asyncio.run(go())
    assert [row.get("eval/version") for row in found] == [None, None, None, 1.0, None]
    assert (tmp_path / "best" / "version").read_text() == "1"
