"""Stage 1 over stand-ins: its steps, what is measured on the way, and going on where it was."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from launch.compose import compose
from rollout.data.source import make_source
from rollout.episode.prompts import Prompts
from rollout.jobs import Outcome
from rollout.records import Attempt, Decomposition, Episode, Problem, RecordError
from tests.trainer.fakes import Actor, Rewarder, Worker, write_checkpoint
from trainer.stages.fine_tuning import FineTuning
from trainer.stages.role_examples import prompts_of_role, role_examples
from trainer.tracking.live_view import View
from trainer.workers.pipeline import Pipeline

SMALL = [
    "sft.problems=40", "sft.batch_size=8", "sft.epochs=2", "sft.checkpoint_every=3", "sft.held_out.problems=6",
    "sft.held_out.every=4", "sft.held_out.scored=5",
]  # fmt: skip


class Writer(Worker):
    """Answers as told, and writes the reference's last sub-question twice as its decomposition."""

    async def _run(self, job, life) -> None:
        self.jobs = [*getattr(self, "jobs", []), job]
        plan = (job.problem.subquestions or ["?"])[-1:] * 2
        episode = Episode(job.problem, job.strategy, None, Decomposition("", plan), final=Attempt(f"No {job.id}."))
        self.done.put_nowait(Outcome(job, episode))


class Learner:
    """Remembers its steps, of which the last that it is allowed raises. ``stop`` is called with the task that runs
    stage 1 in step ``stop_at``, which goes on for ``lasting`` seconds."""

    def __init__(self, allowed: int = 10**9, stop_at: int = 0, stop=asyncio.Task.cancel, lasting: float = 0.01) -> None:
        self.allowed, self.stop_at, self.stop, self.lasting = allowed, stop_at, stop, lasting
        self.steps: list[tuple[list, float]] = []
        self.restored: str | None = None
        self.task: asyncio.Task | None = None

    async def sft_step(self, rows, decay):
        if len(self.steps) == self.allowed:
            raise ConnectionError
        if len(self.steps) + 1 == self.stop_at:
            self.stop(self.task)
            await asyncio.sleep(self.lasting)
        self.steps.append((list(rows), decay))
        return {"sft/loss": 1.0, "sft/tokens": 2.0}

    async def sft_loss(self, rows):
        assert len(rows) == 6
        return 3.0 / (1 + len(self.steps))

    async def use_words(self, rows):
        assert not self.steps
        self.words = list(rows)
        return 7

    async def checkpoint(self, folder):
        write_checkpoint(folder)
        (Path(folder) / "steps").write_text(str(len(self.steps)))

    async def restore(self, folder):
        self.restored = folder

    async def save(self, folder):
        await asyncio.sleep(0)
        Path(folder).mkdir(parents=True)


class Log:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict]] = []

    def fine_tuning(self, step, metrics):
        self.rows.append((step, metrics))


def tune(folder: Path, learner: Learner, overrides: list[str], resumed: bool = False):
    """Run stage 1; its object, what was tracked, the worker's jobs, and what is on the screen."""
    config = compose(overrides)
    source, worker, log, screen = make_source(config.data), Writer(), Log(), io.StringIO()
    stage = FineTuning(config, folder, source)
    state = stage.find_checkpoint() if resumed else None

    async def run_state():
        return {"steps": len(learner.steps)}

    async def go():
        learner.task = asyncio.current_task()
        pipeline = Pipeline([Actor(worker)], ["solver"], [Actor(Rewarder())], folder, 5.0, 3)
        pipeline.start()
        try:
            with View(Console(file=screen, width=200)) as view:
                await stage.compare("before", pipeline, view)
                await stage.run(pipeline, learner, view, log, run_state)
                await stage.compare("after", pipeline, view)
        finally:
            await pipeline.stop()

    try:
        asyncio.run(go())
    except ConnectionError:
        assert learner.allowed < 10**9
    except asyncio.CancelledError:
        assert learner.stop_at
    return stage, state, log.rows, getattr(worker, "jobs", []), screen.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    learner = Learner()
    return folder, learner, *tune(folder, learner, SMALL)


def test_the_default_recipe_is_one_imperfect_decomposition_a_problem_in_batches_of_shuffled_epochs(whole):
    config = compose(SMALL)
    source, rng = make_source(config.data), random.Random("teacher 0")
    rows = []
    for index, problem in enumerate(itertools.islice(source.train(0), 40)):
        plan = source.imperfect_decomposition(problem, rng, 0.3, 0.1, 0.1)
        rows.append((Prompts.of(config).decompose(problem, f"No {index}."), "\n".join(plan)))
    expected, order = [], random.Random("sft order 0")
    for _ in range(2):
        order.shuffle(rows)
        expected += [rows[start : start + 8] for start in range(0, 40, 8)]
    steps = whole[1].steps
    assert [rows for rows, _ in steps] == expected
    assert [decay for _, decay in steps] == pytest.approx([1 - step / 10 for step in range(10)])


