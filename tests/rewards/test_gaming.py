"""The known ways to game the reward: none pays in bounded mode, and docs/rewards.md says what each pays in paper."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from conf.schema.places import ROOT
from conf.schema.rewards import PARTS, Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.total import fill_answers, score_episode
from rewards.turns import repeated
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

QUESTION = "Tom has 3 pens. Ann has twice as many pens as Tom. Bob has 4 more pens than Ann. How many pens has Bob?"
SOLUTION = "3 * 2 = 6 pens for Ann.\n6 + 4 = 10 pens for Bob."
PLAN, REPLIES = ["How many pens has Ann?"], ["Ann has 3 * 2 = 6 pens."]
WRONG = "3 + 4 = 7 pens for Bob."
DOCUMENT = ROOT / "docs" / "rewards.md"


def episode(plan: list[str], replies: list[str], final: str) -> Episode:
    return Episode(
        Problem("p", QUESTION, "10", solution=SOLUTION),
        "daslam",
        Attempt("I cannot tell."),
        Decomposition("\n".join(plan), plan),
        [Turn(*pair) for pair in zip(plan, replies, strict=True)],
        Attempt(final),
    )


# name: (what is gamed, the honest episode beside it, the part that must not rise)
GAMES = {
    "a hundred copies": (episode(PLAN * 100, REPLIES * 100, WRONG), episode(PLAN, REPLIES, WRONG), PARTS),
    "a hundred copies, spelled differently": (
        episode([f"{' ' * i}{PLAN[0].upper()}" for i in range(100)], REPLIES * 100, WRONG),
        episode(PLAN, REPLIES, WRONG),
        PARTS,
    ),
    "the question as a sub-question": (
        episode([*PLAN, QUESTION], [*REPLIES, "Bob has 7 pens."], WRONG),
        episode(PLAN, REPLIES, WRONG),
        ("answer_consistency",),
    ),
    "what is asked as a sub-question": (
        episode([*PLAN, "How many pens has Bob?"], [*REPLIES, "I cannot tell."], WRONG),
        episode(PLAN, REPLIES, WRONG),
        ("answer_consistency",),
    ),
    "replies that echo": (episode(PLAN, PLAN, WRONG), episode(PLAN, REPLIES, WRONG), ("answer_consistency",)),
    "several answers at once": (
        episode(PLAN, REPLIES, f"{WRONG}\nThe answer is 7 or 10."),
        episode(PLAN, REPLIES, f"{WRONG}\nThe answer is 7."),
        ("correctness",),
    ),
}


@pytest.fixture(scope="module")
def resources() -> TextResources:
    return TextResources()


@pytest.mark.parametrize("name", GAMES)
def test_it_does_not_pay_in_bounded_mode(name, resources):
    gamed, honest, parts = GAMES[name]
    settings = Rewards.for_mode("bounded")
    worse, better = (score_episode(item, resources, settings) for item in (gamed, honest))
    for part in parts:
        assert worse.parts[part] <= better.parts[part] + 1e-6
    if gamed.final == honest.final:
        assert worse.total <= better.total + 1e-6


def test_a_plan_that_only_repeats_the_question_earns_no_more_than_no_plan(resources):
    settings = Rewards.for_mode("bounded")
    copied = score_episode(episode([QUESTION], [QUESTION], WRONG), resources, settings)
    assert copied.total <= score_episode(episode([], [], WRONG), resources, settings).total


def test_a_copy_is_no_decomposition_and_is_charged(resources):
    settings = Rewards.for_mode("bounded")
    reward = score_episode(GAMES["the question as a sub-question"][0], resources, settings)
    assert reward.penalties == {"copy": settings.penalty["copy"]}
    assert reward.by_subquestion[1] < 0 < reward.by_subquestion[0]
    assert sum(reward.by_subquestion) < reward.by_subquestion[0]


def test_the_document_says_what_each_pays_in_paper_mode(resources):
    settings = Rewards.for_mode("paper")
    rows = dict(re.findall(r"^\| ([a-z][^|]+?) \| ([-\d.]+ → [-\d.]+) \|", DOCUMENT.read_text(), re.MULTILINE))
    for name, (gamed, honest, _) in GAMES.items():
        before, after = (score_episode(item, resources, settings).total for item in (honest, gamed))
        assert rows[name] == f"{before:.2f} → {after:.2f}"


@pytest.mark.parametrize(
    ("question", "replies", "repeats"),
    [
        ("What does it cost?", ["It costs $8.", "8", "It is 8.0.", "It costs 8 dollars."], {1, 2, 3}),
        ("What does it cost?", ["It costs $8.", "It costs $9.", "It costs 8 dollars."], {2}),
        ("Is it so?", ["Yes.", "yes, it is", "No.", "no"], {1, 3}),
        ("Who is it?", ["Ann", "ann", "Bob"], {1}),
    ],
)
def test_a_repeat_is_one_however_its_answer_is_written(question, replies, repeats):
    asked = episode([question] * len(replies), replies, WRONG)
    fill_answers(asked)
    assert repeated(asked) == repeats


def test_what_a_solver_thinks_is_not_scored(resources):
    thinks = "<think>3 * 2 = 7? No. Bob has 4 more.</think>\n"
    plain = Episode(
        Problem("p", QUESTION, "10", solution=SOLUTION), "daslam", Attempt("I cannot tell."),
        Decomposition("\n".join(PLAN), PLAN), [Turn(PLAN[0], REPLIES[0])], Attempt(SOLUTION),
    )  # fmt: skip
    thought = replace(
        plain, initial=Attempt(f"{thinks}I cannot tell."), final=Attempt(thinks + SOLUTION),
        turns=[Turn(PLAN[0], thinks + REPLIES[0])],
    )  # fmt: skip
    for mode in ("bounded", "paper", "authors_code"):
        settings = Rewards.for_mode(mode)
        assert score_episode(thought, resources, settings) == score_episode(plain, resources, settings)
    assert thought.turns[0].text.startswith("<think>"), "the record keeps it"
