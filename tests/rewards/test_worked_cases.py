"""Every part in every mode on cases worked out by hand: the arithmetic stands beside each value."""

from __future__ import annotations

import pytest

from conf.schema.rewards import PARTS, Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.parts.answer_consistency import answer_consistency, bounded_consistency
from rewards.parts.arithmetic_in_text import aligned, longest_common_subsequence, operations
from rewards.parts.cot_proximity import cot_proximity
from rewards.parts.entity_coverage import entity_coverage
from rewards.parts.operation_order import authors_operators, operation_order
from rewards.reward import Part
from rewards.total import score_episode
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

A, M, S, D = "add", "multiply", "subtract", "divide"

# N(Q), N(Q'): nouns as letters. paper |N(Q')|/|N(Q)|; authors_code 1 - |N(Q) ^ N(Q')|/|N(Q)|;
# bounded |N(Q) & N(Q')|/|N(Q)|.
COVERAGE = [
    ("paper", "abcd", "ab", 2 / 4),
    ("paper", "abcd", "abx", 3 / 4),
    ("paper", "ab", "abcde", 5 / 2),
    ("paper", "ab", "", 0 / 2),
    ("paper", "", "ab", 1.0),
    ("authors_code", "abcd", "ab", 1 - 2 / 4),  # c d missed
    ("authors_code", "abcd", "abx", 1 - 3 / 4),  # c d missed, x added
    ("authors_code", "ab", "abcde", 1 - 3 / 2),  # c d e added
    ("authors_code", "ab", "", 1 - 2 / 2),
    ("authors_code", "ab", "ab", 1 - 0 / 2),
    ("authors_code", "", "ab", 1.0),
    ("bounded", "abcd", "ab", 2 / 4),
    ("bounded", "abcd", "abx", 2 / 4),
    ("bounded", "ab", "abcde", 2 / 2),
    ("bounded", "ab", "xyz", 0 / 2),
    ("bounded", "", "", 1.0),
]


@pytest.mark.parametrize(("mode", "asked", "covered", "value"), COVERAGE)
def test_entity_coverage(mode, asked, covered, value):
    assert entity_coverage(frozenset(asked), frozenset(covered), mode) == pytest.approx(value)


# A sub-question: (match, cosine). paper match + cos; authors_code 0.25 cos.
CONSISTENCY = [
    ("paper", [(True, 0.5)], [1 + 0.5]),
    ("paper", [(False, 0.5)], [0 + 0.5]),
    ("paper", [(True, -0.5), (False, -0.2)], [1 - 0.5, 0 - 0.2]),
    ("paper", [(True, 1.0), (True, 0.0), (False, 0.25)], [1 + 1, 1 + 0, 0 + 0.25]),
    ("paper", [], []),
    ("authors_code", [(True, 0.5)], [0.25 * 0.5]),
    ("authors_code", [(False, 0.5)], [0.25 * 0.5]),
    ("authors_code", [(True, -0.8), (False, 1.0)], [0.25 * -0.8, 0.25 * 1.0]),
    ("authors_code", [], []),
    ("authors_code", [(True, 0.0)], [0.0]),
]


@pytest.mark.parametrize(("mode", "pairs", "values"), CONSISTENCY)
def test_answer_consistency(mode, pairs, values):
    found = answer_consistency([match for match, _ in pairs], [cosine for _, cosine in pairs], mode)
    assert found == pytest.approx(values)


def test_missing_steps_count_as_subquestions_without_an_answer():
    assert bounded_consistency([1.0, 0.5], 0) == [1.0 / 2, 0.5 / 2]
    assert bounded_consistency([1.0, 0.5], 2) == [1.0 / 4, 0.5 / 4]
    assert bounded_consistency([], 3) == []


