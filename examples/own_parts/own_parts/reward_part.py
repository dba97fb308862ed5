"""A part of the reward of one's own: short sub-questions."""

from __future__ import annotations

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.reward import Part
from rollout.records import Episode

WORDS = 4


def brevity(episode: Episode, resources: TextResources, settings: Rewards) -> Part:
    """Return the mean of 1 for a sub-question of at most four words, less for longer ones; absent without any."""
    questions = episode.subquestions
    if not questions:
        return Part(None, None)
    shares = [min(1.0, WORDS / len(question.split())) / len(questions) for question in questions]
    return Part(sum(shares), shares)
