from functools import partial

import pytest

from rollout.answers.extract import MAX_TEXT, extract, last_boxed, parse_number
from rollout.answers.mark import score
from rollout.records import Problem
from tests.cpu_time import least_seconds
from tests.rollout.answers.wrong_answers import ALL_WRONG, OPTIONS, WRONG


def problem(kind, gold, choices=None, **meta):
    return Problem("p", "?", gold, answer_type=kind, choices=choices, meta=meta)


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
            ("number", "70000", given)
            for given in ("$70K", r"\$70K", "$70k", "70K dollars", "€70 K", "US$70K", "Rs. 70K")
        ),
        *(("number", gold, "70,000") for gold in ("$70K", "70K USD")),
        *(("number", "1500000", given) for given in ("$1.5M", "$1.5Mn", "1.5M euros", "$1.5 mil")),
        ("number", "2500000000", "$2.5B"),
        *(("number", "300", given) for given in ("300 K", "300K", "$300K$")),
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
    assert [score(problem("text", "..."), given) for given in ("...", "()", ".", "$")] == [1.0, 0.0, 0.0, 0.0]
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
    r"\$1million", "$1", "$1K", "$1K$", "1K ", "Rs 1", r"\frac",
    r"\frac{1}{", r"\text{", "**", "**1**", "`", "\n", "\n- 1", "? 1", ". ", "Rs. ", "1\u2009", "½", "١", "e9", "10^",
    "1 x 10^", "1 or ",
    "not ", "more than ", " ", "\t", "\u00a0", "option A ", "1%", r"\left(", r"\cup ", ",", "1:", "≈", "|", "⟦",
    r"\pm", "1!", "'", "<", "🙂", "the answer to ", "answer, ", "<answer>", "<answer>1</answer>", "<think>", "</b>",
    "<b>", "#### 1. ", "#### A) ", "one ", "one hundred and ", "twenty-", "a third of ", "half of ", "1/2 of ",
    "1 (a", "! ",
    "I do not think it is ", "in the first ", "In 2 ", "is 5 ", "so 5 ", "I choose A ", "A, ", "A\n", "A is not ",
    "neither ", "it depends ", "true for some ", "perhaps ", "答案是", "1。", "12 is wrong ", "5 cm^2 ", "!=",
    "1 times ", "So yes ", "So it is A ", r"\[", r"\implies ", "cannot find ", "but ",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["number", "choice", "multi_choice", "boolean", "text", "expression"])
def test_no_text_takes_long_to_read(kind):
    texts = [(piece * MAX_TEXT)[:MAX_TEXT] for piece in PIECES]
    texts += [
        (a * MAX_TEXT)[: MAX_TEXT // 2] + (b * MAX_TEXT)[: MAX_TEXT // 2]
        for a, b in zip(PIECES, PIECES[7:], strict=False)
    ]
    gold = {"number": "12", "choice": "B", "multi_choice": "AB", "boolean": "yes"}.get(kind, r"\frac{1}{3}")

    def read(text: str) -> None:
        extract(text, kind, OPTIONS)
        score(problem(kind, gold, OPTIONS), text)

    taken = [(text[:20], least_seconds(partial(read, text), enough=1.0)) for text in texts]
    assert [(start, seconds) for start, seconds in taken if seconds > 1.0] == []


NUMBERS = ["7", "8", "12", "15", "24"]


@pytest.mark.parametrize(
    ("text", "choices", "letter"),
    [
        ("The answer is B because the other numbers leave 7.", NUMBERS, "B"),
        ("The answer is B, because 24 is too large.", NUMBERS, "B"),
        ("The correct answer is B: each of the 7 boys gets it.", NUMBERS, "B"),
        ("The answer is B) 12.", NUMBERS, None), ("B) 12", NUMBERS, None), ("Answer: (B) $12", NUMBERS, None),
        ("The answer is C) -1.5.", ["0.5", "1.5", "-1.5", "2"], "C"),
        ("The answer is C) 1.5.", ["0.5", "1.5", "-1.5", "2"], None),
        (r"The answer is A) $-\frac{1}{2}$", [r"$-\frac{1}{2}$", r"$\frac{1}{2}$", "0", "1"], "A"),
        ("The answer is (D) -20%", ["20%", "10%", "0%", "-20%"], "D"),
    ],
)  # fmt: skip
def test_only_another_options_value_beside_a_letter_contradicts_it(text, choices, letter):
    problem = Problem("1", "Which?", letter or "B", "choice", choices)
    assert score(problem, extract(text, "choice", choices).answer) == (letter is not None)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 1:4.", "1:4"), (r"The ratio is 1:\sqrt{2}.", r"1:\sqrt{2}"), ("Ratio: 2:3", "2:3"),
        (r"The answer is: \sqrt{2}", r"\sqrt{2}"), ("So x: 4", "4"),
    ],
)  # fmt: skip
def test_a_ratio_is_read_whole(text, answer):
    assert extract(text, "expression").answer == answer
