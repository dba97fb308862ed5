"""Advantages from token rewards and values. Imports only torch.

A sequence may hold tokens the policy did not write (a prompt, a solver's turn); ``mask`` is True where it did.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16) over policy tokens only.

    All arguments ``[batch, time]``. The recursion steps from one policy token to the next, across whatever lies
    between them: a gap carries the next policy token's value and advantage unchanged, so it neither discounts
    nor bootstraps. Returns advantages and returns ``[batch, time]``, zero off the mask.
    """
    advantages = torch.zeros_like(values)
    next_value = values.new_zeros(values.shape[0])
    next_advantage = values.new_zeros(values.shape[0])
    for t in reversed(range(values.shape[1])):
        here = mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * lam * next_advantage
        advantages[:, t] = torch.where(here, advantage, 0.0)
        next_value = torch.where(here, values[:, t], next_value)
        next_advantage = torch.where(here, advantage, next_advantage)
    returns = torch.where(mask, advantages + values, 0.0)
    return advantages, returns


def token_rewards(total: float, by_subquestion: list[float], ends: list[int], length: int, credit: str) -> list[float]:
    """One reward a token ``[length]``, adding up to ``total``.

    ``terminal``: all of it on the last token. ``subquestion``: each sub-question's share on its last token, the
    rest on the last.
    """
    rewards = [0.0] * length
    if credit == "subquestion":
        for share, end in zip(by_subquestion, ends, strict=False):
            rewards[min(end, length - 1)] += share
            total -= share
    rewards[-1] += total
    return rewards


def moments(values: Tensor, mask: Tensor) -> Tensor:
    """``[count, sum, sum of squares]`` of the masked values: add those of all ranks before whitening."""
    kept = values[mask]
    return torch.stack([mask.sum().to(kept), kept.sum(), kept.square().sum()])


def whiten(values: Tensor, mask: Tensor, total: Tensor, eps: float = 1e-8) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over ``total`` moments (see ``moments``); zero off the mask."""
    count, first, second = total.unbind()
    mean = first / count
    variance = (second / count - mean.square()).clamp_min(0.0)
    return torch.where(mask, (values - mean) * torch.rsqrt(variance + eps), 0.0)
