import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from rewards import equivalence
from rewards.answers import MAX_TEXT, extract, last_boxed, parse_number, score
from rewards.equivalence import EquivalenceError, TimeLimitError, math_equal
from rewards.expressions import same_expression
from rollout.records import Problem

TOWER = "9^{9^{9^9}}"


def problem(kind, gold, choices=None, **meta):
    return Problem("p", "?", gold, answer_type=kind, choices=choices, meta=meta)


# Wrong answers, by answer type: the gold answer and what was given. Written by hand; not one may be accepted.
WRONG = {
    "number": [
        # off by one, sign, magnitude, digits
        ("12", "13"), ("12", "11"), ("12", "-12"), ("-12", "12"), ("12", "−12"), ("12", "minus 12"),
        ("12", "negative 12"),
        ("12", "120"), ("12", "1.2"), ("12", "21"), ("12", "012.5"), ("1000000", "1000001"), ("5000000", "4999999"),
        ("123456789", "123456788"), ("0", "1"), ("0", "-0.1"), ("0.5", "0.05"), ("0.5", ".05"), ("0.5", "0.51"),
        ("3.14", "3.15"), ("3.14", "3.1416"), ("0.333333", "0.34"), ("1000", "1,00"), ("1000", "10,00"),
        ("1000", "1,0000"),
        ("1234", "1,23,4"), ("3.5", "3,5"), ("35", "3,5"), ("1000", "1 000"),
        # alternatives, lists, ranges
        ("5", "5 or 7"), ("7", "5 or 7"), ("3", "either 3 or 4"), ("4", "either 3 or 4"), ("5", "5, 7"),
        ("7", "5, 7"),
        ("5", "5 and 7"), ("5", "5; 7"), ("5", "5/7"), ("7", "5/7"), ("5", "5 to 7"), ("7", "5-7"), ("5", "5–7"),
        ("6", "between 5 and 7"),
        ("5", "5 | 7"), ("5", "neither 5"), ("5", "(5, 7)"), ("5", "{5, 7}"), ("5", "5 & 6"), ("2", "x = 2, y = 3"),
        ("3", "x = 2, y = 3"),
        ("7", "5 = 7"), ("5", "5 ± 1"), ("5", "5 +- 1"), ("12", "12 pens or 13 pens"),
        ("12", "12 pens and 3 pencils"),
        # undone arithmetic, variables, functions
        ("5", "5 + 2"), ("2", "5 + 2"), ("7", "5 + 2"), ("5", "5 * 1"), ("3", "3 x 4"), ("2", "2x"), ("2", "2y"),
        ("5", "5n"), ("2", "x2"), ("2", "x^2"),
        ("5", "5!"), ("5", "5^2"), ("5", "5²"), ("2", "√2"), ("2", r"\sqrt{2}"), ("3", r"3\pi"), ("3", "3π"),
        ("2", "f(2)"), ("2", "log 2 + x"), ("4", "4 - x"),
        ("10", "2x = 10"), ("10", "10^5"), ("5", "-(-5) - 10"), ("5", "5 mod 3"),
        # bounds
        ("12", "more than 12"), ("12", "less than 12"), ("12", "at least 12"), ("12", "at most 12"), ("12", "> 12"),
        ("12", "≤ 12"), ("12", "not 12"), ("12", "up to 12"),
        # units and scale that change the value
        ("5", "5 thousand"), ("5", "5 million"), ("5", "5k"), ("5000", "5 million"), ("500", "5 hundred thousand"),
        ("2", "2 and a half"), ("2", "2½"), ("2", "2 1/2"),
        ("5", "5 dollars and 50 cents"), ("5", "5 ft 7 in"), ("2", "2 hours 30 minutes"), ("2", "2h 30min"),
        # percent
        ("0.5", "50%"), ("0.5", r"50\%"), ("0.05", "5%"), ("5", "0.05%"), ("50", "0.5"), ("50", "0.5%"),
        ("1.5", "150%"),
        # fractions
        ("0.5", "1/3"), ("0.5", "2/1"), ("2", "1/2"), ("0.75", r"\frac{4}{3}"), ("0.5", r"-\frac{1}{2}"),
        ("3", r"\frac{1}{3}"), ("1", "1/0"), ("0", "0/0"), ("0", r"\frac{0}{0}"),
        # no numbers at all, or none that is usable
        ("5", "NaN"), ("0", "nan"), ("5", "inf"), ("5", "Infinity"), ("5", "-Infinity"), ("5", "∞"), ("5", r"\infty"),
        ("1", "1e9999"), ("9", "9" * 5000),
        ("1", "1e-9999"), ("0", "1e-9999"), ("0", "1e-320"), ("1", "1E+400"), ("81", "9^{9^{9^9}}"), ("9", "9**9**9"),
        ("5", ""), ("5", "   "), ("5", "\n"), ("5", "."), ("5", "-"), ("5", "#"), ("5", "$"), ("5", "None"),
        ("12", "twelve-ish"), ("5", "I don't know"), ("5", "I cannot answer this question."), ("5", "No answer"),
        ("5", "As an AI, I can't help with 5 of these or 6."),
        ("12", "How many pens do 5 boxes of 7 hold?"),
        # other scripts
        ("12", "١٣"), ("12", "⑫"), ("12", "１３"), ("12", "1²"), ("12", "XII"), ("12", "十二"), ("5", "5₂"),
        ("12", "1\u20092"),
        # dates, times, versions, codes
        ("12", "12/25/2020"), ("2020", "2020-12-25"), ("12", "12:30"), ("12", "12.30.15"), ("3", "3:5"),
        ("25", "Dec 25, 2020"), ("5", "0x5"), ("2", "H2O"), ("12", "1.2.0"), ("10", "1010_2"),
    ],
    "numeric": [
        ("6.15", "6.17"), ("6.15", "6.13"), ("6.15", "-6.15"), ("6.15", "6.15 or 6.16"), ("0.25", "0.27"),
        ("6.15", "61.5"), ("0.02", "nan"), ("6.15", "615%"),
    ],
    "integer": [
        ("7", "8"), ("7", "6"), ("7", "7.02"), ("7", "7, 8"), ("7", "-7"), ("7", "70"), ("7", "7 or 8"), ("7", ""),
    ],
    "expression": [
        # near misses
        (r"\frac{1}{2}", r"\frac{1}{3}"), (r"\frac{1}{2}", r"\frac{2}{1}"), (r"\frac{1}{2}", r"-\frac{1}{2}"),
        (r"\frac{1}{2}", "0.51"), (r"\frac{1}{2}", r"50\%"),
        (r"\frac{14}{3}", "4.67"), (r"\frac{1}{3}", "0.33"), ("x+1", "x-1"), ("x+1", "x+2"), ("x+1", "1-x"),
        ("x+1", "y+1"), ("x^2+1", "X^2+1"), ("x^2+1", "x^3+1"), ("2x+3", "3x+2"),
        ("2k", "2"), ("2k", "k"), ("2k", "2k+1"), (r"\sqrt{2}", r"\sqrt{3}"), (r"\sqrt{2}", "2"),
        (r"\sqrt{2}", "1.414"), (r"2\sqrt{3}", r"3\sqrt{2}"), (r"2\sqrt{3}", r"\sqrt{6}"),
        (r"\pi", "3.14"), (r"\pi", "22/7"), (r"4\pi", "4"), (r"4\pi", r"4\pi^2"), (r"4\pi", r"\pi/4"),
        ("6+9i", "6-9i"), ("6+9i", "9+6i"), ("6+9i", "6+9"), ("2i", "-2i"), ("2i", "2"),
        ("3^{2007}", "3^{2008}"), ("3^{2007}", "3^{2007}+1"), ("2^{100}-2", "2^{100}"), (r"\sin x", r"\cos x"),
        (r"\tan x", r"\tan y"), (r"\log 2", r"\ln 2"),
        (r"\cos 13^\circ", r"\cos 13"), (r"\cos 13^\circ", r"\cos 31^\circ"), (r"8\frac{4}{7}", r"\frac{84}{7}"),
        (r"3\frac{1}{8}", r"\frac{3}{8}"), ("(x-5)(x+2)", "(x+5)(x-2)"),
        ("(a+b)(b+c)", "(a+b)(b-c)"), (r"\frac{x}{y}", r"\frac{y}{x}"), ("500a^7", "500a^6"), ("13p-30", "13p+30"),
        (r"\frac{1+\sqrt{5}}{2}", r"\frac{1-\sqrt{5}}{2}"),
        # intervals, tuples, lists
        ("(0,1)", "[0,1]"), ("(0,1)", "(0,1]"), ("[0,1]", "[0,1)"), ("(0,1)", "(1,0)"), ("[5.8,6)", "[5.8,6]"),
        (r"(-\infty,0]", r"(-\infty,0)"), (r"(-\infty,0]", r"[0,\infty)"), (r"(2,\infty)", r"[2,\infty)"),
        (r"(-\infty,2)\cup(3,\infty)", r"(-\infty,2)\cup[3,\infty)"), (r"(-\infty,2)\cup(3,\infty)", r"(-\infty,2)"),
        (r"(-\infty,2)\cup(3,\infty)", r"(-\infty,2)\cap(3,\infty)"), (r"[1,2]\cup[3,4]", "[1,4]"),
        ("(3,4)", "(4,3)"), ("(3,4)", "3,4"), ("(3,4)", r"\{3,4\}"), ("(3,4)", "(3,4,5)"), ("(3,4)", "(3)"),
        ("(3,4)", "[3,4]"), ("(1,-2,3)", "(1,2,3)"), ("1,-2", "1,2"), ("1,-2", "1"), ("1,-2", "1,-2,3"),
        ("1,2,3", "1,2,2"), ("1,1,2", "1,2,2"),
        ("1,-2", "(1,-2)"), ("23,-17", "-23,17"), (r"1\pm\sqrt{19}", r"1+\sqrt{19}"),
        (r"1\pm\sqrt{19}", r"-1\pm\sqrt{19}"), (r"\pm 2", "2"),
        # several answers at once
        (r"\frac{1}{2}", r"\frac{1}{2} or \frac{1}{3}"), (r"\frac{1}{2}", r"\frac{1}{3} \text{ or } \frac{1}{2}"),
        ("5k", "5k, 6k"), ("5k", "5k and 6k"), ("x+1", "x+1 or x-1"), ("2i", r"2i \text{ or } -2i"),
        # matrices
        (r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}", r"\begin{pmatrix} 3 \\ 1 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}", "(1,3)"),
        (r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}", r"\begin{vmatrix} 1 & 0 \\ 0 & 1 \end{vmatrix}"),
        (r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}", r"\begin{pmatrix} 1 & 0 \\ 0 & -1 \end{pmatrix}"),
        # units, bases, codes, equations
        (r"250\text{ inches}", r"250\text{ feet}"), (r"60\text{ miles}", r"60\text{ km}"),
        (r"15\mbox{ cm}^2", r"15\mbox{ cm}"), (r"15\mbox{ cm}^2", r"15\mbox{ m}^2"),
        (r"1599 \text{ dollars}", r"1599\text{ cents}"), (r"9\text{ a.m.}", r"9\text{ p.m.}"),
        (r"13.5\text{ pounds}", r"13.5\text{ ounces}"),
        ("204_5", "204_6"), ("204_5", "204"), ("204_5", "54"), (r"\text{A5}_{11}", r"\text{A5}_{12}"),
        ("LQSX", "XSQL"), ("A", "B"), ("A", "a"), (r"\overline{CD}", r"\overline{AB}"), ("3:5", "5:3"),
        ("3:5", "3:50"),
        ("y=-2x+1", "x=-2y+1"), ("y=-2x+1", "y=2x+1"), ("x=2", "y=2"), ("x=2", "x=3"), ("x^2+y^2=13", "x^2+y^2=14"),
        ("x^2+y^2=13", "13"), ("2x-y+3z+8=0", "2x-y+3z=8"), ("x>2", "x<2"), ("x>2", r"x\ge 2"),
        ("f(2)<f(1)<f(4)", "f(1)<f(2)<f(4)"),
        # percent and nothing
        (r"17\%", r"18\%"), (r"17\%", "0.017"), (r"17\%", "1.7"), (r"17\%", r"0.17\%"), (r"\frac{1}{2}", "nan"),
        (r"\frac{1}{2}", "I do not know"), (r"\frac{1}{2}", "1/0"), (r"\frac{1}{2}", ""), (r"\infty", r"-\infty"),
        ("2k", "NaN"),
    ],
    "boolean": [
        ("yes", "no"), ("no", "yes"), ("yes", "False"), ("no", "True"), ("yes", "yes and no"), ("yes", "yes or no"),
        ("no", "yes/no"), ("yes", "maybe"), ("yes", "unknown"), ("yes", ""), ("yes", "not true"),
        ("no", "not false"), ("no", "none"), ("yes", "y e s"), ("yes", "yesterday"), ("no", "nothing"),
        ("no", "I do not know"), ("yes", "1"), ("no", "0"),
    ],
    "text": [
        (r"\text{Friday}", "Thursday"), (r"\text{Friday}", "Friday or Saturday"), (r"\text{(C)}", "(D)"),
        (r"\text{(C)}", "C, D"), (r"\text{A,C}", "A"), (r"\text{A,C}", "A,B,C"), (r"\text{CBAD}", "ABCD"),
        (r"\text{1:03 PM}", "1:03 AM"), (r"\text{1:03 PM}", "1:30 PM"),
        (r"\text{June 20}", "June 2"), (r"\text{June 20}", "July 20"), (r"\text{odd}", "even"),
        (r"\text{odd}", "odd and even"), ("Stanley", "Stanley County"), ("Stanley", "Stan"), ("Stanley", ""),
        (r"\text{two lines}", "lines"),
    ],
}  # fmt: skip
OPTIONS = ["300", "992", "1120", "552", "Rs. 45"]
WRONG_CHOICES = [
    ("C", "A"), ("C", "D"), ("C", "F"), ("C", "c or d"), ("C", "B or C"), ("C", "C, D"),
    ("C", "C and D"), ("C", "CD"), ("C", "ABCDE"), ("C", "all"), ("C", "300"), ("C", "1121"),
    ("C", "112"), ("C", "11.20"), ("C", "-1120"), ("C", "1120 or 992"), ("C", "B) 1120"), ("C", "C) 992"),
    ("C", "(A) 300"), ("C", "none of these"), ("C", ""), ("C", "?"), ("C", "I don't know"), ("C", "NaN"),
    ("C", "the third"), ("E", "45.5"), ("E", "Rs. 44"), ("E", "Rs. 45 or 46"), ("A", "a b"), ("A", "300, 992"),
]  # fmt: skip
WRONG_MULTI_CHOICES = [
    ("ABD", "C"), ("ABD", "ABC"), ("ABD", "ABCD"), ("ABD", "BCD"), ("ABD", "ABDE"), ("ABD", "none"),
    ("ABD", ""), ("ABD", "bad idea"), ("ABD", "All of the above"), ("ABD", "cannot decide"), ("ABD", "A or B"),
    ("ABD", "A/B"),
    ("ABD", "not C"), ("ABD", "not A"), ("ABD", "ABD?C"), ("ABD", "A, B, D or C"), ("AC", "B"), ("AC", "ABC"),
    ("AC", "12"), ("C", "AC"), ("C", "D"), ("C", "E"), ("C", "BC"),
]  # fmt: skip
ALL_WRONG = [
    *((kind, gold, given, None) for kind, pairs in WRONG.items() for gold, given in pairs),
    *(("choice", gold, given, OPTIONS) for gold, given in WRONG_CHOICES),
    *(("multi_choice", gold, given, ["w", "x", "y", "z"]) for gold, given in WRONG_MULTI_CHOICES),
]
# A reader may take "5!" for an excited 5.
EXCITED = {"5!"}


