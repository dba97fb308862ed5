"""Advantages from token rewards: with a critic (``gae``), or from samples alone. Imports only torch.

A sequence is an episode's. It may hold tokens the policy did not write (a prompt, a solver's turn); ``mask`` is True
where it did.
What spans ranks is formed of sums (``moments``, ``group_moments``) that are added over them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    gamma: float,
    lam: float,
    call_ends: Tensor | None = None,
    call_gamma: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Estimate advantages by GAE (Schulman et al. 2016, eq. 16) over policy tokens only.

    All tensors ``[batch, time]``. The recursion steps from one policy token to the next, across whatever lies
    between them: a gap carries the next policy token's value and advantage unchanged, so it neither discounts
    nor bootstraps. The step from a token where ``call_ends`` is True, the last of a policy call, is discounted by
    ``call_gamma`` as well. Returns advantages and returns ``[batch, time]``, zero off the mask.
    """
    ends = torch.zeros_like(mask) if call_ends is None else call_ends
    discounts, decays = (
        torch.where(ends, values.new_tensor(factor * call_gamma), values.new_tensor(factor))
        for factor in (gamma, gamma * lam)
    )
    advantages = torch.zeros_like(values)
    next_value = next_advantage = values.new_zeros(values.shape[0])
    for t in reversed(range(values.shape[1])):
        here = mask[:, t]
        delta = rewards[:, t] + discounts[:, t] * next_value - values[:, t]
        advantage = delta + decays[:, t] * next_advantage
        advantages[:, t] = torch.where(here, advantage, 0.0)
        next_value = torch.where(here, values[:, t], next_value)
        next_advantage = torch.where(here, advantage, next_advantage)
    return advantages, torch.where(mask, advantages + values, 0.0)


def reinforce_plus_plus(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """Return the discounted return from each policy token on ``[batch, time]`` (Hu et al. 2025, arXiv 2501.03262);
    its baseline and scale are the whole batch's: to be whitened over all ranks. Gaps do not discount."""
    return gae(rewards, torch.zeros_like(rewards), mask, gamma, 1.0)[0]


def group_moments(scores: Tensor, groups: Tensor, number: int) -> Tensor:
    """Return ``[count, sum, sum of squares]`` of each group's scores ``[number, 3]``, in float64: add those of all
    ranks.

    ``scores`` ``[batch]``; ``groups`` ``[batch]``: indices below ``number``, the same on all ranks.
    """
    scores = scores.double()
    rows = torch.stack([torch.ones_like(scores), scores, scores.square()], 1)
    return rows.new_zeros(number, 3).index_add(0, groups, rows)


def grpo(scores: Tensor, groups: Tensor, total: Tensor, *, scale: bool = True) -> Tensor:
    """Return each sequence's score less its group's mean, over its group's standard deviation ``[batch]`` (Shao et al.
    2024, arXiv 2402.03300, section 4.1.2); ``total`` are the groups' moments over all ranks.

    Not divided (``scale`` False) it is Dr. GRPO's (Liu et al. 2025, arXiv 2503.20783). The deviation is a sample's
    (n - 1). A group of one, and one without variance, has advantage 0.
    """
    counts, sums, squares = total[groups].unbind(1)
    means = sums / counts
    advantages = scores.double() - means
    if scale:
        variances = (squares - counts * means.square()).clamp_min(0.0) / (counts - 1).clamp_min(1)
        # Rounding leaves a flat group a little above and below zero: the constant keeps that from becoming 1.
        advantages = advantages / (variances.sqrt() + 1e-6)
    return advantages.to(scores.dtype)


def rloo(scores: Tensor, groups: Tensor, total: Tensor) -> Tensor:
    """Return each sequence's score less the mean of the others of its group ``[batch]`` (Ahmadian et al. 2024,
    arXiv 2402.14740). Arguments as ``grpo``'s; a group of one has nothing to compare with: advantage 0."""
    counts, sums, _ = total[groups].unbind(1)
    others = (sums - scores.double()) / (counts - 1).clamp_min(1)
    return torch.where(counts > 1, scores.double() - others, 0.0).to(scores.dtype)


def estimate(
    how: str,
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    groups: Tensor,
    total: Tensor,
    *,
    gamma: float,
    lam: float,
    scale: bool,
    call_ends: Tensor | None = None,
    call_gamma: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return advantages and the critic's targets ``[batch, time]`` by ``algorithm.advantage``; zero off the mask, and
    the targets zero where no critic is used. A sequence's one advantage is that of all its policy tokens.

    A sequence is an episode: its rows laid end to end. ``groups`` and ``total`` as ``grpo``'s, of the sequences'
    ``scores``; ``call_ends`` and ``call_gamma`` as ``gae``'s.
    """
    if how == "gae":
        return gae(rewards, values, mask, gamma, lam, call_ends, call_gamma)
    if how == "reinforce_plus_plus":
        return reinforce_plus_plus(rewards, mask, gamma), torch.zeros_like(rewards)
    if how == "grpo":
        advantages = grpo(scores(rewards, mask), groups, total, scale=scale)
    elif how == "rloo":
        advantages = rloo(scores(rewards, mask), groups, total)
    else:
        raise ValueError(f"unknown advantage {how!r}; allowed: gae, grpo, rloo, reinforce_plus_plus")
    return torch.where(mask, advantages[:, None], 0.0), torch.zeros_like(rewards)


def scores(rewards: Tensor, mask: Tensor) -> Tensor:
    """Return the sum of each sequence's rewards ``[batch]``."""
    return torch.where(mask, rewards, 0.0).sum(1)


def token_rewards(total: float, shares: list[float], ends: list[int], length: int, credit: str) -> list[float]:
    """Return one reward a token ``[length]``, adding up to ``total``.

    ``terminal``: all of it on the last token. Otherwise each of the ``shares``, of sub-questions or policy calls, on
    the token where that one ``ends``, the rest on the last.
    """
    rewards = [0.0] * length
    if credit != "terminal":
        for share, end in zip(shares, ends, strict=False):
            rewards[min(end, length - 1)] += share
            total -= share
    rewards[-1] += total
    return rewards


def moments(values: Tensor, mask: Tensor) -> Tensor:
    """Return ``[count, sum, sum of squares]`` of the masked values, in float64: add those of all ranks before use.

    In float32 the squares of values far from 0 hide their spread.
    """
    kept = values[mask].double()
    return torch.stack([mask.sum().to(kept), kept.sum(), kept.square().sum()])


def whiten(values: Tensor, mask: Tensor, total: Tensor, eps: float = 1e-8) -> Tensor:
    """Shift and scale to mean 0 and variance 1 over ``total`` moments (see ``moments``); zero off the mask."""
    mean, variance = mean_and_variance(total)
    return torch.where(mask, (values.double() - mean) * torch.rsqrt(variance + eps), 0.0).to(values.dtype)


def mean_and_variance(total: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and population variance of ``moments``."""
    count, first, second = total.unbind()
    mean = first / count
    return mean, (second / count - mean.square()).clamp_min(0.0)


def explained_variance(residuals: Tensor, returns: Tensor) -> float:
    """Return 1 - var(returns - values) / var(returns) from the ``moments`` of either; 0 where the returns are constant
    but for the rounding of float32: then there is nothing to explain."""
    variance = float(mean_and_variance(returns)[1])
    if not variance > 1e-12 * float(returns[2] / returns[0]):
        return 0.0
    return 1.0 - float(mean_and_variance(residuals)[1]) / variance
