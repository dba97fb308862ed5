"""Credit: the policy tokens of an episode at which its reward is paid."""

from __future__ import annotations

from itertools import accumulate

from rewards.reward import Reward
from rollout.records import Episode
from trainer.algorithm.advantages import token_rewards


def call_rewards(episode: Episode, reward: Reward, credit: str) -> list[list[float]]:
    """Return one reward for each token of each policy call, adding up to the episode's total.

    ``terminal``: all of it is paid at the episode's last policy token. ``subquestion``: each sub-question's share at
    its own last token, in the call that wrote it. ``call``: each call's turn reward at its last token. The rest is paid
    at the last policy token. Raises ValueError if there are turn rewards, but not one a call.
    """
    lengths = [len(call.token_ids) for call in episode.calls]
    starts = [0, *accumulate(lengths)]
    shares: list[float] = []
    ends: list[int] = []
    if credit == "subquestion":
        shares, ends = reward.by_subquestion, [starts[call] + end for call, end in _subquestion_ends(episode)]
    elif credit == "call" and reward.by_call:
        if len(reward.by_call) != len(lengths):
            raise ValueError(
                f"episode of problem {episode.problem.id} has {len(lengths)} policy calls and {len(reward.by_call)} "
                "turn rewards"
            )
        # A call without tokens has none to be paid at: its turn reward is in the rest.
        spoken = [call for call, length in enumerate(lengths) if length]
        shares, ends = [reward.by_call[call] for call in spoken], [starts[call + 1] - 1 for call in spoken]
    paid = token_rewards(reward.total, shares, ends, starts[-1], credit)
    return [paid[start : start + length] for start, length in zip(starts, lengths, strict=False)]


def _subquestion_ends(episode: Episode) -> list[tuple[int, int]]:
    """Return of each kept sub-question, in order, the call that wrote it and its last token there.

    Where the turns say who wrote their sub-questions, calls that only wrote refused ones are left out.
    """
    kept = {turn.call for turn in episode.turns if turn.call is not None}
    refused = {turn.call for turn in episode.refused}
    wrote = [index for index in range(len(episode.calls)) if (index in kept if kept else index not in refused)]
    found = [(index, end) for index in wrote for end in episode.calls[index].subquestion_ends]
    return [(index, min(end, len(episode.calls[index].token_ids) - 1)) for index, end in found]