def test_the_number_of_examples_is_on_the_screen(whole):
    assert "stage 1 has 40 examples (data 40)\n" in whole[-1]
    assert "left_out_of_epoch" not in whole[2].report


def test_examples_that_do_not_fill_a_batch_are_counted_and_said(tmp_path):
    stage, *_, screen = tune(tmp_path, Learner(allowed=1), [*SMALL, "sft.batch_size=16"])
    assert stage.report["left_out_of_epoch"] == 40 - 2 * 16
    assert "each epoch leaves out 8 examples, drawn anew: they do not fill a batch of 16 (sft.batch_size)\n" in screen


def test_held_out_losses_come_before_on_the_way_and_after(whole):
    folder, _, stage, _, tracked, _, screen = whole
    losses = {step: metrics["sft/held_out_loss"] for step, metrics in tracked if "sft/held_out_loss" in metrics}
    assert losses == pytest.approx({0: 3.0, 4: 0.6, 8: 3 / 9, 10: 3 / 11})
    assert [step for step, _ in tracked] == list(range(11))
    assert stage.report["held_out_loss"] == pytest.approx({"before": 3.0, "after": 3 / 11})
    assert stage.report["steps"] == 10
    assert json.loads((folder / "sft" / "summary.json").read_text()) == stage.report
    assert "stage 1, supervised fine-tuning 10/10  loss 1.000  held out 0.273" in screen