def test_the_list_of_wrong_answers_is_long_and_has_no_pair_twice():
    assert len(ALL_WRONG) >= 350
    assert len({(kind, gold, given) for kind, gold, given, _ in ALL_WRONG}) == len(ALL_WRONG)


@pytest.mark.parametrize("kind", [*WRONG, "choice", "multi_choice"])
def test_no_wrong_answer_is_accepted(kind):
    cases = [(gold, given, choices) for name, gold, given, choices in ALL_WRONG if name == kind]
    accepted = [(gold, given) for gold, given, choices in cases if score(problem(kind, gold, choices), given)]
    assert accepted == []


@pytest.mark.parametrize("kind", [*WRONG, "choice", "multi_choice"])
def test_no_wrong_answer_is_accepted_after_the_answer_is(kind):
    cases = [(gold, given, choices) for name, gold, given, choices in ALL_WRONG if name == kind]
    accepted = [
        (gold, given)
        for gold, given, choices in cases
        if given not in EXCITED
        and score(problem(kind, gold, choices), extract(f"So the answer is {given}.", kind, choices).answer)
    ]
    assert accepted == []


@pytest.mark.parametrize(
    ("kind", "gold", "given"),
    [
        *(
            ("number", "1000", given)
            for given in ("1000", "1,000", "1000.00", "1,000.0", "$1,000", "1000 dollars", "1000%")
        ),
        *(
            ("number", "1000", given)
            for given in (r"1{,}000", r"1\,000", "1\u2009000", "1\u202f000", "1e3", "1 x 10^3")
        ),
        *(
            ("number", "0.5", given)
            for given in ("1/2", ".5", r"\frac12", r"\dfrac{1}{2}", "½", r"\frac{2}{4}", "0.50 kg", "$0.50")
        ),
        *(("number", "-5", given) for given in ("−5", "- 5", "-$5", "$-5", "minus 5", "x = -5", "＝ −5", "-5.0")),
        *(("number", "2.5", given) for given in ("2 1/2", "2½", r"2\frac12", "2 and a half", "5/2")),
        *(
            ("number", "12", given)
            for given in ("١٢", "１２", "12 cm²", "12 cm^2", r"12\text{ cm}^2", "**12**", r"\(12\)", "12 m/s^2")
        ),
        *(("number", "5000000", given) for given in ("5 million", "5,000,000", "5e6", r"5 \times 10^{6}", "50,00,000")),
        ("number", "3.3333333", "10/3"),
        *(
            ("expression", r"\frac{1}{2}", given)
            for given in ("1/2", "0.5", r"\frac12", r"\dfrac{1}{2}", r"\tfrac 12", "2/4")
        ),
        *(("expression", r"50\%", given) for given in (r"50\%", "50%", "50", "0.5", r"\frac12")),
        *(
            ("expression", r"(3,\frac{\pi}{2})", given)
            for given in (r"\left( 3, \dfrac{\pi}{2} \right)", r"(3,\,\pi/2)")
        ),
        *(("expression", "1,-2", given) for given in ("-2, 1", "1 and -2", r"x=1 \text{ or } x=-2", r"\{1,-2\}")),
        *(("expression", "x=2", given) for given in ("2", "x = 2", "$x=2$", "4/2")),
        *(("expression", "y = 2x + 3", given) for given in ("2x+3", "y=3+2x", "y = 2x+3.")),
        *(
            ("expression", r"250\text{ inches}", given)
            for given in ("250", "250 inches", r"250\text{ in}", r"250 \mbox{ inches}")
        ),
        *(("expression", r"55^\circ", given) for given in ("55", "55°", "55 degrees", r"55^{\circ}")),
        *(
            ("expression", r"(-\infty,2)\cup(3,\infty)", given)
            for given in (r"(3,\infty) \cup (-\infty, 2)", "(-∞,2)∪(3,∞)")
        ),
        *(("expression", "x^2-1", given) for given in ("(x-1)(x+1)", "-1+x^2", r"x^{2} - 1")),
        ("expression", r"1 \pm \sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}"),
        ("expression", r"\frac{1}{2}", r"\frac{1}{2} or 0.5"),
        *(
            ("boolean", "yes", given)
            for given in ("Yes", "YES.", "True", "true", r"\text{Yes}", "**yes**", "not false")
        ),
        *(("boolean", "no", given) for given in ("No", "False", "not true")),
        *(("text", r"\text{(C)}", given) for given in ("(C)", "C", r"\text{C}", "$C$")),
        *(("text", r"\text{A,C}", given) for given in ("A, C", "a,c")),
        ("text", "Stanley", "stanley."),
    ],
)
def test_equivalents_are_accepted(kind, gold, given):
    assert score(problem(kind, gold), given) == 1.0


