"""Answers in files of problems: which are read, and what is said to write in place of the others."""

from __future__ import annotations

import pytest

from rollout.answers.mark import score
from rollout.data.bad_rows import BadRow, meant
from rollout.data.files import read_all
from rollout.data.worked import worked
from tests.rollout.data.test_source import row, write


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("16", "16"), ("16.0", "16"), ("-3", "-3"), ("2.50", "2.5"), ("0.1", "0.1"), ("1e3", "1000"),
        ("1.5e-7", "0.00000015"),
        ("12345678901234567890", "12345678901234567890"), ("12345678901234567.25", "12345678901234567.25"), ("0", "0"),
        ("-0.0", "0"), ("1E+2", "100"), ("100", "100"), ('"1e3"', "1e3"), ('" 16"', " 16"),
    ],
)  # fmt: skip
def test_an_answer_that_is_a_json_number_is_read_as_a_person_writes_it(tmp_path, written, read):
    text = f'{{"id": 7, "question": "How many?", "answer": {written}}}\n'
    bad: list[BadRow] = []
    (problem,) = read_all([write(tmp_path / "rows.jsonl", [text.strip()])], bad)
    assert (problem.answer, problem.id, bad) == (read, "7", [])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("true", 'field \'answer\' must be a text or a number, found true; write "yes", and "answer_type": "boolean"'),
        ("[16]", "field 'answer' must be a text or a number, found [16]; write \"16\""),
        ('["A", "C"]', "field 'answer' must be a text or a number, found ['A', 'C']; write \"AC\""),
        (
            '["Ulm", "the city of Ulm"]',
            "field 'answer' must be a text or a number, found ['Ulm', 'the city of Ulm']; write "
            'one answer; of answer_type "text", its other forms may be in "answer_aliases"',
        ),
        ("[true]", "field 'answer' must be a text or a number, found [True]; write the answer alone"),
        ('{"value": 16}', "field 'answer' must be a text or a number, found {'value': 16}; write the answer alone"),
        ("NaN", "field 'answer' must be a finite number, found nan"),
        ("-Infinity", "field 'answer' must be a finite number, found -inf"),
        ('""', "field 'answer' must be a non-empty string, found ''"),
        ("null", "field 'answer' is missing"),
    ],
)
def test_an_answer_that_is_neither_text_nor_number_is_refused_with_what_to_write(tmp_path, written, said):
    bad: list[BadRow] = []
    file = write(tmp_path / "rows.jsonl", [f'{{"id": "1", "question": "How many?", "answer": {written}}}'])
    assert read_all([file], bad) == []
    assert [str(one) for one in bad] == [f"{file}, line 1: {said}"]


@pytest.mark.parametrize(("written", "read"), [(True, "yes"), (False, "no"), ("yes", "yes")])
def test_true_and_false_are_answers_of_yes_and_no(tmp_path, written, read):
    bad: list[BadRow] = []
    (problem,) = read_all([write(tmp_path / "rows.jsonl", [row(1, answer=written, answer_type="boolean")])], bad)
    assert (problem.answer, bad) == (read, [])


@pytest.mark.parametrize(
    ("answer", "kind", "remedy"),
    [
        ("about twelve", "number", "write the number alone, as 12, -2.5 or 3/4, or name its answer_type"),
        ("approximately 12", "number", "write the number alone"),
        ("approx. 12", "integer", "write the number alone"),
        ("≈ 12", "numeric", "write the number alone"),
        ("~12", "number", "write the number alone"),
        ("close to 12 km", "number", "write the number alone"),
        ("room 12", "number", "write the number alone"),
        ("yes", "number", "write the number alone"),
        (1, "boolean", "write yes or no"),
        ("E", "choice", "write the letter of one of its choices"),
        ("A and F", "multi_choice", "write the letters of its choices, as AC"),
    ],
)
def test_a_gold_answer_that_nobody_could_give_is_refused_with_what_to_write(tmp_path, answer, kind, remedy):
    bad: list[BadRow] = []
    read_all([write(tmp_path / "rows.jsonl", [row(1, answer=answer, answer_type=kind, choices=["3", "4"])])], bad)
    (said,) = map(str, bad)
    assert f"field 'answer' is '{answer}', which can be no answer of type '{kind}'" in said
    assert f"; {remedy}" in said


