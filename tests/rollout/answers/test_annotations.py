"""Calculations as GSM8K writes them out: their values, and their places in a solution."""

from __future__ import annotations

import pytest

from rollout.answers.annotations import annotate, computed, first_to_fill_in, without_annotations

LONG = "9" * 90


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("48/2", "24"), ("2+3*4", "14"), ("(2+3)*4", "20"), (" 100 - 50 - 30 ", "20"), ("1/2*3", "1.5"),
        ("2*20*.01", "0.4"), ("18*.5", "9"), ("8*18.00", "144"), ("30/2000", "0.015"), ("-20+10", "-10"),
        ("+30+46", "76"), ("1,000*3", "3000"), ("0.1+0.2", "0.3"), (f"{LONG}+1", f"1{'0' * 90}"), ("0*5", "0"),
    ],
)  # fmt: skip
def test_a_calculation_has_its_exact_value_as_people_write_it(expression, value):
    assert computed(expression) == value


@pytest.mark.parametrize(
    "expression",
    ["", "S + 30", "1/0", "5/(2-2)", "100/3", "2**3", "2^3", "4!", "3 4", "5+", "1.2.3", "(" * 150, "__import__('os')",
     "1e9", "5 apples", "9" * 300],
)  # fmt: skip
def test_what_has_no_value_that_can_be_written_is_left_alone(expression):
    assert computed(expression) is None
    assert first_to_fill_in(f"so <<{expression}=7") is None


def test_the_first_value_that_is_wrong_or_lacks_is_filled_in():
    text = "He sold 48/2 = <<48/2=24>>24 and 24+1 = <<24+1=26>>26."
    assert first_to_fill_in(text) == (text.index("26>>"), "25>>")
    for rest in ("", "2", "24", "24>", "25>>", "24.0>>", " 24>>"):
        assert first_to_fill_in(f"<<48/2={rest}") == (7, "24>>")
    for right in ("<<48/2=24>>", "48/2=25", "<<48/2", "<<48\n/2=25>>"):
        assert first_to_fill_in(right) is None


def test_a_reply_without_its_annotations_is_what_people_read():
    assert without_annotations("48/2 = <<48/2=24>>24, 1+1 = <<1+1=2>>2.") == "48/2 = 24, 1+1 = 2."
    for cut in ("<<", "<<48/", "<<48/2=", "<<48/2=2", "<<48/2=24>"):
        assert without_annotations(f"48/2 = {cut}") == "48/2 = "
    for other in ("a < b << c", "1 << 2 is 4", "x >> 2"):
        assert without_annotations(other) == other


def test_equations_stand_before_their_values():
    steps = ["He sold 48/2 = 24 clips in May.", "Of 12 x 2 = $24.00 and 1,440 hours .5 are over", "That is 5 more."]
    equations = ["48/2=24", "12*2=24.00", "1*.5=.5", "10-5=5"]
    assert annotate(steps, equations) == [
        "He sold 48/2 = <<48/2=24>>24 clips in May.",
        "Of 12 x 2 = $<<12*2=24>>24.00 and 1,440 hours <<1*.5=0.5>>.5 are over",
        "That is <<10-5=5>>5 more.",
    ]


def test_an_equation_goes_to_the_step_that_states_its_value_and_is_left_out_where_none_does():
    steps = ["He eats 32 of them, which is 2 x 16 = 32.", "The 8 that are left: 40 - 32 = 8."]
    marked = ["He eats 32 of them, which is 2 x 16 = <<2*16=32>>32.", "The 8 that are left: 40 - 32 = <<40-32=8>>8."]
    assert annotate(steps, ["2*16=32", "40-32=8"]) == marked
    assert annotate(steps, ["2*16=32", "7+4=11", "40-32=8"]) == marked
    assert annotate(steps, ["2*16=32", "4*2=8", "no equation"])[0] == marked[0]
    assert annotate(["A step."], []) == ["A step."]


@pytest.mark.timeout(5)
def test_hostile_text_takes_no_time():
    for text in ("<<" * 50_000, "<<1" * 50_000, "<<1+" + "1" * 100_000, "<<1=" * 30_000, "= $" * 30_000):
        first_to_fill_in(text)
        without_annotations(text)
        annotate([text], ["1+1=2"])