@pytest.mark.parametrize(
    "given",
    ["C", "(C)", "C.", "c", "(c)", "C)", "Option C", "1120", "1,120", "$1120$", "C) 1120", "C. 1120", "1120.00"],
)
@pytest.mark.parametrize("choices", [OPTIONS, dict(zip("ABCDE", OPTIONS, strict=True))])
def test_an_option_is_named_by_its_letter_or_its_value(given, choices):
    assert score(problem("choice", "C", choices), given) == 1.0


def test_twin_options_count_as_one():
    twins = ["7 kmph", "8 kmph", "7 kmph", "7"]
    assert [score(problem("choice", "A", twins), given) for given in ("A", "C", "7 kmph", "B", "D", "7")] == [
        1,
        1,
        1,
        0,
        0,
        0,
    ]


def test_a_number_names_no_option_where_the_units_decide():
    choices = ["5 days", "5 weeks", "6 days"]
    assert [score(problem("choice", "A", choices), given) for given in ("5 days", "5", "5 weeks")] == [1, 0, 0]


@pytest.mark.parametrize(
    ("given", "mark"),
    [
        ("ABD", 1.0),
        ("D, B, A", 1.0),
        ("(A), (B) and (D)", 1.0),
        ("abd", 1.0),
        ("AB", 0.5),
        ("A", 0.25),
        ("ABC", 0.0),
        ("C", 0.0),
    ],
)
def test_multiple_choice_gives_a_quarter_a_letter_unless_one_is_wrong(given, mark):
    assert score(problem("multi_choice", "ABD"), given) == mark