# Gold and guided operations. paper: equal positions / m. authors_code: +0.5 an equal, -0.5 a different position,
# over the shorter list. bounded: longest common subsequence / the longer list.
ORDER = [
    ("paper", [A, M, A], [A, M, A], 3 / 3),
    ("paper", [A, M, A], [A, A], 1 / 3),  # position 1 equal, 2 not, 3 missing
    ("paper", [A, M], [M, A], 0 / 2),
    ("paper", [A], [A, M, S], 1 / 1),
    ("paper", [A, M, S, D], [M, M, S, A], 2 / 4),
    ("paper", [], [], 1.0),
    ("paper", [A], [], 0.0),
    ("paper", [], [A], 0.0),
    ("authors_code", ["+", "*"], ["+", "*"], 0.5 + 0.5),
    ("authors_code", ["+", "*", "="], ["+", "="], 0.5 - 0.5),
    ("authors_code", ["+"], ["*", "+"], -0.5),
    ("authors_code", ["+", "+", "="], ["-", "-", "="], -0.5 - 0.5 + 0.5),
    ("authors_code", [], [], 1.0),
    ("authors_code", ["+"], [], 0.0),
    ("bounded", [A, M, A], [A, M, A], 3 / 3),
    ("bounded", [A, M, A], [A, A], 2 / 3),
    ("bounded", [A, M], [M, A], 1 / 2),
    ("bounded", [A], [A, M, S], 1 / 3),
    ("bounded", [A, M, S, D], [M, M, S, A], 2 / 4),  # M S
    ("bounded", [A, M], [S, D], 0 / 2),
    ("bounded", [], [], 1.0),
    ("bounded", [], [A], 0.0),
]


@pytest.mark.parametrize(("mode", "gold", "guided", "value"), ORDER)
def test_operation_order(mode, gold, guided, value):
    assert operation_order(gold, guided, mode) == pytest.approx(value)


# A step: (c_j guided, c0_j initial). paper: c if c > c0 else -1 - c0. authors_code: c0/2 if c > c0 else
# -1 - c0/2. bounded: mean of c - c0, in [-1, 1].
PROXIMITY = [
    ("paper", [(0.9, 0.5)], 0.9),
    ("paper", [(0.5, 0.9)], -1 - 0.9),
    ("paper", [(0.5, 0.5)], -1 - 0.5),  # no gain is a loss
    ("paper", [(0.9, 0.5), (0.3, 0.4)], 0.9 + (-1 - 0.4)),
    ("paper", [], 0.0),
    ("authors_code", [(0.9, 0.5)], 0.5 / 2),
    ("authors_code", [(0.5, 0.9)], -1 - 0.9 / 2),
    ("authors_code", [(0.5, 0.5)], -1 - 0.5 / 2),
    ("authors_code", [(0.9, 0.5), (0.3, 0.4)], 0.5 / 2 + (-1 - 0.4 / 2)),
    ("authors_code", [], 0.0),
    ("bounded", [(0.9, 0.5)], 0.9 - 0.5),
    ("bounded", [(0.5, 0.9)], 0.5 - 0.9),
    ("bounded", [(0.9, 0.5), (0.3, 0.4)], (0.4 - 0.1) / 2),
    ("bounded", [(1.0, -1.0)], 1.0),  # 2, clipped
    ("bounded", [(-1.0, 1.0)], -1.0),
    ("bounded", [], 0.0),
]


@pytest.mark.parametrize(("mode", "steps", "value"), PROXIMITY)
def test_cot_proximity(mode, steps, value):
    assert cot_proximity([c for c, _ in steps], [c0 for _, c0 in steps], mode) == pytest.approx(value)


# Whole episodes. The solver's reply and the sub-question have the nouns of the table; where a cosine matters the
# two texts are the same (1) or one is empty (0).
QUESTION = "The box holds 3 pens. The bag holds 4 pens more than the box. How many pens does the bag hold?"
SOLUTION = "3 + 4 = 7 pens in the bag."


@pytest.fixture(scope="module")
def resources() -> TextResources:
    return TextResources()


def episode(
    subquestions: list[str],
    replies: list[str],
    final: str,
    initial: str = "",
    solution: str | None = SOLUTION,
    answer: str = "7",
    kind: str = "number",
) -> Episode:
    return Episode(
        Problem("p", QUESTION, answer, answer_type=kind, solution=solution),
        "daslam",
        Attempt(initial),
        Decomposition("\n".join(subquestions), subquestions),
        [Turn(*pair) for pair in zip(subquestions, replies, strict=True)],
        Attempt(final),
    )


