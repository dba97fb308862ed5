"""A part of the reward of one's own: short sub-questions."""

from __future__ import annotations

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.reward import Part
from rollout.records import Episode

WORDS = 8


def brevity(episode: Episode, resources: TextResources, settings: Rewards) -> Part:
    """Return the share of sub-questions of at most eight words; the part is absent without a sub-question."""
    questions = episode.subquestions
    if not questions:
        return Part(None, None)
    shares = [(len(question.split()) <= WORDS) / len(questions) for question in questions]
    return Part(sum(shares), shares)