def test_the_tolerance_of_jeebench_is_by_its_own_type():
    assert score(problem("number", "6.15", raw_type="Numeric"), "6.16") == 1.0
    assert score(problem("number", "6", raw_type="Integer"), "6.01") == 1.0
    assert score(problem("number", "6.15", raw_type="Numeric"), "6.17") == 0.0
    assert score(problem("number", "6.15"), "6.16") == 0.0


def test_other_right_answers_of_a_row_count():
    assert score(problem("text", "New York City", answer_aliases=["NYC", "New York"]), "nyc") == 1.0
    assert score(problem("text", "New York City"), "nyc") == 0.0


def test_an_unknown_answer_type_is_refused():
    with pytest.raises(ValueError, match="unknown answer type 'sonnet'"):
        score(problem("sonnet", "5"), "5")


@pytest.mark.parametrize(
    ("text", "kind", "answer", "rule"),
    [
        ("6 + 4 = 10\n#### 10", "number", "10", "hashes"),
        ("#### 5 or 7", "number", "5 or 7", "hashes"),
        ("#### Step 2\nAdd: 3 + 4 = 7.", "number", "7", "equation"),
        ("##### 5\nIt is 7.", "number", "7", "last"),
        (r"the final answer is: $\boxed{12}$", "number", "12", "boxed"),
        (r"\boxed{5}, no: \boxed{\frac{1}{2}}", "expression", r"\frac{1}{2}", "boxed"),
        (r"\boxed{5} or \boxed{7}", "number", "5 or 7", "boxed"),
        ("[[Answer: 7]] or so 8", "number", "7", "brackets"),
        ("The answer is 12 pens.", "number", "12", "answer_is"),
        ("**Answer:** 12, because 3 * 4 = 12", "number", "12", "answer_is"),
        ("Answer: 3 * 4 = 12 pens", "number", "12", "answer_is"),
        ("The answer is 12. I hope the answer is clear.", "number", "12", "answer_is"),
        ("The answer is 5 thousand.", "number", "5 thousand", "answer_is"),
        ("The answer is not 12.", "number", "not 12", "answer_is"),
        ("The answer is unknown, but 5 is near.", "number", None, "refused"),
        ("So she pays **$18** for 7 days.", "number", "$18", "bold"),
        ("It takes 9 + 6 = 15 liters out of the 24 liters.", "number", "15", "equation"),
        ("= 12", "number", "12", "equation"),
        ("x = 5", "number", "5", "equation"),
        ("**12**", "number", "12", "bold"),
        ("First 3, then 12.", "number", "12", "last"),
        ("It takes 3-5 days.", "number", "3-5", "last"),
        ("- 12 pens", "number", "12", "last"),
        ("The change is -5 degrees.", "number", "-5", "last"),
        ("Ann has 6 pens. Is that 7 or 8?", "number", "6", "last"),
        ("How many pens do 5 boxes of 7 hold?", "number", None, "none"),
        ("Bob has 4 more than Ann. I cannot tell.", "number", None, "refused"),
        ("There are 4 pens. I do not know.", "number", None, "refused"),
        ("I'm sorry, I can't help with question 5.", "number", None, "refused"),
        ("Q: How many? A: Ann has 3 * 2 = 6 pens.", "number", "6", "equation"),
        ("so it's D) 552", "choice", "D", "option"),
        ("The answer is D. 552", "choice", "D", "answer_is"),
        ("ANSWER:D", "choice", "D", "answer_is"),
        ("Answer - D", "choice", "D", "answer_is"),
        ("D is the correct choice", "choice", "D", "option"),
        ("Hence, option (D).", "choice", "D", "option"),
        ("Add them up.\nD", "choice", "D", "letter"),
        ("500 + 52 = 552", "choice", "D", "value"),
        ("The answer is 552.", "choice", "D", "answer_is"),
        ("Only 552 leaves nothing over when 2 are taken 3 by 3", "choice", "D", "mention"),
        ("The answer is B or D.", "choice", "B or D", "answer_is"),
        ("A train leaves at noon.", "choice", None, "none"),
        ("The answer is A, B and D.", "multi_choice", "A, B and D", "answer_is"),
        ("Hence (A) and (C) hold.", "multi_choice", "(A) and (C)", "last"),
        ("Yes, there is no doubt.", "boolean", "Yes", "last"),
        ("Yes. But no, it is not.", "boolean", "no", "last"),
        ("The answer is no, not yes.", "boolean", "no", "answer_is"),
        ("Yes or no? I would say true.", "boolean", "true", "last"),
        ("Is it yes or no?", "boolean", None, "none"),
        (r"The answer is $\frac{1}{2}$ because it is half.", "expression", r"\frac{1}{2}", "answer_is"),
        ("The answer is St. Louis.", "text", "St. Louis", "answer_is"),
        ("no numbers", "number", None, "none"),
        ("", "number", None, "none"),
    ],
)
def test_each_rule_reads_what_it_should(text, kind, answer, rule):
    found = extract(text, kind, OPTIONS if kind == "choice" else None)
    assert (found.answer, found.rule) == (answer, rule)


