"""Turn rewards of a verifier's verdicts, worked by hand."""

from __future__ import annotations

import pytest

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.total import score_episode
from rewards.verdicts import judged_turns
from rollout.records import Attempt, Decomposition, Episode, PolicyCall, Problem, Turn
from tests.rollout.fakes import PLAN, CharacterEngine, Scripted, episode_of


def episode(*verdicts: list[str], refused: list[str] | None = None, answer: str = "5") -> Episode:
    """Concepts, sub-questions with these verdicts, and one before the second that was written again."""
    found = Episode(Problem("p", "How many in all?", "9"), "lm2", final=Attempt(f"The answer is {answer}.", answer))
    found.calls = [PolicyCall("concepts", [1], [2], [0.0], [0])]
    for number, classes in enumerate(verdicts):
        if refused is not None and number == 1:
            found.refused = [Turn("Who?", "?", call=len(found.calls), verdicts=refused)]
            found.calls.append(PolicyCall("next", [1], [2], [0.0], [0]))
        found.turns.append(Turn(f"How many {number}?", "3", call=len(found.calls), verdicts=classes))
        found.calls.append(PolicyCall("next", [1], [2], [0.0], [0]))
    found.decomposition = Decomposition("", [turn.question for turn in found.turns])
    return found


def asked_again(overrides: list[str]) -> Episode:
    """An episode in which the verifier has the second sub-question written again."""
    texts, verdicts = iter(["Doubling.", PLAN[0], "Who?", PLAN[1]]), iter(["no mistake", "conceptual"])

    def speak(prompt: str, _: int) -> str:
        writing = prompt.endswith("Concepts:\n") or "Sub-questions:\n" in prompt
        return next(texts, "Done.") if writing else "Ann has 3 pens."

    verifier = Scripted(lambda prompt, sample: next(verdicts, "no mistake"))
    return episode_of(CharacterEngine(speak), ["strategy=lm2", *overrides], Scripted(speak), verifier)


def rewards(mode: str = "lm2", gamma: float = 1.0) -> Rewards:
    return Rewards.for_mode(mode).model_copy(update={"verdict_gamma": gamma})


def test_each_call_earns_the_discounted_weights_of_its_verdict():
    found = episode(["no_mistake"], ["computational", "last_step"], ["no_mistake"], refused=["conceptual"])
    reward = score_episode(found, TextResources(), rewards(gamma=0.5))
    assert reward.by_call == pytest.approx([0.0, 1.0, 0.5 * -0.15, 0.5 * -0.10, 0.25])
    assert reward.total == pytest.approx(sum(reward.by_call))
    assert reward.counts == {"rewritten": 1.0, "judged": 4.0, "verdict/no_mistake": 2.0, "verdict/computational": 1.0,
                             "verdict/last_step": 1.0, "verdict/conceptual": 1.0}  # fmt: skip


def test_an_unreadable_verdict_counts_as_no_mistake():
    reward = score_episode(episode(["unreadable"]), TextResources(), rewards())
    assert reward.by_call == [0.0, 1.0]


@pytest.mark.parametrize(("answer", "total"), [("9", 2.0), ("5", 1.0)])
def test_lm2_outcome_adds_correctness_and_lm2_looks_at_no_gold_answer(answer, total):
    found = episode(["no_mistake"], answer=answer)
    assert score_episode(found, TextResources(), rewards("lm2_outcome")).total == pytest.approx(total)
    assert score_episode(found, TextResources(), rewards("lm2")).total == pytest.approx(1.0)


def test_without_verdicts_or_weights_there_are_no_turn_rewards():
    assert score_episode(episode([], []), TextResources(), rewards()).by_call == []
    reward = score_episode(episode(["no_mistake"]), TextResources(), Rewards.for_mode("outcome"))
    assert (reward.by_call, reward.total) == ([], 0.0)


@pytest.mark.parametrize(
    ("overrides", "by_call"),
    [
        (["policy.plays=decomposer"], [0, 1, -0.075, 0.5, 0]),
        (["policy.plays=both"], [0, 0, 1, 0, -0.075, 0, 0.5, 0, 0, 0]),
        (["policy.plays=solver", "policy.decomposer=solver"], [0, 1, -0.075, 0.5, 0]),
    ],
)
def test_a_refused_sub_question_has_the_number_of_its_place_whoever_wrote_it(overrides, by_call):
    found = asked_again(overrides)
    assert [turn.question for turn in found.refused] == ["Who?"]
    for read in (found, Episode.from_json(found.to_json())):
        assert [(one.k, one.refused) for one in judged_turns(read, rewards())] == [(0, False), (1, False), (1, True)]
        assert score_episode(read, TextResources(), rewards(gamma=0.5)).by_call == pytest.approx(by_call)


def test_a_reply_of_the_policy_earns_it_where_a_frozen_decomposer_asked():
    found = episode(["no_mistake"])
    found.turns[0].call, found.turns[0].answer_call = None, 1
    assert score_episode(found, TextResources(), rewards()).by_call == [0.0, 1.0]
    found.turns[0].answer_call = None
    reward = score_episode(found, TextResources(), rewards())
    assert (reward.by_call, reward.total) == ([], 1.0)
