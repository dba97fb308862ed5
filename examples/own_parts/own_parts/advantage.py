"""An advantage estimator of one's own: each token's return less the mean return of this rank's tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.algorithm.advantages import reinforce_plus_plus


def less_mean(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    groups: Tensor,
    total: Tensor,
    *,
    gamma: float,
    lam: float,
    scale: bool,
) -> tuple[Tensor, Tensor]:
    """Return advantages and the critic's targets ``[batch, time]``, zero off the mask; here there is no critic."""
    returns = reinforce_plus_plus(rewards, mask, gamma)
    return torch.where(mask, returns - returns[mask].mean(), 0.0), torch.zeros_like(rewards)
