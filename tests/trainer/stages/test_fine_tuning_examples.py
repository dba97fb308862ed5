"""Stage 1's examples: how sources are mixed, what screening keeps and counts, teachers' files."""

from __future__ import annotations

import asyncio
import collections
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from launch.compose import compose
from rewards.reward import Reward, Scored
from rollout.data.source import make_source
from rollout.episode.contracts import SolverFailure
from rollout.jobs import Job, Outcome, sampling_seed
from rollout.records import Attempt, Decomposition, Episode, Problem, RecordError
from tests.rollout.fakes import PLAN, CharacterEngine, Scripted, by_question, episode_of
from tests.trainer.fakes import Actor, Rewarder, Worker
from trainer.stages.fine_tuning_examples import ExampleSources, Lesson, filled, in_words, kept, read_teacher, shares
from trainer.workers.pipeline import Pipeline


def plan(name: str, *questions: str) -> Lesson:
    return Lesson(Problem(name, f"{name}?", "1"), list(questions))


@pytest.mark.parametrize(
    ("total", "weights", "expected"),
    [
        (10, {"a": 1.0, "b": 3.0}, {"a": 3, "b": 7}),  # 2.5 and 7.5: of equal remainders the first goes up
        (10, {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 4, "b": 3, "c": 3}),
        (7, {"a": 2.0, "b": 0.0}, {"a": 7}),
        (2, {"a": 0.99, "b": 0.01}, {"a": 2}),
    ],
)
def test_examples_are_shared_out_by_weight(total, weights, expected):
    assert shares(total, weights) == expected


def test_too_few_plans_are_gone_through_again_and_of_too_many_some_are_drawn():
    plans = [plan(name, "a?") for name in "abc"]
    names = [one.problem.id for one in filled(plans, 8, random.Random(0))]
    assert collections.Counter(names[:6]) == {"a": 2, "b": 2, "c": 2}
    assert len(names) == 8
    assert len({one.problem.id for one in filled(plans, 2, random.Random(0))}) == 2
    drawn = {one.problem.id for seed in range(20) for one in filled(plans, 1, random.Random(seed))}
    assert drawn == {"a", "b", "c"}


def sampled(name: str, questions: list[str] | None, correct: float = 1.0, **changes) -> Scored:
    """An episode on problem ``name``; without ``questions`` the solver failed before there were any."""
    problem = Problem(name, f"{name}?", "1")
    decomposition = Decomposition("", questions, changes.get("invalid")) if questions is not None else None
    episode = Episode(problem, "daslam", Attempt("I cannot tell."), decomposition)
    reward = Reward({}, correct, {}, [], correct, 0.0, changes.get("error"))
    return Scored(Job(0, problem, "daslam", 0), episode, reward)


EPISODES = [
    sampled("a", ["one?", "two?"]),
    sampled("a", ["One? ", "two"]),  # the same but for case, spaces and the mark at the end
    sampled("a", ["one?"], correct=0.0),
    sampled("a", ["two?", "one?"]),
    sampled("a", ["three\nlines?"]),
    sampled("b", ["one?"], correct=0.25),
    sampled("b", ["one?", "two?"], invalid="too_many"),
    sampled("b", None),
    sampled("b", ["two?"], error="ValueError: could not be scored"),
]


def test_screening_keeps_what_led_to_the_right_answer_and_counts_the_rest():
    plans, counts = kept(EPISODES, 2, screen=True)
    assert [(one.problem.id, one.subquestions) for one in plans] == [("a", ["one?", "two?"]), ("a", ["two?", "one?"])]
    assert {one.attempt for one in plans} == {"I cannot tell."}
    assert counts == {
        "sampled": 9, "unusable": 3, "wrong": 2, "repeats": 1, "surplus": 1, "kept": 2, "problems": 2,
        "problems_without": 1,
    }  # fmt: skip
    assert kept(EPISODES, 9, screen=True)[0][-1].subquestions == ["three lines?"]


def test_without_screening_the_answers_are_not_looked_at():
    plans, counts = kept(EPISODES, 9, screen=False)
    assert [one.problem.id for one in plans] == ["a"] * 4 + ["b"]
    assert (counts["wrong"], counts["unusable"], counts["problems_without"]) == (0, 3, 0)


