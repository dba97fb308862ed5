"""Stage 1's examples for a decomposer that writes one text after another."""

from __future__ import annotations

import pytest

from launch.compose import compose
from rollout.data.chained import generate
from rollout.data.source import make_source
from rollout.data.worked import gold_replies
from rollout.episode.prompts import Prompts
from rollout.json_lines import write_lines
from rollout.records import Problem, RecordError
from tests.rollout.fakes import PLAN, PROBLEM, CharacterEngine, Scripted, by_question, episode_of
from trainer.stages.fine_tuning_examples import Lesson, read_teacher
from trainer.stages.line_examples import concepts_of, judged, line_examples

REPLIES = ["Ann has 3 pens.", "Bob has 6 pens."]


def test_examples_are_what_the_decomposer_reads_and_writes_in_an_episode():
    texts = ["Doubling.", *PLAN, "Done."]
    engine = CharacterEngine(lambda prompt, number: texts[number])
    episode_of(engine, ["strategy=lm2"], Scripted(by_question))
    prompts = Prompts.of(compose(["strategy=lm2"]))
    found = line_examples(prompts, PROBLEM, PLAN, REPLIES, "The answer is 5.", "Doubling.")
    assert [prompt for prompt, _ in found] == engine.prompts
    assert [completion for _, completion in found] == [f"{text}\n" for text in texts]


def test_without_concepts_there_is_an_example_for_each_sub_question_and_the_end_mark():
    prompts = Prompts.of(compose(["strategy=interleaved"]))
    found = line_examples(prompts, PROBLEM, PLAN, REPLIES, "5", None)
    assert [completion for _, completion in found] == [*(f"{question}\n" for question in PLAN), "Done.\n"]


def test_concepts_come_from_the_decomposer_the_data_or_the_generator():
    lm2, interleaved = (compose([f"strategy={name}"]).strategy for name in ("lm2", "interleaved"))
    problem = next(generate(0, "train", {3: 1.0}))
    words = concepts_of(problem, lm2)
    assert set(words.split(", ")) <= {"addition", "subtraction", "multiplication", "halving", "sum"}
    assert concepts_of(problem, lm2, "own  words") == "own words"
    assert concepts_of(Problem("p", "?", "1", meta={"concepts": "area"}), lm2) == "area"
    equations = {"equations": ["48/2=24", "48+24+2=74", "74/2=37"]}
    assert concepts_of(Problem("p", "?", "1", meta=equations), lm2) == "division, addition"
    assert concepts_of(PROBLEM, interleaved) is None
    with pytest.raises(RecordError, match=r"no 'concepts'.*strategy.concepts=false"):
        concepts_of(PROBLEM, lm2)


def test_gold_steps_stand_in_for_replies_where_there_are_enough():
    problem = Problem("p", "?", "9", solution="3\n\n6\n9")
    assert gold_replies(problem, 2) == ["3", "6"]
    assert gold_replies(problem, 4) is None
    assert gold_replies(PROBLEM, 1) is None


def test_some_prompts_show_a_sub_question_that_was_refused_and_the_right_one_is_learned():
    prompts = Prompts.of(compose(["strategy=lm2"]))
    plain = line_examples(prompts, PROBLEM, PLAN, REPLIES, "5", None)
    assert line_examples(prompts, PROBLEM, PLAN, REPLIES, "5", None, refused=0.0) == plain
    seen = set()
    for seed in range(80):
        found = line_examples(prompts, PROBLEM, PLAN, REPLIES, "5", None, refused=1.0, seed=seed)
        assert [line for _, line in found] == [line for _, line in plain]
        assert found[-1] == plain[-1], "before the end nothing is refused"
        (first, _), (second, _), _ = found
        seen |= {first.removeprefix(plain[0][0]), second.removeprefix(plain[1][0])}
    ann, bob = PLAN
    assert seen == {f"{bob}\nRefused: procedural\n"} | {
        f"{question}\nRefused: {verdict}\n"
        for question in (ann, bob) for verdict in ("conceptual", "misunderstood", "first_step")
    }  # fmt: skip


def test_only_lm2_has_refused_sub_questions_to_show():
    assert judged(compose(["strategy=lm2"]).strategy)
    for overrides in (["strategy=interleaved"], ["strategy=lm2", "strategy.retries=0"],
                      ["strategy=lm2", "strategy.refused_template=''"]):  # fmt: skip
        assert not judged(compose(overrides).strategy)


@pytest.mark.parametrize("written", ["own words", None])
def test_a_runs_own_examples_serve_as_a_teachers_file_on_generated_data(written, tmp_path):
    config = compose(["data=branched", "strategy=lm2"])
    source = make_source(config.data)
    problem = next(source.train(0))
    concepts = concepts_of(problem, config.strategy, written)
    write_lines(tmp_path / "data.jsonl", [Lesson(problem, PLAN, "5", REPLIES, concepts).to_json()])
    (again,), _ = read_teacher(tmp_path / "data.jsonl", source, answers=True, skip_bad=False)
    assert concepts_of(again.problem, config.strategy, again.concepts) == concepts


def test_a_teachers_concepts_come_before_those_of_the_row_that_the_data_set_has(tmp_path):
    row = {"id": "p", "question": "How many?", "answer": "5", "subquestions": PLAN, "concepts": "area"}
    write_lines(tmp_path / "train.jsonl", [row])
    write_lines(
        tmp_path / "teacher.jsonl",
        [{"id": "p", "subquestions": PLAN} | more for more in ({"concepts": ["sum", "carry"]}, {})],
    )
    config = compose(
        [
            "data=jsonl",
            f"data.root='{tmp_path}'",
            "data.train=train.jsonl",
            "data.held_out_share=0",
            "stages=[sft]",
            "strategy=lm2",
        ]
    )
    lessons, _ = read_teacher(tmp_path / "teacher.jsonl", make_source(config.data), answers=True, skip_bad=False)
    found = [concepts_of(lesson.problem, config.strategy, lesson.concepts) for lesson in lessons]
    assert found == ["sum, carry", "area"]
