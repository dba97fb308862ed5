"""A decomposer that hands the solver what only solving the problem gives is seen, and is not paid for it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from conf.schema.rewards import Rewards
from rewards.leak import handed_over, measures
from rewards.nouns_and_vectors import TextResources
from rewards.numbers_in_text import known_values, results, values
from rewards.parts.gold_steps import gold_steps
from rewards.total import fill_answers, score_episode
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

FARM = Problem(
    "farm",
    "A farm has 6 fields with 45 sheep each. In spring 38 lambs are born and 13 sheep are sold. "
    "How many sheep are there?",
    "295",
    solution="There are 6 * 45 = 270 sheep.\nWith the lambs there are 270 + 38 = 308.\nThen 308 - 13 = 295 are left.",
)
HONEST = [
    ("How many sheep are in all fields?", "There are 6 * 45 = 270 sheep."),
    ("How many sheep are there with the lambs?", "270 + 38 = 308 sheep."),
    ("How many of the 308 sheep are left when 13 are sold?", "308 - 13 = 295 sheep are left."),
]
FINAL = "6 * 45 = 270\n270 + 38 = 308\n308 - 13 = 295 sheep."


def episode(pairs, problem: Problem = FARM, initial: str = "6 + 45 = 51 sheep.", final: str = FINAL) -> Episode:
    plan = [question for question, _ in pairs]
    turns = [Turn(*pair) for pair in pairs]
    return Episode(problem, "daslam", Attempt(initial), Decomposition("\n".join(plan), plan), turns, Attempt(final))


@pytest.fixture(scope="module")
def resources() -> TextResources:
    return TextResources()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Nine hundred and eighty of 1,200.50 at $3", ["980", "1200.5", "3"]),
        ("three and four, twenty-five, two dozen, 3 thousand", ["3", "4", "25", "24", "3000"]),
        ("eleven thousand seven hundred and sixty", ["11760"]),
        ("650/13 and 20%", ["650", "13", "20"]),
        ("3/4, 2 1/2, 1½ of ¼ and 6/8", ["0.75", "2.5", "1.5", "0.25", "6", "8"]),
        (r"\frac{3}{4}, $2\frac{1}{2}$ and \frac{12}{6}", ["0.75", "2.5", "12", "6"]),
        ("6.72e-05, 3 x 10^8 and 2 \\times 10^{-3}", ["0.0000672", "300000000", "0.002"]),
        ("6.72 × 10⁻⁵ and 3·10⁸", ["0.0000672", "300000000"]),
        ("On 3/4/2024, 2e999 and 3/4%", ["3", "4", "2024"]),
        ("Step 2: take #1, the 3rd one, twice and half of it", ["1"]),  # one
        ("1. How many?\n2) How much?", []),
    ],
)
def test_values_of_a_text(text, found):
    assert values(text) == frozenset(map(Decimal, found))


def test_a_percentage_makes_its_share_known():
    assert known_values("20% of 50") == frozenset(map(Decimal, ("20", "0.2", "50")))


def test_a_fraction_makes_its_numbers_known():
    assert known_values("3/4 of it") == frozenset(map(Decimal, ("0.75", "3", "4")))


def test_results_are_the_values_after_equals_signs():
    assert results("x = 3/4 and 1 - 1/4 = $0.75 = .75, 2 = 3 thousand, 5") == frozenset(map(Decimal, ("0.75", "3000")))


CAKE = Problem(
    "cake",
    "A cake is cut into equal pieces. Ann eats a quarter of it and Bob nothing. What fraction of the cake is left?",
    "3/4",
    solution="Ann eats 1/4.\nThe part left is 1 - 1/4 = 3/4.",
)


@pytest.mark.parametrize(
    ("gold", "question", "gives"),
    [
        ("3/4", "In the first 3 hours, what fraction of the cake does Ann eat?", False),
        ("3/4", "Does Ann eat 1/4 or 1/2 of the cake with 4 guests?", False),
        ("3/4", "If 0.75 of the cake is left, what fraction is left?", True),
        ("3/4", "If 3/4 of the cake is left, what fraction is left?", True),
        ("3/4", "If ¾ of the cake is left, what fraction is left?", True),
        (r"\frac{3}{4}", r"Is \frac{3}{4} of the cake left?", True),
        ("-3/4", "Is it -3/4?", True),
        ("6.72e-05", "What do the first 10 hours bring?", False),
        ("6.72e-05", "Is it 0.0000672 of the cake?", True),
    ],
)
def test_a_fraction_or_a_power_of_ten_is_one_value_of_the_gold_answer(gold, question, gives):
    solution = CAKE.solution.replace("3/4", gold.strip("-"))
    (found,) = handed_over(episode([(question, "?")], replace(CAKE, answer=gold, solution=solution), "I cannot tell."))
    assert (found.answer, found.charged) == (gives, gives)


def test_a_division_of_known_numbers_hands_nothing_over():
    problem = Problem("p", "Share 25 pens among 8 and 50 pens among 2.", "28", solution="25/8 = 3.125\n50/2 = 25")
    pairs = [("How much is 25/8?", "25/8 = 3.125"), ("How much is 50/2?", "25"), ("Is 1/2 or 25/2 left?", "No.")]
    assert measures(handed_over(episode(pairs, problem))) == {"given": 0.0, "gives_answer": 0.0}


def test_the_numbers_that_a_gold_fraction_is_written_with_are_no_right_results():
    assert gold_steps(replace(CAKE, solution="It is 3/4.")).numbers == {Decimal("0.75")}
    replies = {"subanswers": ["1/4", "3/4"]}
    row = replace(CAKE, subquestions=["Eaten?", "Left?"], solution=None, meta=replies)
    assert gold_steps(row).numbers == {Decimal("0.25"), Decimal("0.75")}
    assert gold_steps(Problem("p", "?", "6.72e-05", solution="So it is.")).numbers == {Decimal("0.0000672")}


@pytest.mark.parametrize("mode", ["bounded", "outcome"])
@pytest.mark.parametrize(
    "leak",
    [
        [("As 6 * 45 = 270, 270 + 38 = 308 and 308 - 13 = 295, how many sheep are there?", "295 sheep are there.")],
        [*HONEST[:2], ("Two hundred and ninety-five are left. How many sheep are there?", "295 sheep.")],
        [("If the fields hold 270 sheep, how many are there with the lambs?", "270 + 38 = 308 sheep."), HONEST[2]],
        [*HONEST[:2], ("How many are 308 - 13 = 295 sheep?", "295"), *((f"Is field {n} full?", "Yes.") for n in "123")],
    ],
)
def test_a_leak_is_at_least_three_tenths_below_an_honest_decomposition(leak, mode, resources):
    settings = Rewards.for_mode(mode)
    honest, leaking = (score_episode(episode(pairs), resources, settings) for pairs in (HONEST, leak))
    assert honest.measures == {"given": 0.0, "gives_answer": 0.0}
    assert leaking.measures["given"] > 0
    assert honest.total >= leaking.total + 0.3


@pytest.mark.parametrize("mode", ["bounded", "outcome"])
def test_a_right_answer_that_was_given_away_earns_no_more_than_a_wrong_one(mode, resources):
    settings = Rewards.for_mode(mode)
    given = [*HONEST[:2], ("It comes to 295. How many sheep are there?", "295 sheep.")]
    bought = score_episode(episode(given), resources, settings)
    assert bought.correct == 1
    most_of_a_wrong_one = sum(weight for part, weight in settings.weights.items() if part != "correctness")
    assert bought.total <= most_of_a_wrong_one


def test_known_values_are_no_leak():
    reply = [("Is 51 right?", "No."), ("How many are 6 and 45, in 12 months?", "270"), ("Is it 270?", "Yes.")]
    assert measures(handed_over(episode(reply))) == {"given": 0.0, "gives_answer": 0.0}


def test_a_value_that_a_reply_only_repeats_stays_a_leak():
    pairs = [
        ("The fields hold 270 sheep. How many fields are there?", "6 fields with 270 sheep."),
        ("270 + 38?", "308"),
    ]
    assert [bool(one.values) for one in handed_over(episode(pairs))] == [True, True]


def test_an_everyday_value_that_the_problem_is_solved_for_is_a_leak():
    problem = Problem("eggs", "A box holds 6 eggs. How many eggs do 4 boxes hold?", "24", solution="6 * 4 = 24 eggs.")
    (told,) = handed_over(episode([("As it is 24, how many eggs are there?", "24")], problem))
    assert told.values == {Decimal(24)}
    assert told.answer
    (asked,) = handed_over(episode([("How many eggs are in 12 boxes?", "72")], problem))
    assert not asked.values


@pytest.mark.parametrize(
    ("kind", "gold", "question", "gives"),
    [
        ("text", "Karen Fairchild", "Does Karen Fairchild sing it?", True),
        ("text", "Karen Fairchild", "Who sings it with Karen?", False),
        ("boolean", "yes", "Is it so, yes or no?", False),
        ("boolean", "yes", "The answer is yes. Is it so?", True),
        ("boolean", "yes", "Is the answer yes?", True),
        ("boolean", "yes", "Would the correct answer be 'true'?", True),
        ("boolean", "yes", "The answer is yes?", True),
        ("boolean", "yes", "Is the answer no?", False),
        ("boolean", "yes", "Is the answer yes or no?", False),
        ("boolean", "yes", "Is the answer to #1 yes?", False),
        ("choice", "B", "The answer is (B). Which one is it?", True),
        ("choice", "B", "Which of the pens is longer?", False),
        ("choice", "B", "So the answer is B?", True),
        ("choice", "B", "Is the answer **B**?", True),
        ("choice", "B", "Is the answer A?", False),
        ("choice", "B", "Is the answer A or B?", False),
    ],
)
def test_the_answer_may_be_a_name_or_a_verdict(kind, gold, question, gives):
    choices = {"A": "the red pen", "B": "the blue pen"} if kind == "choice" else None
    problem = Problem("p", "Which pen is it?", gold, kind, choices=choices)
    (found,) = handed_over(episode([(question, "I cannot tell.")], problem, initial="I cannot tell."))
    assert (found.answer, found.charged) == (gives, gives)


def test_the_charge_falls_on_the_subquestions_that_leak(resources):
    settings = Rewards.for_mode("outcome")
    pairs = [
        HONEST[0],
        ("With 308 sheep, how many are left?", "295"),
        ("So is it 295?", "Yes."),
        ("Is 308 a lot?", "No."),
    ]
    reward = score_episode(episode(pairs), resources, settings)
    assert reward.penalties == {"given": settings.penalty["given"]}
    assert reward.by_subquestion == pytest.approx([0, -1 / 2, 0, -1 / 2])


def test_a_decomposition_without_subquestions_hands_nothing_over(resources):
    assert score_episode(episode([]), resources, Rewards.for_mode("bounded")).measures["given"] == 0.0
    direct = Episode(FARM, "direct", final=Attempt(FINAL))
    assert score_episode(direct, resources, Rewards.for_mode("bounded")).measures == {}


CHAIN = "6 * 45 = 270, 270 + 38 = 308, 308 - 13 = 295, so the answer is 295"


@pytest.mark.parametrize("mode", ["bounded", "outcome"])
def test_concepts_that_hand_the_answer_over_are_charged_as_a_subquestion_is(mode, resources):
    settings = Rewards.for_mode(mode)
    honest, gamed = episode(HONEST), replace(episode(HONEST[:1]), concepts=CHAIN)
    plain, bought = (score_episode(one, resources, settings) for one in (honest, gamed))
    assert bought.penalties == {"given": settings.penalty["given"]}
    assert bought.measures == {"given": 0.5, "gives_answer": 1.0}
    assert sum(bought.by_subquestion) >= 0, "no sub-question pays for the concepts"
    assert plain.total >= bought.total + 0.3
    assert score_episode(replace(honest, concepts="a product, then a sum"), resources, settings) == plain


def test_concepts_without_a_subquestion_have_measures_and_a_penalty(resources):
    settings = Rewards.for_mode("outcome")
    alone = score_episode(replace(episode([]), concepts=CHAIN), resources, settings)
    assert alone.measures == {"given": 1.0, "gives_answer": 1.0}
    assert alone.total == 1 - settings.penalty["given"]


def test_a_value_of_the_concepts_stays_a_leak():
    pairs = [("How many sheep are in the fields?", "270 sheep."), ("And 270 with 38 lambs?", "308")]
    given = handed_over(replace(episode(pairs), concepts="the fields hold 270"))
    assert [bool(one.values) for one in given] == [False, True]


LINE = Problem(
    "line",
    "Where does the line 5x + 6y = 18 cross the axes? Give the sum of the two numbers.",
    "6.6",
    solution="Set $y = 0$: 5x = 18, so x = 3.6.\nFor x = 0, 6y = 18, so y = 3.\nThe sum is 3.6 + 3 = 6.6.",
)


@pytest.mark.parametrize(
    ("question", "given"),
    [
        ("What is x when y = 0?", []),
        ("What is x if $y=0$ and (z_1 = 1)?", []),
        (r"What is \sin\theta if \theta = 30, and x = 2?", []),
        ("As y = 3, what is the sum?", ["3"]),
        ("As x = 3.6, what is the sum?", ["3.6"]),
        ("As 5 + 2 = 7, what is x?", ["7"]),
        ("As z + y = 4, what is x?", ["4"]),
        ("As 2 y = 4, what is x?", ["4"]),
        ("As z = y = 4, what is x?", ["4"]),
    ],
)
def test_a_letter_that_is_set_to_a_value_is_no_equation(question, given):
    (found,) = handed_over(episode([(question, "?")], LINE, "I cannot tell."))
    assert found.values == frozenset(map(Decimal, given))


SPEED = Problem(
    "speed", "A car covers 180 km in 4 hours. What is its speed?", "B", "choice",
    choices=["40 km/h", "45 km/h", "50 km/h"], solution="Speed = 180 / 4 = 45 km/h.\nAnswer: B",
)  # fmt: skip
COMPUTED = ("As 180 / 4 = 45, what is the speed?", "45 km/h.")


@pytest.mark.parametrize(
    ("pairs", "initial", "given"),
    [
        ([COMPUTED], "I cannot tell.", [True]),
        ([("As 180 / 4 = 40, what is the speed?", "45")], "I cannot tell.", [False]),
        ([("Is the speed 40, 45 or 50 km/h?", "45")], "I cannot tell.", [False]),
        ([("How far does it get in an hour?", "It gets 45 km far."), COMPUTED], "I cannot tell.", [False, False]),
        ([COMPUTED], "180 / 4 = 45, so the answer is B.", [False]),
    ],
)
def test_the_number_of_the_gold_option_is_given_where_it_was_computed(pairs, initial, given):
    asked = episode(pairs, SPEED, initial)
    fill_answers(asked)
    assert [one.charged for one in handed_over(asked)] == given


@pytest.mark.parametrize(
    ("question", "given"),
    [
        ("How many sheep are there (answer 295)?", ["295"]),
        ("How many sheep, #295?", ["295"]),
        ("Who buys the 295th sheep?", ["295"]),
        ("Step 308: how many are left?", ["308"]),
        ("Step 2: how many are left of #1, the 9th?", []),
    ],
)
def test_a_label_hides_no_value_that_the_problem_is_solved_for(question, given):
    (found,) = handed_over(episode([(question, "?")]))
    assert found.values == frozenset(map(Decimal, given))
    assert found.answer == ("295" in given)


@pytest.mark.parametrize(
    ("text", "answer", "solution", "question", "charged"),
    [
        ("Half of 4 apples are red.", "2", "4 / 2 = 2", "Why are 2 apples red?", True),
        ("A quarter of 16 boys ran.", "4", "16 / 4 = 4", "Why did 4 boys run?", True),
        ("Of 12 he gives half and ends with a sixth.", "2", "12 / 2 = 6\n6 - 4 = 2", "Are 6 left?", True),
        ("Tom is second and Bob fifth in line.", "2", "5 - 2 - 1 = 2", "How many are after the 2nd person?", False),
        ("Ann came thirteenth.", "13", "12 + 1 = 13", "Who ran before the 13th?", False),
        ("She was the twenty-first of all.", "21", "20 + 1 = 21", "Who came before the 21st girl?", False),
    ],
)
def test_a_word_for_a_part_hides_no_result_and_one_for_an_ordinal_makes_the_ordinal_known(
    text, answer, solution, question, charged
):
    problem = Problem("p", f"{text} How many are there?", answer, solution=solution)
    assert handed_over(episode([(question, "?")], problem, "I cannot tell."))[0].charged == charged


def test_a_label_may_be_a_number_of_the_subquestions():
    problem = replace(FARM, answer="3", solution="1 + 2 = 3")
    pairs = [("How many fields?", "Few."), ("How many sheep?", "Few."), ("Step 3: which field is it, by #2?", "?")]
    assert not any(one.charged for one in handed_over(episode(pairs, problem)))
    assert handed_over(episode([pairs[2]], problem))[0].charged


@pytest.mark.parametrize(
    ("text", "question", "reply"),
    [
        ("The fair is on the 28th of May, and today is the 9th.", "How many days are 28 minus 9?", "28 - 9 = 19 days."),
        ("Tom solved problems 15 to 40.", "How many problems are 40 minus 15?", "40 - 15 = 25 problems."),
        ("Ann buys 5 dozen eggs at $6 a dozen.", "How many dollars are 5 times $6?", "5 * 6 = 30 dollars."),
        ("Ann buys five dozen eggs at $6 a dozen.", "How many dollars are 5 times $6?", "5 * 6 = 30 dollars."),
        ("Bob, the fifth of 45 boys, gets a ninth.", "How many are 45 divided by 9, and 5?", "45 / 9 = 5"),
    ],
)
def test_every_number_of_the_question_is_known(text, question, reply, resources):
    problem = Problem("p", f"{text} How many are there in the end?", "77", solution="76 + 1 = 77")
    asked = episode([(question, reply)], problem, "I cannot tell.")
    assert not handed_over(asked)[0].values
    plain = replace(asked, problem=replace(problem, question=f"{problem.question} {question}"))
    found, other = (score_episode(one, resources, Rewards.for_mode("bounded")) for one in (asked, plain))
    assert found.shares["answer_consistency"] == other.shares["answer_consistency"]
