import contextlib
import string
from functools import partial

import pytest

from rollout.answers.boxes import last_boxed
from rollout.answers.expressions.exact_values import NoValueError, is_too_large, same_value, value_of
from rollout.answers.expressions.math_equality import TimeLimitError
from rollout.answers.expressions.named_values import read_statement
from rollout.answers.expressions.same_expression import same_expression
from rollout.answers.expressions.spelling import tidy
from rollout.answers.extract import MAX_TEXT, extract
from rollout.answers.formulas import hide_formulas
from rollout.answers.mark import score
from rollout.records import Problem
from tests.cpu_time import least_seconds
from tests.rollout.answers.expressions.expression_cases import RIGHT, TEXTS, WRONG

# How a solver may present an expression.
FRAMES = [r"\boxed{{{}}}", "So the value we are looking for is ${}$.", r"Hence the answer is \({}\)."]


def read(text):
    return extract(text, "expression").answer or ""


def test_the_lists_are_long_and_have_no_pair_twice():
    wrong = [pair for pairs in WRONG.values() for pair in pairs]
    assert len(wrong) >= 150
    assert len(set(wrong)) == len(wrong)
    assert not set(wrong) & {pair for pairs in RIGHT.values() for pair in pairs}


@pytest.mark.parametrize("kind", RIGHT)
def test_expressions_that_are_the_same_are_accepted(kind):
    refused = [(gold, given) for gold, given in RIGHT[kind] if not same_expression(gold, given)]
    assert refused == []


@pytest.mark.parametrize("kind", WRONG)
def test_no_wrong_expression_is_accepted(kind):
    accepted = [(gold, given) for gold, given in WRONG[kind] if same_expression(gold, given)]
    assert accepted == []


@pytest.mark.parametrize("power", ["", "^2", "^5"])
def test_every_letter_of_a_formula_counts(power):
    letters = [letter for letter in string.ascii_letters if letter not in "ei"]
    accepted = [
        (gold, given)
        for letter in letters
        for gold in (f"3{letter}{power}", f"-12{letter}{power}")
        for given in (
            gold.replace(letter, "y" if letter == "x" else "x"),
            f"{gold}^3",
            f"{gold[:-1]}7",
            gold.split(letter)[0],
        )
        if given != gold and same_expression(gold, given)
    ]
    assert accepted == []


@pytest.mark.parametrize("frame", FRAMES)
def test_right_expressions_are_read_from_a_text(frame):
    pairs = [pair for kind in RIGHT.values() for pair in kind]
    refused = [(gold, given) for gold, given in pairs if not same_expression(gold, read(frame.format(given)))]
    assert refused == []


@pytest.mark.parametrize("frame", FRAMES)
def test_wrong_expressions_are_not_accepted_from_a_text(frame):
    pairs = [pair for kind in WRONG.values() for pair in kind]
    accepted = [(gold, given) for gold, given in pairs if same_expression(gold, read(frame.format(given)))]
    assert accepted == []


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_gives_its_value_and_no_other(kind):
    for text, right, wrong in TEXTS[kind]:
        given = read(text)
        assert [gold for gold in right if not same_expression(gold, given)] == [], (text, given)
        assert [gold for gold in wrong if same_expression(gold, given)] == [], (text, given)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"$\boxed{4} \quad \text{and} \quad \boxed{-7}$", "4 and -7"),
        (r"$\boxed{4}$, $\boxed{-7}$", "4, -7"),
        (r"\boxed{4}. \boxed{-7}", "-7"),
        (r"\boxed{4} \boxed{-7}", "-7"),
        ("\\boxed{4},\n\n\\boxed{-7}", "-7"),
        (r"\boxed{1, \boxed{2}}", "2"),
    ],
)
def test_boxes_are_joined_where_only_a_comma_or_and_is_between_them(text, content):
    assert last_boxed(text) == content


def test_formulas_are_hidden_and_amounts_of_money_are_not():
    assert hide_formulas(r"So $x.$ Then \[y\] and $$z,$$ too.") == ("So ⟪0⟫. Then ⟪1⟫ and ⟪2⟫ too.", ["x", "y", "z"])
    assert hide_formulas("A pen is $5 and two pens are $9.")[1] == []
    assert hide_formulas(r"It costs \$5, or $5k$ in all.")[1] == ["5k"]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("x=5", "x", "5"),
        ("5=x", "x", "5"),
        (r"\angle CBA=30°", r"\angle ABC", "30°"),
        ("BA=4", "AB", "4"),
        ("P(⟦even⟧)=1/2", "P( even )", "1/2"),
        ("f(2)=7", "f(2)", "7"),
        (r"x\in[2,8)", "x", "[2,8)"),
        ("⟦The answer⟧=3", None, "3"),
    ],
)
def test_a_statement_has_a_name_and_a_value(text, name, value):
    statement = read_statement(text)
    assert (statement.name, statement.parts[0][1]) == (name, value)