@pytest.mark.parametrize(
    ("aliases", "read"),
    [
        ("United States", ["United States"]),
        (1776, ["1776"]),
        (["United States", 1776, 0.50], ["United States", "1776", "0.5"]),
        ([], []),
    ],
)
def test_other_forms_of_an_answer_are_a_text_a_number_or_a_list_of_them(tmp_path, aliases, read):
    bad: list[BadRow] = []
    rows = [row(1, answer="USA", answer_type="text", answer_aliases=aliases)]
    rows += [row(2, answer="USA", answer_type="text", meta={"answer_aliases": aliases})]
    for problem in read_all([write(tmp_path / "rows.jsonl", rows)], bad):
        assert problem.meta["answer_aliases"] == read
        assert [score(problem, answer) for answer in ("USA", *read)] == [1.0] * (1 + len(read))
        assert [score(problem, answer) for answer in ("U", "t", "17", "Paris")] == [0.0] * 4
    assert bad == []


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        (["US", None], "field 'answer_aliases[1]' must be a text or a number, found None; write the answer alone"),
        ([["US"]], "field 'answer_aliases[0]' must be a text or a number, found ['US']; write \"US\""),
        (["US", " "], "field 'answer_aliases[1]' must be a non-empty string, found ' '"),
        ({"short": "US"}, "field 'answer_aliases' must be a text, a number or a list of them, found {'short': 'US'}"),
        (False, "field 'answer_aliases' must be a text, a number or a list of them, found False"),
    ],
)
def test_other_forms_of_an_answer_that_are_neither_text_nor_number_are_refused(tmp_path, aliases, said):
    bad: list[BadRow] = []
    file = write(tmp_path / "rows.jsonl", [row(1, answer="USA", answer_type="text", answer_aliases=aliases)])
    assert read_all([file], bad) == []
    assert [str(one) for one in bad] == [f"{file}, line 1: {said}"]


def test_an_answer_without_other_forms_may_have_null_for_them(tmp_path):
    bad: list[BadRow] = []
    rows = [row(1, answer="USA", answer_type="text", answer_aliases=None)]
    rows += [row(2, answer="USA", answer_type="text", meta={"answer_aliases": None})]
    found = read_all([write(tmp_path / "rows.jsonl", rows)], bad)
    assert [score(problem, "usa") for problem in found] == [1.0, 1.0]
    assert [score(problem, "Paris") for problem in found] == [0.0, 0.0]


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_solution_is_none(tmp_path, blank):
    (problem,) = read_all([write(tmp_path / "rows.jsonl", [row(1, solution=blank)])], [])
    assert problem.solution is None


@pytest.mark.parametrize(
    "answer",
    ["12", "-3", "minus 3", "twelve", "$12", "USD 12", "Rs. 500", "12 km", "5~cm", "x = 5", r"\frac{3}{4}", "½", "3/4",
     "1,200", r"\text{12 cm}", "25 %"],
)  # fmt: skip
def test_a_gold_number_may_have_a_sign_a_currency_and_a_unit(tmp_path, answer):
    bad: list[BadRow] = []
    read_all([write(tmp_path / "rows.jsonl", [row(1, answer=answer)])], bad)
    assert bad == []


@pytest.mark.parametrize("choices", [list("abcdefghijk"), {letter: letter for letter in "ABCDEFGHIJK"}])
def test_more_options_than_there_are_letters_are_refused(tmp_path, choices):
    bad: list[BadRow] = []
    rows = [row(1, answer="A", answer_type="choice", choices=choices)]
    assert read_all([write(tmp_path / "rows.jsonl", rows)], bad) == []
    assert "field 'choices' has 11 options; allowed: up to 10, A to J" in str(bad[0])