@pytest.mark.parametrize("screen", [False, True])
def test_an_episode_that_failed_teaches_nothing_whatever_it_has_so_far(screen):
    """Of lines written one by one the last that is there need not be the last that was written."""

    def failing(prompt: str, sample: int) -> str:
        if "has Bob" in prompt.rsplit("\nQ: ", 1)[1]:
            raise SolverFailure("solver_timeout")
        return by_question(prompt, sample)

    lines = [*PLAN, "Done."]
    found = {}
    for name, solver in (("whole", by_question), ("failed", failing)):
        engine = CharacterEngine(lambda _, number: lines[number])
        episode = episode_of(engine, ["strategy=interleaved"], Scripted(solver))
        item = Scored(Job(0, episode.problem, "interleaved", 0), episode, Reward({}, 1.0, {}, [], 1.0, 0.0))
        found[name] = episode, *kept([item], 2, screen=screen)
    episode, lessons, counts = found["failed"]
    assert (episode.outcome, episode.subquestions) == ("solver_timeout", PLAN[:2])
    assert (lessons, counts["unusable"], counts["kept"]) == ([], 1, 0)
    _, (lesson,), counts = found["whole"]
    assert (lesson.subquestions, counts["unusable"], counts["kept"]) == (PLAN, 0, 1)
    late = [replace(item, episode=replace(item.episode, outcome="episode_timeout")) for item in EPISODES]
    assert kept(late, 9, screen=screen)[1]["unusable"] == len(EPISODES)


# -- teachers' files --------------------------------------------------------------------------------------------


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path):
    """A data set of eight training and two held-out problems."""
    rows = [
        {"id": f"p-{n}", "question": f"What is {n} + 1?", "answer": str(n + 1), "subquestions": [f"What is {n}?"]}
        for n in range(10)
    ]
    write(tmp_path / "train.jsonl", rows[:8])
    write(tmp_path / "held_out.jsonl", rows[8:])
    return ["data=jsonl", f"data.root={tmp_path}", "data.train=train.jsonl", "data.held_out=held_out.jsonl"]


def source_of(files: list[str]):
    return make_source(compose(files).data)


def test_a_teacher_names_a_problem_or_brings_it(files, tmp_path):
    path = write(
        tmp_path / "teacher.jsonl",
        [
            {"id": "p-3", "subquestions": ["What  is\n3?", "And one more?"]},
            {"question": "what is 4 + 1", "answer": "wrong", "subquestions": ["What is 4?"], "attempt": "Six."},
            {"id": "p-3", "question": "What is new?", "answer": "7", "subquestions": ["What is old?"], "score": 0.5},
            {"question": "What is unanswered?", "subquestions": ["Why?"]},
            {"id": "p-5", "subquestions": None},
        ],
    )
    plans, counts = read_teacher(path, source_of(files), answers=False, skip_bad=False)
    assert counts == {"rows": 5, "bad_rows_skipped": 0, "without_subquestions": 1}
    assert plans[0] == Lesson(source_of(files).rows[3], ["What is 3?", "And one more?"])
    # The data set's own answer counts; a question of its own is a problem of its own, whatever its id.
    assert (plans[1].problem.id, plans[1].problem.answer, plans[1].attempt) == ("p-4", "5", "Six.")
    assert (plans[2].problem.question, plans[2].problem.answer) == ("What is new?", "7")
    assert plans[3].problem.answer_type == "text"


def test_bad_rows_of_a_teacher_are_named_all_at_once(files, tmp_path):
    path = write(
        tmp_path / "teacher.jsonl",
        [
            {"id": "p-1", "subquestions": ["fine?"]},
            {"id": "p-99", "subquestions": ["a?"]},
            {"id": "p-1", "subquestions": ["a?", " "]},
            {"id": "p-1", "subquestions": ["a?"], "attempt": 3},
            {"question": "New?", "subquestions": ["a?"]},
        ],
    )
    with pytest.raises(RecordError) as error:
        read_teacher(path, source_of(files), answers=True, skip_bad=False)
    head, *named = str(error.value).splitlines()
    assert head.startswith("4 bad rows")
    assert [line.split(": ")[0].rpartition(" ")[2] for line in named] == ["2", "3", "4", "5"]
    for line, field in zip(named, ("'question' is missing", "'subquestions'", "'attempt'", "'answer'"), strict=True):
        assert f"field {field}" in line
    plans, counts = read_teacher(path, source_of(files), answers=True, skip_bad=True)
    assert (len(plans), counts["bad_rows_skipped"]) == (1, 4)


def test_what_is_kept_is_itself_a_teachers_file(files, tmp_path):
    problem = source_of(files).rows[2]
    path = write(tmp_path / "distilled.jsonl", [Lesson(problem, ["a?", "b?"], "Four.").to_json()])
    elsewhere = make_source(compose([]).data)
    plans, _ = read_teacher(path, elsewhere, answers=True, skip_bad=False)
    assert [(one.problem.id, one.problem.answer, one.subquestions, one.attempt) for one in plans] == [
        (problem.id, problem.answer, ["a?", "b?"], "Four.")
    ]


# -- the mixture ------------------------------------------------------------------------------------------------


