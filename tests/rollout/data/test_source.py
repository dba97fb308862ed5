"""Files of problems: bad rows, overlap of the splits, what is held out."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest

from conf.schema.base import ConfigError
from conf.schema.data import Data
from launch.compose import compose
from launch.train import main
from rollout.data.bad_rows import BadRow
from rollout.data.files import Files, normalised, read_all
from rollout.data.source import check_held_out, check_solutions, make_source, what_was_read
from rollout.records import RecordError


def row(number: int, **changes: object) -> dict[str, object]:
    return {"id": f"p{number}", "question": f"What is {number} + 1?", "answer": str(number + 1)} | changes


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in rows))
    return path


def files(train: list[Path], held_out: list[Path], **settings: Any) -> Files:
    paths = {"train": [str(path) for path in train], "held_out": [str(path) for path in held_out]}
    return Files(Data(source="files", root=".", **paths, **settings))


def taken(source: Files, count: int) -> set[str]:
    return {problem.id for problem in itertools.islice(source.train(0), count)}


@pytest.fixture
def twenty(tmp_path: Path) -> Path:
    """Twenty rows, two of them bad."""
    rows: list[object] = [row(number) for number in range(20)]
    rows[4] = row(4, question=7)
    rows[16] = row(16, answer="as many as before")
    return write(tmp_path / "mine.jsonl", rows)


def test_one_error_names_file_line_and_field_of_every_bad_row(twenty):
    with pytest.raises(RecordError) as error:
        files([twenty], [], held_out_share=0.1)
    head, *named = str(error.value).splitlines()
    assert head.startswith("2 bad rows")
    assert "data.on_bad_row=skip" in head
    assert [line.strip().rpartition(", found ")[0] or line.strip() for line in named] == [
        f"{twenty}, line 5: field 'question' must be a non-empty string",
        f"{twenty}, line 17: field 'answer' is 'as many as before', which can be no answer of type 'number'; write the "
        "number alone, as 12, -2.5 or 3/4, or name its answer_type",
    ]


def test_rows_in_which_the_same_is_wrong_are_one_line_and_a_misspelt_field_is_named(tmp_path):
    rows = [row(n, sub_questions=["a?"]) for n in range(60)]
    for one in rows[2:]:
        del one["answer"]
    path = write(tmp_path / "mine.jsonl", [*rows, *[row(n, question=n) for n in range(100, 160)]])
    with pytest.raises(RecordError) as error:
        files([path], [])
    head, same, *named, more, unread = str(error.value).splitlines()
    assert head.startswith("118 bad rows")
    assert same == f"  {path}, 58 rows (lines 3, 4, 5, 6, 7, …): field 'answer' is missing"
    assert len(named) == 49
    assert more == "  and 11 more"
    assert unread == "  not read: sub_questions (did you mean subquestions?)"


def test_a_row_without_an_id_gets_one_from_its_question_that_stays(tmp_path):
    def ids(*questions: str) -> list[str]:
        rows: list[object] = [{"question": question, "answer": 1} for question in questions]
        return [problem.id for problem in read_all([write(tmp_path / "rows.jsonl", rows)], [])]

    one, other, again = ids("Why?", "How?", " why ")
    assert len({one, other, again}) == 3
    assert again == f"{one}-2"
    assert ids("When?", "How?", "Why?", "Why?", "Who?")[1:4] == [other, one, again]
    bad: list[BadRow] = []
    read_all([write(tmp_path / "rows.jsonl", [{"id": None, "answer": 1}])], bad)
    assert bad[0].error == "field 'question' is missing"


def test_choices_may_be_numbers(tmp_path):
    rows = [row(1, answer="B", answer_type="choice", choices=[4, 5.5, "6"])]
    (problem,) = read_all([write(tmp_path / "rows.jsonl", rows)], [])
    assert problem.choices == ["4", "5.5", "6"]


def test_the_first_rows_are_told_as_they_were_read(tmp_path):
    rows = [row(1, answer=16, subquestions=["a?", "b?"], solution="x"), row(2, question="Why? " * 50), row(3)]
    source = files([write(tmp_path / "rows.jsonl", rows)], [])
    counts, first, second = what_was_read(source)
    assert counts.startswith("problems: train 3, held_out 0, ")
    assert first == "  p1: What is 1 + 1? → 16 (number, 2 sub-questions, a solution)"
    assert second.startswith("  p2: Why? Why?")
    assert second.endswith("… → 3 (number)")
    held_out = files([], [tmp_path / "rows.jsonl"])
    assert len(what_was_read(held_out, 5)) == 1 + 3
    assert what_was_read(make_source(compose([]).data)) == []


def test_fields_that_may_be_misspelt_are_told_and_others_are_not(tmp_path):
    rows = [row(1, sub_questions=["a?"], level=2, answer_aliases=["one"]), row(2, choises=[], context="x", subject="y")]
    told = what_was_read(files([write(tmp_path / "rows.jsonl", rows)], []))
    assert told[3:] == ["  not read: sub_questions (did you mean subquestions?), choises (did you mean choices?)"]


def test_skipping_counts(twenty):
    source = files([twenty], [], held_out_share=0.2, on_bad_row="skip")
    assert source.report["bad_rows_skipped"] == 2
    assert source.report["train"] + source.report["held_out"] == 18
    assert taken(source, 100).isdisjoint({"p4", "p16"})


def test_the_command_says_the_bad_rows_and_starts_nothing(twenty, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["data=jsonl", f"data.train={twenty}", f"run_dir={folder}"]) == 2
    said = capsys.readouterr().err
    assert "line 5: field 'question'" in said
    assert "line 17: field 'answer'" in said
    assert "Traceback" not in said
    assert not folder.exists()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "a", "question": ', "no JSON: Expecting value at column 24"),
        ("[1]", "expected an object, found list"),
        (
            row(1, choices=["3", "4"], answer_type="choice", answer="C"),
            "field 'answer' is 'C', which can be no answer of type 'choice' with 2",
        ),
        (row(1, answer_type="boolean", answer="maybe"), "field 'answer' is 'maybe'"),
        (row(1, answer_type="essay"), "field 'answer_type' is 'essay'; allowed: number"),
        (row(1, subquestions="one?"), "field 'subquestions' must be a list of non-empty strings or null"),
        (row(1, subquestions=["one?", " "]), "field 'subquestions' must be a list of non-empty strings or null"),
        (row(0, question="Another?"), "field 'id' is 'p0', which "),
    ],
)
def test_what_is_wrong_with_a_row_is_said(line, reason, tmp_path):
    bad: list[BadRow] = []
    read_all([write(tmp_path / "some.jsonl", [row(0), line])], bad)
    assert len(bad) == 1
    assert str(bad[0]).partition("some.jsonl, line 2: ")[2].startswith(reason)


def test_a_row_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(row(0)).encode() + b'\n{"id": "caf\xe9"}\n')
    bad: list[BadRow] = []
    assert len(read_all([path], bad)) == 1
    assert [str(one) for one in bad] == [f"{path}, line 2: no UTF-8: byte 12"]


def test_training_rows_that_are_held_out_are_dropped_and_counted_or_refused(tmp_path):
    train = write(tmp_path / "train.jsonl", [row(number) for number in range(6)])
    copies = [row(2, id="h2", question="  what is 2+1"), row(9, id="h9"), row(9, id="again")]
    held_out = write(tmp_path / "test.jsonl", copies)
    source = files([train], [held_out])
    assert taken(source, 50) == {"p0", "p1", "p3", "p4", "p5"}
    assert source.report == {
        "train": 5, "held_out": 3, "bad_rows_skipped": 0, "overlap_dropped": 1, "train_repeats": 0,
        "held_out_repeats": 1,
    }  # fmt: skip
    with pytest.raises(RecordError, match=r"1 training questions are held out too \(p2 = h2\)"):
        files([train], [held_out], on_overlap="refuse")
    with pytest.raises(RecordError, match="no training problem is left"):
        files([held_out], [held_out])


def test_repeated_questions_are_named_by_their_lines_and_every_row_is_used(tmp_path):
    rows: list[object] = [row(n) for n in range(4)]
    train = write(tmp_path / "train.jsonl", [*rows, row(1, id="again"), *[row(3, id=f"more-{n}") for n in range(6)]])
    held_out = write(tmp_path / "test.jsonl", [row(8), row(8, id="p1", question="what is 8 + 1")])
    source = files([train], [held_out])
    assert (source.report["train_repeats"], source.report["held_out_repeats"]) == (7, 1)
    assert taken(source, 11) == {"p0", "p1", "p2", "p3", "again", *(f"more-{n}" for n in range(6))}
    assert {problem.id for problem in source.held_out(9)} == {"p8", "p1"}
    assert what_was_read(source)[3:] == [
        "  repeated questions among the training rows, each of which is trained on: "
        f"{train}, line 5 repeats line 2; {train}, line 6 repeats line 4; {train}, line 7 repeats line 4; "
        f"{train}, line 8 repeats line 4; {train}, line 9 repeats line 4; and 2 more",
        "  repeated questions among the held-out rows, each of which is evaluated and none trained on: "
        f"{held_out}, line 2 repeats line 1",
    ]
    several = files([write(tmp_path / "one.jsonl", [row(99)]), train], [], held_out_share=0.5)
    assert f"{train}, line 5 repeats line 2" in " ".join(several.repeated)


def test_sub_questions_that_ask_nothing_are_left_out_and_counted(tmp_path):
    plans = [
        ["Define a variable", "How many?", 'What is "five"?"', "多少？", "Write an equation"],
        ["Simplify"],
        # Numbers would point elsewhere if one were taken out.
        ["Name a river", "Is #1 long?"],
    ]  # fmt: skip
    train = write(tmp_path / "train.jsonl", [row(n, subquestions=plan) for n, plan in enumerate(plans)])
    last = row(8, subquestions=["Combine like terms", "How?"], subanswers=["2x", "9"])
    held_out = write(tmp_path / "test.jsonl", [last])
    source = files([train], [held_out], questions_only=True)
    assert [problem.subquestions for problem in source.rows] == [
        ["How many?", 'What is "five"?"', "多少？"],
        [],
        plans[2],
    ]
    (problem,) = source.held_out(9)
    assert (problem.subquestions, problem.meta["subanswers"]) == (["How?"], ["9"])
    assert source.report["no_questions_dropped"] == 4
    whole = files([train], [held_out])
    assert [problem.subquestions for problem in whole.rows] == plans
    assert "no_questions_dropped" not in whole.report


def test_an_empty_list_of_sub_questions_is_none(tmp_path):
    (problem,) = read_all([write(tmp_path / "rows.jsonl", [row(1, subquestions=[])])], [])
    assert problem.subquestions is None


def test_rows_are_chosen_by_the_number_and_the_answers_of_their_sub_questions(tmp_path):
    answers = [["24", "72"], ["24"], ["Let S be it.", "12"], ["1,440", "-2.5", "8 pens"], None]
    asked = [["a?"] * len(one or "xy") for one in answers]
    rows = [row(n, subquestions=asked[n], subanswers=answers[n]) for n in range(5)]
    train = write(tmp_path / "train.jsonl", rows)
    held_out = write(tmp_path / "test.jsonl", [rows[1], row(8, subquestions=["a?", "b?"])])
    chosen = files([train], [], subquestions=[2, 3], numeric_subanswers=True)
    assert [problem.id for problem in chosen.rows] == ["p0", "p3"]
    assert chosen.report["other_rows_dropped"] == 3
    assert [problem.id for problem in files([train], [], numeric_subanswers=True).rows] == ["p0", "p1", "p3"]
    by_number = files([train], [], subquestions=[2])
    assert [problem.id for problem in by_number.rows] == ["p0", "p2", "p4"]
    assert "other_rows_dropped" not in files([train], []).report
    both = files([train], [held_out], subquestions=[2])
    assert [problem.id for problem in both.held_out(9)] == ["p8"]
    assert both.report["other_rows_dropped"] == 2, "a training row that is held out is none of them"
    assert both.is_held_out(str(rows[1]["question"]))
    with pytest.raises(RecordError, match="no training problem is left"):
        files([train], [], subquestions=[7])


def test_a_plan_whose_questions_refer_to_others_by_number_stays_as_it_was_written(tmp_path):
    plain, referring = ["a?", "b?", "c?"], ["a?", "Is #1 b?", "Is #2 c?"]
    rows = [row(0, subquestions=plain), row(1, subquestions=referring)]
    source = files([write(tmp_path / "train.jsonl", rows)], [])
    rng = random.Random(0)
    plans = [
        [source.imperfect_decomposition(problem, rng, 0.3, 0.5, 0.5) for _ in range(20)] for problem in source.rows
    ]
    assert any(plan != plain for plan in plans[0])
    assert all(plan == referring for plan in plans[1])


@pytest.mark.parametrize(("one", "other"), [("x + 2", "x - 2"), ("3.5 km", "35 km"), ("f'(x)", "f(x)"), ("5!", "5")])
def test_questions_that_differ_in_more_than_writing_are_not_the_same(one, other):
    same = normalised(f"What is {one} now?") == normalised(f"What is {other} now?")
    assert same == (one == "5!"), "only a factorial before a space is mistaken for a full stop"


def test_questions_that_differ_in_writing_are_the_same():
    assert normalised("“How  many”, is $x+1$?") == normalised('"how many" is x + 1')
    assert normalised("Amy’s ﬁve pens.") == normalised("amy's five pens")


def test_without_held_out_files_a_fixed_share_of_the_questions_is_held_out(tmp_path):
    rows = [row(number) for number in range(300)]
    path = write(tmp_path / "all.jsonl", rows)
    source = files([path], [], held_out_share=0.2)
    held = {problem.id for problem in source.held_out(1000)}
    assert 40 < len(held) < 80
    assert taken(source, 300) == {f"p{number}" for number in range(300)} - held
    write(path, [*reversed(rows), row(500)])
    assert {problem.id for problem in files([path], [], held_out_share=0.2).held_out(1000)} - {"p500"} == held


def test_held_out_problems_are_always_the_same_and_not_the_first_rows(tmp_path):
    path = write(tmp_path / "sorted.jsonl", [row(number) for number in range(100)])
    drawn = [problem.id for problem in files([], [path]).held_out(10)]
    assert drawn == [problem.id for problem in files([], [path]).held_out(10)]
    assert drawn == [problem.id for problem in files([], [path]).held_out(50)][:10]
    assert max(int(name[1:]) for name in drawn) > 30


def test_what_has_no_training_rows_says_so(tmp_path):
    source = files([], [write(tmp_path / "test.jsonl", [row(1)])])
    with pytest.raises(RecordError, match=r"stages=\[evaluate\]"):
        next(source.train(0))


# Rows of each split, and training rows that are held out too, as docs/data.md says.
@pytest.mark.parametrize("stages", ["[ppo,evaluate]", "[evaluate]", "[ppo]"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_share_that_holds_nobody_out_is_refused_at_the_start_where_somebody_is_needed(
    tmp_path, capsys, stages, count
):
    path = write(tmp_path / "few.jsonl", [row(number) for number in range(count)])
    overrides = [
        f"stages={stages}", "data=jsonl", f"data.root='{tmp_path}'", f"data.train={path.name}", "solver=program",
        "data.held_out_share=0.0001", "evaluation.every=1", f"run_dir='{tmp_path}/run'",
    ]  # fmt: skip
    assert main(overrides) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"data.held_out_share: none of {count} rows is held out with 0.0001")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("solved", "rewards", "said"), [
    ([], "solution_likelihood", "none of . rows has a solution"), ([1], "solution_likelihood", None),
    ([], "solver_likelihood", None), ([], "outcome", None),
])  # fmt: skip
def test_paying_for_a_solution_that_no_row_has_is_refused(tmp_path, solved, rewards, said):
    rows = [
        row(number, **({"solution": f"{number} + 1 = {number + 1}"} if number in solved else {})) for number in range(3)
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    config = compose(["data=jsonl", f"data.root='{tmp_path}'", f"data.train={path.name}", f"rewards={rewards}"])
    source = make_source(config.data)
    if said is None:
        check_solutions(config, source)
        return
    with pytest.raises(ConfigError, match=f"strategy.gold_template: .*'{{solution}}', and {said}; allowed: "):
        check_solutions(config, source)


def test_nobody_needs_to_be_held_out_where_nothing_is_evaluated(tmp_path):
    path = write(tmp_path / "one.jsonl", [row(1)])
    given = ["stages=[ppo]", "data=jsonl", f"data.root='{tmp_path}'", f"data.train={path.name}", "algorithm.steps=2"]
    config = compose(given)
    check_held_out(config, make_source(config.data))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"question": "How many \ud83d pens?"}, r"field 'question' holds \ud83d"),
        ({"subquestions": ["How many?", "\ude00?"]}, r"field 'subquestions' holds \ude00"),
        ({"answer_type": "text", "answer": "\udfff"}, r"field 'answer' holds \udfff"),
        ({"topic": {"name": "\ud800x"}}, r"field 'topic' holds \ud800"),
        ({"\ud83d": 1}, r"field '\ud83d' holds \ud83d"),
    ],
)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_half_a_character_makes_a_bad_row(tmp_path, changes, said, split):
    whole = write(tmp_path / "whole.jsonl", [row(number) for number in range(5, 9)])
    path = write(tmp_path / "half.jsonl", [row(1, **changes), row(2, question="What is \U0001f600 2 + 1?"), row(3)])
    both = ([path], [whole]) if split == "train" else ([whole], [path])
    with pytest.raises(RecordError) as error:
        files(*both)
    assert f"{path}, line 1: {said}, which is half a character" in str(error.value)
    assert files(*both, on_bad_row="skip").report["bad_rows_skipped"] == 1


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("Takes", "{wrong: 1}", r"data\.options: 'made_of:Takes' could not be made \(TypeError: .*'wrong'.*\); a"),
        ("Fails", "{}", r"data\.source: 'made_of:Fails' could not be made \(OSError: no such place\); allowed"),
        ("Lacks", "{}", r"data\.source: 'made_of:Lacks' has no is_held_out; allowed: a class with report, rows, "),
    ],
)
def test_a_source_of_ones_own_that_cannot_be_made_is_refused_in_one_line(name, options, said, tmp_path, monkeypatch):
    (tmp_path / "made_of.py").write_text(
        "class Takes:\n    def __init__(self, top=9): pass\n"
        "class Fails:\n    def __init__(self): raise OSError('no such\\nplace')\n"
        "class Lacks:\n    report, rows = {}, ()\n    def train(self, seed): ...\n    def held_out(self, count): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = compose([f"data.source=made_of:{name}", f"+data.options={options}"])
    with pytest.raises(ConfigError, match=said) as refused:
        make_source(config.data)
    assert "\n" not in str(refused.value)