@pytest.mark.parametrize("given", [[{"value": 1}], [["1"], "2"], "1", 7])
def test_sub_answers_that_are_none_are_refused(tmp_path, given):
    bad: list[BadRow] = []
    assert read_all([write(tmp_path / "rows.jsonl", [row(1, subanswers=given)])], bad) == []
    assert "field 'subanswers' must be a list of texts or numbers, found" in str(bad[0])


def test_what_a_row_calls_replies_or_where_it_comes_from_is_taken_for_nothing_of_ours(tmp_path):
    asked = {"subquestions": ["How many at first?", "How many then?"], "solution": "1 + 1 = 2\n2 + 1 = 3"}
    rows = [row(1, **asked, replies=["great post!", "me too"], _replies=["a", "b"], source="chained")]
    (problem,) = read_all([write(tmp_path / "rows.jsonl", rows)], [])
    found = worked(problem, problem.subquestions)
    assert [reply for _, reply in found.pairs] == ["1 + 1 = 2", "2 + 1 = 3"]


@pytest.mark.parametrize(
    ("field", "written", "read"),
    [
        ("concepts", "doubling", "doubling"),
        ("concepts", ["doubling", "subtraction"], "doubling, subtraction"),
        ("concepts", None, None),
        ("equations", ["48/2=24", "48+24=72"], ["48/2=24", "48+24=72"]),
        ("equations", "48/2=24", ["48/2=24"]),
        ("equations", " ", []),
        ("equations", None, None),
    ],
)
def test_what_a_question_needs_is_read_as_a_text_or_a_list(tmp_path, field, written, read):
    bad: list[BadRow] = []
    rows = [row(1, **{field: written}), row(2, meta={field: written})]
    found = read_all([write(tmp_path / "rows.jsonl", rows)], bad)
    assert [problem.meta.get(field) for problem in found] == [read, read]
    assert bad == []


@pytest.mark.parametrize(
    ("field", "written", "said"),
    [
        ("concepts", 7, "field 'concepts' must be a text or a list of texts, found 7"),
        ("concepts", [["a"]], "field 'concepts' must be a text or a list of texts, found [['a']]"),
        ("concepts", {"a": 1}, "field 'concepts' must be a text or a list of texts, found {'a': 1}"),
        ("equations", 7, "field 'equations' must be a list of texts, as [\"48/2=24\"], found 7"),
        ("equations", [24], "field 'equations' must be a list of texts, as [\"48/2=24\"], found [24]"),
    ],
)
def test_what_a_question_needs_is_refused_in_any_other_form(tmp_path, field, written, said):
    bad: list[BadRow] = []
    file = write(tmp_path / "rows.jsonl", [row(1, **{field: written})])
    assert read_all([file], bad) == []
    assert [str(one) for one in bad] == [f"{file}, line 1: {said}"]


def test_the_two_choices_of_a_boolean_question_need_not_be_shown(tmp_path):
    rows = [row(1, answer="yes", answer_type="boolean", choices=["yes", "no"])]
    assert len(read_all([write(tmp_path / "rows.jsonl", rows)], [])) == 1


@pytest.mark.parametrize("choices", [["5", "7"], {"A": "5", "B": "7"}])
def test_choices_that_nobody_would_see_are_refused(tmp_path, choices):
    bad: list[BadRow] = []
    file = write(tmp_path / "rows.jsonl", [row(1, answer=1, choices=choices), row(2, choices=type(choices)())])
    assert [problem.id for problem in read_all([file], bad)] == ["p2"]
    assert [one.error for one in bad] == [
        "field 'choices' has 2 options, and answer_type is 'number'; name answer_type choice or multi_choice, or leave "
        "choices out"
    ]


def test_fields_that_are_read_are_not_said_to_be_misspelt():
    read = ["answer_aliases", "subanswers", "concepts", "equations", "subject", "level", "raw_type", "context"]
    assert meant(read) == dict.fromkeys(read, "")
    misspelt = {"sub_answers": "subanswers", "equation": "equations", "answer_alias": "answer_aliases"}
    assert meant(misspelt) == misspelt