@pytest.mark.parametrize("text", ["so it's C) 552", "The answer is C) 552.", "C. 552"])
def test_an_option_letter_with_another_options_value_is_no_answer(text):
    given = extract(text, "choice", OPTIONS).answer
    assert [score(problem("choice", gold, OPTIONS), given) for gold in "CD"] == [0.0, 0.0]


def test_the_last_box_is_read_with_its_braces():
    assert last_boxed(r"\boxed{1} \boxed{\{1, 2\}} \boxed{3") == r"\{1, 2\}"
    assert last_boxed("no box") is None


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-inf", "1e9999", "1/0", "0/0", "9" * 5000, "⑫", "5²", "5₂", ""])
def test_what_is_no_number_equals_nothing(text):
    assert parse_number(text) is None
    for kind in ("number", "integer", "numeric", "expression"):
        assert score(problem(kind, "12"), text) == 0.0


def test_of_a_long_text_the_end_is_read():
    text = "The answer is 5. " + "so " * MAX_TEXT
    assert extract(text).answer is None
    assert extract(text + "The answer is 7.").answer == "7"


PIECES = [
    r"\boxed{", "}", "{", "#### ", "answer is ", "the answer is 1", "[[answer:", "[[Answer: x", "1", "12,", "1,111,",
    "1/", "1 ", "1.",
    "- ", "+1", "(", "(A) ", "A and ", "A) ", "yes ", "not true ", "cannot tell ", "= ", "1 = ", "x = 1, ", "$",
    r"\$1million", r"\frac",
    r"\frac{1}{", r"\text{", "**", "**1**", "`", "\n", "\n- 1", "? 1", ". ", "Rs. ", "1\u2009", "½", "١", "e9", "10^",
    "1 x 10^", "1 or ",
    "not ", "more than ", " ", "\t", "\u00a0", "option A ", "1%", r"\left(", r"\cup ", ",", "1:", "≈", "|", "⟦",
    r"\pm", "1!", "'", "<", "🙂",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["number", "choice", "multi_choice", "boolean", "text", "expression"])