class Sampler(Worker):
    """Writes one of three plans, by the job's seed, or the one that it is given."""

    async def _run(self, job, life) -> None:
        self.jobs = [*getattr(self, "jobs", []), job]
        questions = job.given or [f"{'abc'[job.seed % 3]}?"]
        episode = Episode(job.problem, job.strategy, Attempt("tried"), Decomposition("", questions))
        self.done.put_nowait(Outcome(job, episode))


def gathered(overrides: list[str], folder: Path, unseen=lambda question: False):
    """The mixture, the counts and the jobs; the answers of every second problem are right."""
    config = compose(overrides)
    source, worker = make_source(config.data), Sampler()

    async def go():
        pipeline = Pipeline([Actor(worker)], ["solver"], [Actor(Rewarder())], folder, 5.0, 3)
        pipeline.start()
        try:
            return await ExampleSources(config, source).gather(unseen, pipeline, folder, lambda done, jobs: None)
        finally:
            await pipeline.stop()

    mixture, counts = asyncio.run(go())
    return mixture, counts, getattr(worker, "jobs", [])


def test_three_kinds_are_mixed_by_their_weights(files, tmp_path):
    teacher = write(tmp_path / "teacher.jsonl", [{"id": f"p-{n}", "subquestions": ["taught?"]} for n in (1, 2)])
    mixture, counts, jobs = gathered(
        [
            *files, "sft.problems=8", "sft.drop=0", "sft.sources.data.weight=2",
            f"+sft.sources.gpt={{kind: file, path: {teacher}}}", "+sft.sources.own={kind: distilled, samples: 6}",
        ],
        tmp_path,
    )  # fmt: skip
    names = collections.Counter(name for name, _ in mixture)
    assert names == {"data": 4, "gpt": 2, "own": 2}
    assert {name: entry["examples"] for name, entry in counts.items()} == dict(names)
    # Two problems are sampled from, six times each; which are odd, by their ids, the stand-in calls right.
    assert len(jobs) == counts["own"]["sampled"] == 12
    assert {job.strategy for job in jobs} == {"daslam"}
    assert len({job.seed for job in jobs}) == 12
    odd = {job.problem.id for job in jobs if int(job.problem.id[-1]) % 2}
    assert counts["own"]["problems_without"] == 2 - len(odd)
    assert {one.problem.id for name, one in mixture if name == "own"} == odd
    written = [json.loads(line) for line in (tmp_path / "own.jsonl").read_text().splitlines()]
    assert {row["id"] for row in written} == odd
    assert all(row["attempt"] == "tried" for row in written)


def test_given_plans_can_be_screened_and_samples_taken_as_they_come(files, tmp_path):
    mixture, counts, jobs = gathered(
        [*files, "sft.problems=8", "sft.sources.data.screen=true", "sft.drop=0", "sft.redundant=0"], tmp_path
    )
    assert counts["data"]["sampled"] == 8
    assert counts["data"]["wrong"] == counts["data"]["kept"] == 4
    assert [job.given for job in jobs] == [[f"What is {job.problem.id[-1]}?"] for job in jobs]
    assert collections.Counter(int(one.problem.id[-1]) % 2 for _, one in mixture) == {1: 8}
    overrides = [
        *files, "sft.problems=8", "sft.sources.data.weight=0", "+sft.sources.own={kind: distilled, screen: false}"
    ]  # fmt: skip
    _, counts, jobs = gathered(overrides, tmp_path)
    assert {job.strategy for job in jobs} == {"decompose_only"}
    assert counts["own"]["wrong"] == counts["own"]["problems_without"] == 0


def test_questions_that_are_held_out_are_left_out_of_every_source(files, tmp_path):
    held_out = write(
        tmp_path / "teacher.jsonl",
        [{"question": f"What is {n} + 1?", "answer": "9", "subquestions": ["a?"]} for n in (7, 8)],
    )
    overrides = [*files, "sft.problems=4", f"+sft.sources.gpt={{kind: file, path: {held_out}}}"]
    mixture, counts, _ = gathered(overrides, tmp_path, make_source(compose(files).data).is_held_out)
    assert counts["gpt"]["held_out_dropped"] == 1
    assert {one.problem.id for name, one in mixture if name == "gpt"} == {"p-7"}


def test_a_source_of_which_nothing_is_left_is_an_error_that_says_why(files, tmp_path):
    overrides = [
        *files,
        "sft.problems=8",
        "sft.sources.data.weight=0",
        "+sft.sources.own={kind: distilled, samples: 2}",
    ]
    with pytest.raises(
        RecordError, match=r"sft.sources.own \(distilled\) has no example .*sampled 16, .*held_out_dropped"
    ):
        gathered(overrides, tmp_path, lambda question: True)


