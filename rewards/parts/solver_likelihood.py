"""The sixth part, off by default: how much more probable the gold answer became to the frozen solver.

v_k is the solver's log-probability of the gold answer with the first k turns in view, raised to
``rewards.likelihood_floor`` where it is lower. Turn k earns v_k - v_(k-1), so the part is v_n - v_0: a potential-based
reward without discount (Ng, Harada and Russell 1999, eq. 2, with gamma 1). The values are measured with the solver's
weights at hand and with the gold answer, so a run that pays this part no longer treats its solver as a black box.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources
from rewards.reward import Part
from rewards.turns import turns_of
from rollout.records import Episode


def gains(logprobs: Sequence[float], floor: float) -> list[float]:
    """Return what each turn adds to the log-probability of the gold answer, from the values before any turn and after
    each, none of them taken as lower than ``floor``. They add up to the last value less the first."""
    return [after - before for before, after in pairwise(max(value, floor) for value in logprobs)]


def score(episode: Episode, resources: TextResources, settings: Rewards) -> Part:
    """Return the part of one episode; absent where nothing was measured. Raises ValueError for more values than turns
    can have."""
    if not episode.gold_logprobs:
        return Part(None, None)
    if len(episode.gold_logprobs) > len(episode.turns) + 1:
        raise ValueError(f"{len(episode.gold_logprobs)} gold_logprobs for {len(episode.turns)} turns")
    each = gains(episode.gold_logprobs, settings.likelihood_floor)
    # A turn whose prompt was too long to be measured has no gain.
    gained = {id(turn): gain for turn, gain in zip(episode.turns, each, strict=False)}
    return Part(sum(each), [gained.get(id(turn), 0.0) for turn in turns_of(episode)])
