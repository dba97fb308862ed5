"""From an episode over an engine to the learner's tokens: each sub-question is paid its gain at its own last token."""

from __future__ import annotations

import pytest

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.total import score_episode
from rollout.records import Episode
from tests.rollout.fakes import PLAN, CharacterEngine, Telling, by_question, episode_of
from trainer.algorithm.credit import call_rewards

# Before any turn, after the first, after both.
VALUES = [-8.0, -5.0, -1.0]


def measured(strategy: str, *texts: str) -> Episode:
    engine = CharacterEngine(lambda prompt, number: texts[number] if number < len(texts) else "Done.")
    solver = Telling(by_question, lambda prompt: VALUES[sum(f"\nA: {name} has" in prompt for name in ("Ann", "Bob"))])
    return episode_of(engine, [f"strategy={strategy}"], solver, gold_logprobs=True)


@pytest.mark.parametrize(
    ("strategy", "texts"),
    [("daslam", ["\n".join(PLAN) + "\n"]), ("interleaved", PLAN), ("lm2", ["Doubling.", *PLAN])],
)
def test_each_sub_question_is_paid_its_gain_where_it_ends(strategy, texts):
    episode = measured(strategy, *texts)
    reward = score_episode(episode, TextResources(), Rewards.for_mode("solver_likelihood"))
    assert episode.gold_logprobs == VALUES
    assert reward.parts["solver_likelihood"] == pytest.approx(7.0)
    paid = call_rewards(episode, reward, "subquestion")
    assert sum(map(sum, paid)) == pytest.approx(reward.total)
    ends = [(call, end) for call, one in enumerate(episode.calls) for end in one.subquestion_ends]
    assert [paid[call][end] for call, end in ends] == pytest.approx([0.025 * 3.0, 0.025 * 4.0])
    # The rest, which is correctness, comes at the end, and nothing anywhere else.
    spent = sum(value != 0.0 for call in paid for value in call)
    assert paid[-1][-1] == pytest.approx(reward.correct)
    assert spent == 3


def test_paid_at_the_end_the_total_is_the_same():
    episode = measured("daslam", "\n".join(PLAN) + "\n")
    reward = score_episode(episode, TextResources(), Rewards.for_mode("solver_likelihood"))
    (paid,) = call_rewards(episode, reward, "terminal")
    assert paid[-1] == pytest.approx(reward.total) == pytest.approx(reward.correct + 0.025 * (VALUES[-1] - VALUES[0]))
    assert set(paid[:-1]) == {0.0}