def test_no_text_takes_long_to_read(kind):
    texts = [(piece * MAX_TEXT)[:MAX_TEXT] for piece in PIECES]
    texts += [
        (a * MAX_TEXT)[: MAX_TEXT // 2] + (b * MAX_TEXT)[: MAX_TEXT // 2]
        for a, b in zip(PIECES, PIECES[7:], strict=False)
    ]
    gold = {"number": "12", "choice": "B", "multi_choice": "AB", "boolean": "yes"}.get(kind, r"\frac{1}{3}")
    slow = []
    for text in texts:
        start = time.process_time()
        extract(text, kind, OPTIONS)
        score(problem(kind, gold, OPTIONS), text)
        seconds = time.process_time() - start
        if seconds > 1.0:
            slow.append((text[:20], seconds))
    assert slow == []


@pytest.fixture
def short_deadline(monkeypatch):
    math_equal("x", "x+0")
    monkeypatch.setattr(equivalence, "DEADLINE_SECONDS", 3.0)


def test_a_comparison_that_never_ends_is_ended_and_the_next_one_works(short_deadline):
    started = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"9\^\{9\^.*7x.*longer than 3 s"):
        math_equal(TOWER, "7x")
    assert time.monotonic() - started < 15
    assert math_equal("(x-1)(x+1)", "x^2-1")