ASKED = "How many pens are in the box?"
# N(Q) = {box, pen, bag}; of the sub-question {pen, box}; replies as named.
WHOLE = [
    # nouns of Q': pen, box. paper and bounded 2/3; authors_code 1 - |{bag}|/3.
    ("paper", "entity_coverage", ([ASKED], [""], "7"), 2 / 3),
    ("authors_code", "entity_coverage", ([ASKED], [""], "7"), 1 - 1 / 3),
    ("bounded", "entity_coverage", ([ASKED], [""], "7"), 2 / 3),
    ("bounded", "entity_coverage", ([], [], "7"), 0 / 3),
    ("paper", "entity_coverage", (["How many pens are in the box, the bag, the desk and the car?"], [""], "7"), 5 / 3),
    # an echo: same text, cosine 1, but no value, so no entity is answered
    ("paper", "answer_consistency", ([ASKED], [ASKED], "7"), 0 + 1.0),
    ("bounded", "answer_consistency", ([ASKED], [ASKED], "7"), 0.0),
    # no value of the gold solution beside an equation that holds: 0.6; all that it says was asked about
    ("bounded", "answer_consistency", ([ASKED], ["4 - 3 = 1 pens in the box."], "7"), 0.6),
    # a number that was known before 0.4, a number that is not 0.05, a bare one 3/4 of that
    ("bounded", "answer_consistency", ([ASKED], ["The box holds 3 pens."], "7"), 0.4 * (0.5 + 0.5 * 2 / 2)),
    ("bounded", "answer_consistency", ([ASKED], ["5"], "7"), 0.05 * 0.75),
    ("bounded", "answer_consistency", ([ASKED], ["7"], "7"), 1.0 * 0.75),
    # an empty reply: cosine 0
    ("paper", "answer_consistency", ([ASKED, ASKED], ["", ""], "7"), 0.0),
    ("authors_code", "answer_consistency", ([ASKED], [""], "7"), 0.0),
    ("bounded", "answer_consistency", ([], [], "7"), 0.0),
    # gold: one addition
    ("paper", "operation_order", ([], [], "3 + 4 = 7"), 1 / 1),
    ("paper", "operation_order", ([], [], "4 - 3 = 1, 3 + 4 = 7"), 0 / 1),
    ("bounded", "operation_order", ([], [], "4 - 3 = 1, 3 + 4 = 7"), 1 / 2),
    ("bounded", "operation_order", ([], [], "7"), 0.0),
    # the published list: "+" "=" in both, then one more "+" in the guided text: shorter list is the gold's
    ("authors_code", "operation_order", ([], [], "1 + 3 + 3 = 7"), 0.5 - 0.5),
    # the guided solution is the gold one, the initial attempt empty: one step, 1 - 0
    ("bounded", "cot_proximity", ([], [], SOLUTION), 1.0 - 0.0),
    ("bounded", "cot_proximity", ([], [], ""), 0.0 - 0.0),
    ("bounded", "cot_proximity", ([], [], "", SOLUTION), 0.0 - 1.0),
    # no initial step: the shortest text has none, so nothing is compared
    ("paper", "cot_proximity", ([], [], SOLUTION), 0.0),
    ("paper", "cot_proximity", ([], [], SOLUTION, SOLUTION), -1 - 1.0),
    ("authors_code", "cot_proximity", ([], [], SOLUTION, SOLUTION), -1 - 1 / 2),
    ("paper", "correctness", ([], [], "The answer is 7.00 pens."), 1.0),
    ("paper", "correctness", ([], [], "The answer is 8."), 0.0),
    ("authors_code", "correctness", ([], [], "#### 7"), 1.0),
    ("authors_code", "correctness", ([], [], "#### 7.0"), 0.0),  # as strings they differ
    ("bounded", "correctness", ([], [], "#### 7.0"), 1.0),
    ("outcome", "correctness", ([], [], "so 3 + 4 = 7"), 1.0),
]


