"""What holds for any text: bounds, invariances, the sum, and that copies never pay."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conf.schema.rewards import MODES, PARTS, Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.penalties import is_copy
from rewards.total import score_episode
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

RESOURCES = TextResources()
# Text that looks like a solver's as often as text that looks like nothing.
LEXICON = r"""Tom|Ann|B-12|pens|box|has|3|7|12.5|+|*|=|-|x|x-5|is|The answer is|#### 7|How many|?|.|twice|half of|
times 4|
\frac{1}{2}|\boxed{|}|(B)|(3 + x)|I cannot tell.|
"""
WORDS = st.sampled_from(LEXICON.split("|"))
TEXT = st.one_of(st.lists(WORDS, max_size=25).map(" ".join), st.text(max_size=200))
PAIRS = st.lists(st.tuples(TEXT.filter(str.strip), TEXT), max_size=5)
SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def episodes(draw: st.DrawFn) -> Episode:
    pairs = draw(PAIRS)
    kind = draw(st.sampled_from(["number", "choice", "boolean", "text", "multi_choice"]))
    gold = {"number": "7", "choice": "B", "boolean": "yes", "text": "pens", "multi_choice": "AB"}[kind]
    question = draw(TEXT.filter(str.strip))
    return Episode(
        Problem("p", question, gold, kind, solution=draw(st.none() | TEXT)),
        "daslam",
        draw(st.none() | TEXT.map(Attempt)),
        Decomposition("", [q for q, _ in pairs]),
        [Turn(q, a) for q, a in pairs],
        Attempt(draw(TEXT)),
    )


def copied(episode: Episode) -> Episode:
    """A new record of the same texts, answers still to be read."""
    return Episode.from_json(json.loads(json.dumps(episode.to_json())))


@SLOW
@given(episodes())
def test_bounded_parts_are_bounded_and_finite_for_any_text(episode):
    reward = score_episode(episode, RESOURCES, Rewards.for_mode("bounded"))
    for part in PARTS:
        value = reward.parts[part]
        if value is None:
            assert part in ("operation_order", "cot_proximity")
            assert episode.problem.solution is None
            continue
        assert (-1.0 if part == "cot_proximity" else 0.0) - 1e-9 <= value <= 1.0 + 1e-9
    assert math.isfinite(reward.total)
    assert len(reward.by_subquestion) == len(episode.decomposition.subquestions)


@SLOW
@given(episodes(), st.sampled_from(MODES))
def test_the_total_is_the_weighted_clipped_sum_less_the_penalties(episode, mode):
    chosen = Rewards.for_mode(mode)
    reward = score_episode(episode, RESOURCES, chosen)
    expected = -math.fsum(reward.penalties.values())
    for part, value in reward.parts.items():
        if value is not None:
            low, high = chosen.clip.get(part, (-math.inf, math.inf))
            expected += chosen.weights[part] * min(max(value, low), high)
    assert reward.total == pytest.approx(expected, abs=1e-9)


@SLOW
@given(episodes(), st.sampled_from(MODES))
def test_shares_add_up_to_the_parts_that_belong_to_subquestions(episode, mode):
    reward = score_episode(episode, RESOURCES, Rewards.for_mode(mode))
    assert set(reward.shares) == {"entity_coverage", "answer_consistency"}
    assert math.fsum(reward.shares["answer_consistency"]) == pytest.approx(reward.parts["answer_consistency"])
    covered = math.fsum(reward.shares["entity_coverage"])
    # A question without nouns is covered by nothing at all: 1, of which no sub-question has a share.
    assert reward.parts["entity_coverage"] in (pytest.approx(covered), 1.0)


@SLOW
@given(episodes(), st.data())
def test_a_repeated_subquestion_never_raises_a_bounded_part(episode, data):
    if not episode.turns:
        return
    chosen = Rewards.for_mode("bounded")
    once = score_episode(copied(episode), RESOURCES, chosen)
    turn = data.draw(st.sampled_from(episode.turns))
    change = data.draw(st.sampled_from([str, str.upper, str.lower, lambda text: f" {text}  "]))
    for _ in range(data.draw(st.integers(1, 5))):
        episode.turns.append(Turn(change(turn.question), turn.text))
        episode.decomposition.subquestions.append(change(turn.question))
    again = score_episode(copied(episode), RESOURCES, chosen)
    for part in PARTS:
        if once.parts[part] is not None:
            assert again.parts[part] <= once.parts[part] + 1e-6
    assert again.total <= once.total + 1e-6


@SLOW
@given(episodes(), TEXT)
def test_adding_the_question_as_a_subquestion_never_pays(episode, reply):
    if any(is_copy(turn.question, episode.problem.question) for turn in episode.turns):
        return
    chosen = Rewards.for_mode("bounded")
    before = score_episode(copied(episode), RESOURCES, chosen).total
    episode.turns.append(Turn(episode.problem.question, reply))
    episode.decomposition.subquestions.append(episode.problem.question)
    assert score_episode(copied(episode), RESOURCES, chosen).total <= before + 1e-6


@SLOW
@given(episodes(), st.sampled_from(MODES), st.sampled_from(["upper", "lower", "swapcase"]))
def test_coverage_does_not_see_case_or_spaces(episode, mode, change):
    chosen = Rewards.for_mode(mode)

    def ascii_only(text: str) -> str:  # "ß" and its like have no upper case to come back from
        return text.encode("ascii", "ignore").decode().strip() or "a"

    episode.problem = Problem("p", ascii_only(episode.problem.question), "7")
    episode.decomposition.subquestions = [ascii_only(text) for text in episode.decomposition.subquestions]
    plain = score_episode(copied(episode), RESOURCES, chosen)
    episode.problem = Problem("p", "  ".join(getattr(episode.problem.question, change)().split(" ")), "7")
    episode.decomposition.subquestions = [
        "\t" + getattr(text, change)().replace(" ", " \n") + " " for text in episode.decomposition.subquestions
    ]
    assert score_episode(copied(episode), RESOURCES, chosen).parts["entity_coverage"] == pytest.approx(
        plain.parts["entity_coverage"]
    )


@SLOW
@given(TEXT, TEXT, st.sampled_from(["paper", "bounded"]), st.sampled_from(["upper", "lower"]))
def test_operation_order_does_not_see_case_or_spaces(solution, final, mode, change):
    chosen = Rewards.for_mode(mode)

    def value(gold: str, guided: str) -> float | None:
        episode = Episode(Problem("p", "How many?", "7", solution=gold), "daslam", final=Attempt(guided))
        return score_episode(episode, RESOURCES, chosen).parts["operation_order"]

    def changed(text: str) -> str:
        return "  ".join(getattr(text, change)().split(" "))

    ascii_texts = [text.encode("ascii", "ignore").decode() for text in (solution, final)]
    assert value(*ascii_texts) == pytest.approx(value(*map(changed, ascii_texts)))