def test_a_failure_is_not_remembered(short_deadline):
    for _ in range(2):
        with pytest.raises(TimeLimitError):
            math_equal(TOWER, "7y")


def test_long_texts_are_shortened_in_the_error(short_deadline):
    with pytest.raises(TimeLimitError) as caught:
        math_equal(TOWER, "7z+" + "z+" * 300 + "1")
    assert len(str(caught.value)) < 300


def test_the_limit_holds_in_every_thread(short_deadline):
    outcomes = []

    def ask(index):
        try:
            outcomes.append(same_expression(f"x+{index}", f"{index}+x") if index else math_equal(TOWER, "11x"))
        except TimeLimitError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, outcomes)) == sorted(map(str, [TimeLimitError, True, True, True, True, True]))


def test_a_helper_that_dies_is_an_error_and_not_a_wait(monkeypatch):
    math_equal("x", "x+0")
    monkeypatch.setattr(equivalence, "DEADLINE_SECONDS", 60.0)
    victim = equivalence._helper._process.pid
    timer = threading.Timer(0.5, os.kill, (victim, signal.SIGKILL))
    timer.start()
    with pytest.raises(EquivalenceError, match="died while comparing"):
        math_equal(TOWER, "13x")
    timer.join()
    assert math_equal("2x", "x+x")


