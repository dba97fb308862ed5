"""From an episode over an engine to the learner's rows: exact tokens, and each call's turn reward at its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.total import score_episode
from tests.rollout.fakes import PLAN, CharacterEngine, Scripted, by_question, episode_of
from trainer.algorithm.credit import call_rewards
from trainer.algorithm.experience import make_experience


def test_calls_that_go_on_from_each_other_are_one_row_and_each_is_paid_at_its_last_token():
    texts = ["Doubling.", "Who?", *PLAN, "Done."]
    verdicts = iter(["misunderstood question", "no mistake", "computational"])
    engine = CharacterEngine(lambda prompt, number: texts[number])
    verifier = Scripted(lambda prompt, sample: next(verdicts))
    episode = episode_of(engine, ["strategy=lm2"], Scripted(by_question), verifier)
    reward = score_episode(episode, TextResources(), Rewards.for_mode("lm2_outcome"))
    assert reward.by_call == pytest.approx([0.0, -0.2, 1.0, -0.05, 0.0])
    assert reward.total == pytest.approx(0.75 + reward.correct)

    rows = make_experience(episode, reward, "call").rows
    # What was refused is in view until another took its place: there the prompt does not go on, and a row begins.
    assert [sum(row.mask) for row in rows] == [
        sum(len(call.token_ids) for call in calls) for calls in (episode.calls[:3], episode.calls[3:])
    ]
    paid = [value for row in rows for value, end in zip(row.rewards, row.ends, strict=True) if end]
    assert paid == pytest.approx([0.0, -0.2, 1.0, -0.05, reward.total - 0.75])
    assert sum(sum(row.rewards) for row in rows) == pytest.approx(reward.total)
    for row in rows:
        written = [token for token, own in zip(row.token_ids, row.mask, strict=True) if own]
        assert "".join(map(chr, written)) in ("Doubling.\nWho?\nHow many has Ann?\n", "How many has Bob?\nDone.\n")


def test_a_list_that_the_policy_wrote_as_the_solver_earns_what_its_sub_questions_earn():
    engine = CharacterEngine(lambda prompt, number: "\n".join(PLAN) if number == 0 else "The answer is 9.")
    verifier = Scripted(lambda prompt, sample: "no mistake")
    episode = episode_of(engine, ["strategy=least_to_most", "policy.plays=both"], verifier=verifier)
    reward = score_episode(episode, TextResources(), Rewards.for_mode("lm2_outcome"))
    assert reward.by_call[0] > 0
    assert reward.by_call[1:] == [0.0, 0.0, 0.0]
    shared = replace(reward, total=1.0, by_subquestion=[0.25, 0.5], by_call=[])
    paid = call_rewards(episode, shared, "subquestion")
    assert [sum(call) for call in paid] == pytest.approx([0.75, 0.0, 0.0, 0.25])
    assert [paid[0][end] for end in episode.calls[0].subquestion_ends] == pytest.approx([0.25, 0.5])