@pytest.mark.parametrize(
    ("having", "rows", "more", "said"),
    [
        ({}, 3, [], "none of 3 training rows has sub-questions, which stage sft learns from (sft.sources.data)"),
        ({0: []}, 1, [], "none of 1 training rows has sub-questions"),
        ({0: ["Define x."], 1: ["Define y.", "Add."]}, 2, ["data.questions_only=true"],
         "none of 2 training rows has sub-questions that end in a question mark (data.questions_only left out 3 "),
    ],
)  # fmt: skip
def test_a_data_set_without_subquestions_is_refused_at_once_with_its_number_and_what_helps(
    files, tmp_path, having, rows, more, said
):
    write(
        tmp_path / "train.jsonl",
        [
            {"id": f"p-{n}", "question": f"What is {n} plus 1?", "answer": "1", "subquestions": having.get(n)}
            for n in range(rows)
        ],
    )
    config = compose([*files, *more])
    with pytest.raises(RecordError) as error:
        ExampleSources(config, make_source(config.data))
    assert str(error.value).startswith(said)
    assert "allowed: rows with 'subquestions'" in str(error.value)
    assert "sft=distilled" in str(error.value)


def test_rows_without_subquestions_use_up_nothing_of_the_draw_and_are_counted(files, tmp_path):
    rows = [
        {"id": f"p-{n}", "question": f"What is {n} plus 1?", "answer": "1", "subquestions": ["a?"] if n % 3 else None}
        for n in range(60)
    ]
    write(tmp_path / "train.jsonl", rows)
    mixture, counts, _ = gathered([*files, "sft.problems=24"], tmp_path)
    assert len({one.problem.id for _, one in mixture}) == 24
    assert counts["data"] == {
        "problems": 24, "rows": 24, "without_subquestions": 20, "held_out_dropped": 0, "examples": 24,
    }  # fmt: skip
    assert in_words(24, counts) == (
        "stage 1 has 24 examples (data 24 from 24 rows); 20 rows without sub-questions were passed over"
    )
    # More than there are: they are gone through again.
    mixture, counts, _ = gathered([*files, "sft.problems=100"], tmp_path)
    assert (len(mixture), counts["data"]["rows"]) == (100, 40)
    # A source that samples needs no sub-questions.
    drawn = "+sft.sources.own={kind: distilled, screen: false, samples: 1, weight: 1}"
    _, _, jobs = gathered([*files, "sft.problems=120", drawn], tmp_path)
    assert len({job.problem.id for job in jobs}) == 60


def test_a_problem_that_is_drawn_again_gets_samples_of_its_own(files, tmp_path):
    sampled = "+sft.sources.own={kind: distilled, screen: false, samples: 2}"
    found = {
        share: gathered([*files, f"sft.problems={share}", "sft.sources.data.weight=0", sampled], tmp_path)[2]
        for share in (8, 20)
    }
    once, again = ([(job.problem.id, job.seed) for job in jobs] for jobs in found.values())
    assert (len(once), len(again), len(set(again))) == (16, 40, 40)
    assert again[:16] == once, "the first pass is what it was"
    assert once[:2] == [(once[0][0], sampling_seed(0, f"own {once[0][0]}", 0, sample)) for sample in (0, 1)]


def test_examples_of_several_sources_are_told_in_a_line():
    data = {"problems": 5, "without_subquestions": 0, "examples": 5}
    assert in_words(5, {"data": data}) == "stage 1 has 5 examples (data 5)"
    others = {"data": data | {"rows": 4, "without_subquestions": 1}, "gpt": {"rows": 9, "examples": 2}}
    assert in_words(20, others) == (
        "stage 1 has 20 examples (7 decompositions: data 5 from 4 rows, gpt 2); "
        "1 row without sub-questions was passed over"
    )


def test_a_misspelt_field_of_subquestions_is_named_where_there_are_none(files, tmp_path):
    write(tmp_path / "train.jsonl", [{"id": "p-1", "question": "Why?", "answer": "1", "sub_questions": ["How?"]}])
    config = compose(files)
    with pytest.raises(RecordError) as error:
        ExampleSources(config, make_source(config.data))
    said = "none of 1 training rows has sub-questions, but sub_questions (did you mean subquestions?), which stage sft"
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("sources", ["own={kind: distilled}", "gpt={kind: file, path: TEACHER}"])
def test_a_data_set_without_subquestions_will_do_where_they_come_from_elsewhere(files, tmp_path, sources):
    teacher = write(tmp_path / "teacher.jsonl", [{"id": "p-1", "subquestions": ["taught?"]}])
    write(tmp_path / "train.jsonl", [{"id": "p-1", "question": "Why?", "answer": "1"}])
    source = f"+sft.sources.{sources.replace('TEACHER', str(teacher))}"
    config = compose([*files, "sft.sources.data.weight=0", source])
    ExampleSources(config, make_source(config.data))