def test_a_pair_asked_before_does_not_reach_the_helper(monkeypatch):
    asked = []
    monkeypatch.setattr(equivalence._helper, "ask", lambda gold, found: asked.append((gold, found)) or True)
    for _ in range(3):
        math_equal("once upon", "a time")
    assert asked == [("once upon", "a time")]


def test_what_is_cheap_to_compare_does_not_reach_the_helper(monkeypatch):
    def ask(gold, found):
        raise AssertionError((gold, found))

    monkeypatch.setattr(equivalence._helper, "ask", ask)
    assert same_expression(r"\frac{1}{2}", "0.5")
    assert same_expression(r"\left( 3, \dfrac{\pi}{7} \right)", r"(3,\frac{\pi}{7})")
    assert not same_expression("(3,4)", "(4,3)")
    assert not same_expression("5k", "I do not know")


SCRIPT = """
import json, sys
from rewards import equivalence
print(json.dumps([equivalence.math_equal("x+x", "2x"), equivalence._helper._process.pid]))
"""


@pytest.mark.parametrize("closed", [False, True])
def test_an_unguarded_script_can_compare_and_leaves_no_process(closed):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
        preexec_fn=(lambda: os.close(0)) if closed else None,
    )
    same, pid = json.loads(run.stdout)
    assert same is True
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} is still there")