def test_decompositions_are_compared_before_and_after(whole):
    folder, _, stage, _, _, jobs, _ = whole
    asked = [job for job in jobs if job.strategy == "decompose_only"]
    assert len(asked) == 2 * 5
    assert {job.temperature for job in asked} == {0.0}
    found = stage.report["decompositions"]
    assert found["before"] == found["after"]
    entry = found["after"]["held_out"]
    counts = [len(job.problem.subquestions) for job in asked[:5]]
    assert entry["problems"] == 5
    assert entry["matched"] == 1.0
    assert entry["coverage"] == pytest.approx(sum(1 / count for count in counts) / 5)
    assert (entry["precision"], entry["order"]) == (0.5, None)
    written = [json.loads(line) for line in (folder / "sft" / "compared_after.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == [job.problem.id for job in asked[:5]]


def test_stage_1_goes_on_from_its_checkpoint_with_the_very_examples(whole, tmp_path):
    first = Learner(allowed=7)
    stage, *_ = tune(tmp_path, first, SMALL)
    assert [path.name for path in sorted(stage.checkpoints.iterdir())] == ["step-3", "step-6"]
    second = Learner()
    stage, state, tracked, jobs, _ = tune(tmp_path, second, SMALL, resumed=True)
    assert (stage.begun, state) == (6, {"steps": 6})
    assert second.restored == str(stage.checkpoints / "step-6")
    assert first.steps[:6] + second.steps == whole[1].steps
    assert tracked[0][0] == 7
    # Neither attempts nor the comparison before are made again.
    assert len(jobs) == 5
    assert stage.report["held_out_loss"]["before"] == 3.0
    stage.forget_checkpoints()
    assert not stage.checkpoints.exists()


def kept_steps(stage: FineTuning) -> list[str]:
    return sorted(path.name for path in stage.checkpoints.iterdir())


# After the fourth the held-out loss is measured; after the sixth a checkpoint is due.
@pytest.mark.parametrize("last", [4, 5, 6])
def test_a_stop_keeps_the_step_that_it_comes_in_and_the_next_process_goes_on_after_it(whole, tmp_path, last):
    first, second = Learner(stop_at=last), Learner()
    stage, _, tracked, _, screen = tune(tmp_path, first, SMALL)
    assert (kept_steps(stage), tracked[-1][0]) == (["step-3", f"step-{last}"], last)
    assert f"It goes on after step {last} of stage 1.\n" in screen
    stage, state, after, *_ = tune(tmp_path, second, SMALL, resumed=True)
    assert (stage.begun, state) == (last, {"steps": last})
    assert first.steps + second.steps == whole[1].steps
    assert [step for step, _ in tracked + after] == list(range(11))


def test_a_stop_in_the_last_step_saves_the_model(tmp_path):
    stage, _, tracked, _, screen = tune(tmp_path, Learner(stop_at=10), SMALL)
    assert (stage.model.is_dir(), tracked[-1][0], stage.report["steps"]) == (True, 10, 10)
    assert "It goes on after step 10 of stage 1.\n" in screen


def stop_twice(task: asyncio.Task) -> None:
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, task.cancel)


@pytest.mark.parametrize(("stop", "limit"), [(asyncio.Task.cancel, 0.05), (stop_twice, 60)], ids=["limit", "second"])
def test_a_step_that_is_not_waited_for_is_broken_off(tmp_path, stop, limit):
    learner = Learner(stop_at=5, stop=stop, lasting=60)
    stage, _, tracked, _, screen = tune(tmp_path, learner, [*SMALL, f"controller.stop_timeout_s={limit}"])
    assert (kept_steps(stage), tracked[-1][0]) == (["step-3"], 4)
    said = "It goes on from step 3 of stage 1; step 4 is taken again.\n" in screen
    assert said == (stop is not stop_twice)


def test_the_words_of_all_examples_are_told_apart_before_the_first_step_and_after_a_restart(tmp_path):
    overrides = [*SMALL, "sft.vocabulary=examples", "sft.held_out.scored=0"]
    learner = Learner(allowed=4)
    stage, *_ = tune(tmp_path, learner, overrides)
    assert stage.report["words"] == 7
    assert len(learner.words) == 40 + 6
    again = Learner()
    tune(tmp_path, again, overrides, resumed=True)
    assert sorted(again.words) == sorted(learner.words)


def test_without_a_checkpoint_it_begins_again_with_the_examples_that_are_there(tmp_path):
    tune(tmp_path, Learner(allowed=2), SMALL)
    second = Learner()
    stage, state, tracked, jobs, _ = tune(tmp_path, second, SMALL, resumed=True)
    assert (stage.begun, state, second.restored) == (0, None, None)
    assert (len(second.steps), tracked[0][0], len(jobs)) == (10, 0, 5)


def test_no_attempt_is_made_where_the_decomposer_is_shown_none(tmp_path):
    config = compose([*SMALL, "strategy=daslam_no_feedback"])
    assert not Prompts.of(config).read_attempt
    stage, worker = FineTuning(config, tmp_path, make_source(config.data)), Writer()

    async def go():
        pipeline = Pipeline([Actor(worker)], ["solver"], [Actor(Rewarder())], tmp_path, 5.0, 3)
        return await stage.examples(pipeline, lambda done, count: None)

    rows, held_out = asyncio.run(go())
    assert not hasattr(worker, "jobs")
    assert (len(rows), len(held_out)) == (40, 6)
    assert "attempt" not in rows[0][0]


class Solved(Rewarder):
    """Finds every answer right."""

    def _reward(self, episode):
        return replace(super()._reward(episode), correct=1.0)


@pytest.mark.parametrize("shipped", ["interleaved", "lm2"])
def test_a_strategy_of_ones_own_that_writes_line_by_line_is_taught_line_by_line(shipped, tmp_path):
    def rows(*overrides: str):
        config = compose([*SMALL, f"strategy={shipped}", "sft.refused=0", *overrides])
        folder = tmp_path / ("own" if overrides else "shipped")
        folder.mkdir()
        stage = FineTuning(config, folder, make_source(config.data))

        async def go():
            pipeline = Pipeline([Actor(Writer())], ["solver"], [Actor(Solved())], tmp_path, 5.0, 3)
            pipeline.start()
            try:
                return await stage.examples(pipeline, lambda done, count: None)
            finally:
                await pipeline.stop()

        return asyncio.run(go())

    own = rows(f"strategy.name=rollout.strategies.{shipped}:run")
    assert own == rows()
    assert "Done.\n" in {line for _, line in own[0]}


@pytest.mark.parametrize("role", ["solver", "verifier", "monolith"])
def test_another_role_learns_from_the_answers_and_compares_no_decompositions(role, tmp_path):
    overrides = [*SMALL, f"sft.role={role}", "stages=[sft]", "strategy=lm2", "sft.held_out.problems=0"]
    config = compose(overrides)
    source = make_source(config.data)
    stage, _, _, jobs, _ = tune(tmp_path, Learner(), overrides)
    assert jobs == [], "neither attempts nor decompositions"
    assert "decompositions" not in stage.report
    problems = [one for one in itertools.islice(source.train(0), 40) if one.subquestions]
    assert stage.report["sources"]["data"] == {
        "problems": 40, "without_answers": 40 - len(problems), "held_out_dropped": 0, "examples": len(problems),
    }  # fmt: skip
    texts = prompts_of_role(config)
    expected = [row for one in problems for row in role_examples(role, texts, one, one.subquestions, 0)]
    rows = [json.loads(line) for line in (tmp_path / "sft" / "examples.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["completion"]) for row in rows] == expected


def test_a_verifier_meets_other_errors_when_a_row_comes_again(tmp_path):
    rows = [
        {
            "id": f"p-{n}", "question": f"{n} in May, {n} more in June: how many?", "answer": f"{3 * n}",
            "subquestions": ["How many in June?", "How many in both?"],
            "solution": f"Ann sold {n}+{n} = {2 * n} in June.\nAnn sold {n}+{2 * n} = {3 * n} in both.",
        }
        for n in range(2, 8)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [
        "data=jsonl", f"data.train={tmp_path}/rows.jsonl", "data.held_out_share=0", "sft.problems=12",
        "sft.role=verifier", "stages=[sft]", "sft.held_out.problems=0",
    ]  # fmt: skip
    config = compose(overrides)
    problems = list(itertools.islice(make_source(config.data).train(0), 12))
    tune(tmp_path, Learner(), overrides)
    written = [json.loads(line) for line in (tmp_path / "sft" / "examples.jsonl").read_text().splitlines()]
    found = [(row["prompt"], row["completion"]) for row in written]
    texts = prompts_of_role(config)
    first, second = (
        [row for one in own for row in role_examples("verifier", texts, one, one.subquestions, 0, again)]
        for again, own in enumerate((problems[:6], problems[6:]))
    )
    assert found == [*first, *second]
    assert first == [row for one in problems[:6] for row in role_examples("verifier", texts, one, one.subquestions, 0)]
    assert set(first) != set(second)
    assert {prompt for prompt, _ in first} != {prompt for prompt, _ in second}


def test_a_role_that_learns_from_answers_is_refused_data_without_them(tmp_path):
    config = compose(["sft.role=solver", "stages=[sft]"])
    source = make_source(config.data)
    source.train = lambda seed: iter([Problem("a", "Is it?", "1", subquestions=["Why?"])])
    with pytest.raises(RecordError, match=r"answers to its sub-questions, which sft\.role 'solver' learns from"):
        FineTuning(config, tmp_path, source)


def test_another_files_problems_are_compared_too_and_never_trained_on(tmp_path):
    row = {"id": "q-1", "question": "Is it so?", "answer": "yes", "answer_type": "boolean", "subquestions": ["Is it?"]}
    (tmp_path / "other.jsonl").write_text(json.dumps(row) + "\n")
    teacher = {
        "id": "t-1",
        "question": "Is it so?",
        "answer": "yes",
        "answer_type": "boolean",
        "subquestions": ["Is it?"],
    }
    (tmp_path / "teacher.jsonl").write_text(
        json.dumps(teacher) + "\n" + json.dumps(teacher | {"id": "t-2", "question": "Is it new?"}) + "\n"
    )
    overrides = [
        *SMALL, f"+sft.held_out.also.other={tmp_path}/other.jsonl",
        f"+sft.sources.gpt={{kind: file, path: {tmp_path}/teacher.jsonl}}",
    ]  # fmt: skip
    stage, *_ = tune(tmp_path, Learner(), overrides)
    assert stage.report["decompositions"]["after"]["other"]["coverage"] == 1.0
    assert stage.report["sources"]["gpt"]["held_out_dropped"] == 1
    examples = [json.loads(line) for line in (tmp_path / "sft" / "examples.jsonl").read_text().splitlines()]
    assert {row["id"] for row in examples if row["source"] == "gpt"} == {"t-2"}


def test_measurements_on_fewer_problems_than_were_asked_for_are_said(tmp_path):
    rows = [{"id": str(n), "question": f"Is {n} it?", "answer": "yes", "answer_type": "boolean"} for n in range(20)]
    for row in rows[::4]:
        row["subquestions"] = ["Is it?"]
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stage, *_, screen = tune(tmp_path, Learner(), [*SMALL, f"+sft.held_out.also.other={tmp_path}/other.jsonl"])
    assert stage.report["decompositions"]["after"]["other"]["problems"] == 5
    assert "sft.held_out" not in screen
    more = [*SMALL, f"+sft.held_out.also.other={tmp_path}/other.jsonl", "sft.held_out.scored=7"]
    (tmp_path / "more").mkdir()
    stage, *_, screen = tune(tmp_path / "more", Learner(), more)
    assert stage.report["decompositions"]["after"]["other"]["problems"] == 5
    said = "sft.held_out.scored of other: measured on 5 problems, not 7: no more of those held out have sub-questions\n"
    assert screen.count("sft.held_out") == screen.count(said) == 1