@pytest.mark.parametrize("text", ["2x=10", "x^2=9", "x(x+1)=6", "x+y=4", r"\pi=3"])
def test_an_equation_names_nothing(text):
    assert read_statement(text).name is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\frac{1}{2^{97}}", "2^{-97}"),
        ("1 4/5", r"1\frac{4}{5}"),
        ("27^{2/3}", "9"),
        (r"\sqrt[3]{-27}", "-3"),
        (r"\sqrt{2}\sqrt{8}", "4"),
        ("|3-5|!", "2"),
        ("-2^2", "-4"),
        ("2^3^2", "512"),
    ],
)
def test_exact_values(text, value):
    assert same_value(value_of(text), value_of(value))


@pytest.mark.parametrize(
    "text", ["x", "1/2\\pi", "3!!", "2^3!", "(1", "3 4", r"\sqrt{-1}", "1,2", "()", "(" * 300, "^", "1" * 3000]
)
def test_what_is_no_number_has_no_value(text):
    assert value_of(text) is None


@pytest.mark.parametrize(
    "text", ["9^9^9^9", "9^{9^{9^9}}", "(10^6)!", "2^{10^9}", "((9^9)!)!", "1/0", r"\frac{3}{2-2}", "0^{-1}"]
)
def test_what_is_too_large_to_compute_equals_nothing_at_once(text):
    def read() -> None:
        with pytest.raises(NoValueError):
            value_of(text)
        assert not same_expression(r"\frac{1}{3}", text)

    assert least_seconds(read, enough=1.0) < 1.0


def test_a_tower_of_powers_beside_a_variable_is_not_asked():
    assert is_too_large("x+9^{9^{9^9}}")
    assert not is_too_large("x+9^{9}")
    assert not same_expression("x+1", "x+9^{9^{9^9}}")


@pytest.mark.parametrize("sign", ["", "-"])
def test_long_integers_are_equal_digit_by_digit(sign):
    digits = "314159265358979323846264338327950288419716"
    gold = ("-" if sign else "") + digits + "9"
    for kind in ("number", "expression"):
        problem = Problem("p", "?", gold, answer_type=kind)
        marks = [score(problem, f"{sign}{digits}{last}") for last in "98"]
        assert marks == [1.0, 0.0]


PIECES = [
    "sqrt(", "√", "²", "^(", "**", "*", "abs(", "x", "x = ", "= ", r"\approx ", r"\in ", r"\cdot ", "and ", ", ", "⟦",
    "⟧", r"\text{", r"\text{a}", r"\text{and} ", r"\angle ", "P(", "AB", r"\overline{", "%", "9^", "9!", r"\frac{1}{",
    "|", "1 ", "a ", "a_", r"\boxed{1}, ", r"\boxed{1} and ", r"\boxed{", "$", "$$", r"\(", r"\[", r"\]", "$x$",
    "$x$, ", "is $x$ since ", "is ", "since ", "as (", "so ", "3*pi ", "a b ", "⟪", "⟪0⟫", "not ", "- ", "{", "(",
    "'", "<", r"\le ", r"\pm ", ";", "…", "0.1",
]  # fmt: skip


def test_no_text_takes_long_to_read_or_to_compare():
    texts = [(piece * MAX_TEXT)[:MAX_TEXT] for piece in PIECES]
    texts += [(a + b) * (MAX_TEXT // len(a + b)) for a, b in zip(PIECES, PIECES[11:], strict=False)]

    def read(text: str) -> None:
        extract(text, "expression")
        extract(f"The answer is {text}", "expression")
        tidy(text[:4_000])
        # math-verify has a time limit of its own, in a process of its own.
        with contextlib.suppress(TimeLimitError):
            same_expression(r"\frac{x+1}{3}", text[:400])

    taken = [(text[:20], least_seconds(partial(read, text), enough=1.5)) for text in texts]
    assert [(start, seconds) for start, seconds in taken if seconds > 1.5] == []