@pytest.mark.parametrize(("mode", "part", "texts", "value"), WHOLE)
def test_a_part_of_a_whole_episode(mode, part, texts, value, resources):
    reward = score_episode(episode(*texts), resources, Rewards.for_mode(mode))
    assert reward.parts[part] == pytest.approx(value, abs=1e-5)


# Totals: parts named, the rest absent or 0, weights and clips as written.
def total_of(values: dict[str, float | None], settings: Rewards, monkeypatch, resources) -> float:
    import rewards.total as total

    assert list(total.PART_FUNCTIONS) == list(values)
    for name, value in values.items():
        monkeypatch.setitem(total.PART_FUNCTIONS, name, lambda *_, value=value: Part(value, None))
    return score_episode(episode([], [], "7"), resources, settings).total


TOTALS = [
    ("paper", (0.5, 1.5, 1.0, -1.2, 1.0), 0.5 + 1.5 + 1.0 - 1.2 + 1.0),
    ("authors_code", (0.5, 0.2, -1.0, -1.2, 0.0), 0.5 + 0.2 - 1.0 - 1.2 + 0.0),
    ("bounded", (1.0, 1.0, 1.0, 1.0, 0.0), 4 * 0.15),  # the most a wrong answer gets
    ("bounded", (0.0, 0.0, 0.0, -1.0, 1.0), -0.15 + 1.0),  # the least a right one gets
    ("bounded", (0.4, 0.6, 0.5, -0.2, 1.0), 0.15 * (0.4 + 0.6 + 0.5 - 0.2) + 1.0),
    ("bounded", (7.0, 7.0, 7.0, 7.0, 7.0), 4 * 0.15 + 1.0),  # every clip holds
    ("bounded", (0.5, 0.5, None, None, 1.0), 0.15 * (0.5 + 0.5) + 1.0),  # absent: left out
    ("outcome", (1.0, 1.0, 1.0, 1.0, 0.0), 0.0),
    ("outcome", (0.0, 0.0, 0.0, -1.0, 1.0), 1.0),
]


@pytest.mark.parametrize(("mode", "values", "total"), TOTALS)
def test_the_total(mode, values, total, monkeypatch, resources):
    found = total_of(dict(zip(PARTS, values, strict=True)), Rewards.for_mode(mode), monkeypatch, resources)
    assert found == pytest.approx(total)


OPERATIONS = [
    ("20 + 3 = 23", [A]),
    ("3 pens + 4 pens", [A]),
    ("32 kids - 6 kids", [S]),
    ("$26 x 2 = $52", [M]),
    ("5 dollars/hour * 3 hours", [M]),
    ("1/4 x 40", [D, M]),
    ("3(4 + 5) and (2)(3)", [M, A, M]),
    ("2x + 3y = 5, x - 1", [A, S]),
    ("x^2 at 90^\\circ", ["power"]),
    ("5 squared plus 3", ["power", A]),
    ("5% of 20", [M]),
    ("half of 10, twice 4, the sum of 3 and 4", [D, M, A]),
    ("12 divided by 4 times 3", [D, M]),
    (r"\frac{1}{2} \times \sqrt{4} + \sin 3", [D, M, "root", A, "sine"]),
    ("3 - -5", [S]),
    ("3 X 4 of vitamin b-12, so x-5 = 0", [M, S]),
    ("1,000/4", [D]),
    ("half a day, three times as many, a plus", []),
    ("a two-step plan, well-known, using T-shirts and vitamin B-12", []),
    ("20 pens - all red - were sold on 2020-01-05 and/or later", []),
    ("in 2019 (3 of them) it was -5", []),
]


@pytest.mark.parametrize(("text", "found"), OPERATIONS)
def test_operations_of_a_text(text, found):
    assert operations(text) == found


def test_the_authors_operators_are_strings_in_a_fixed_order():
    assert authors_operators("using 2 - 1 + 1") == ["+", "-", "sin"]


def test_alignment_follows_a_longest_common_subsequence():
    gold, guided = [A, M, A, D], [M, S, A]
    pairs = aligned(gold, guided)
    assert [a for a, _ in pairs if a] == gold
    assert [b for _, b in pairs if b] == guided
    assert sum(a == b for a, b in pairs) == longest_common_subsequence(gold, guided) == 2
