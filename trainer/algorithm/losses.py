"""PPO's losses and its KL control, as pure functions of tensors ``[batch, time]``. Imports only torch.

Every loss is returned a token; ``aggregate`` makes the number that is differentiated. Masked positions are
removed with ``where``, never by multiplying with zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

# As verl and NeMo-RL bound them: one token far from another policy must neither end a run nor be its whole gradient.
LOG_RATIO_MAX, K3_MAX = 20.0, 10.0


def policy_loss(
    current: Tensor,
    proximal: Tensor,
    behaviour: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    behaviour_weight_cap: float,
    decoupled: bool,
    dual_clip: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the decoupled clipped objective (AReaL, arXiv 2505.24298, eq. 5): -w min(u A, clip(u) A) a token.

    The first three are log-probabilities. w = p/b, without gradient and truncated at ``behaviour_weight_cap``;
    u = c/p. With ``decoupled`` False it is plain PPO: u = c/b and w = 1. With ``dual_clip`` the loss of a token with
    A < 0 is at most -w dual_clip A (Ye et al. 2020, arXiv 1912.09729, eq. 5). The statistics are sums over policy
    tokens, to be divided by their number: ``clipped``, ``capped``, and ``ratio_max``, a maximum.
    """
    zero = torch.zeros_like(current)
    anchor = (proximal if decoupled else behaviour).detach()
    ratio = torch.where(mask, current - anchor, zero).clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX).exp()
    weight = torch.where(mask, proximal - behaviour, zero).exp().detach() if decoupled else torch.ones_like(current)
    capped = weight > behaviour_weight_cap
    weight = weight.clamp(max=behaviour_weight_cap)
    clipped_ratio = ratio.clamp(1 - clip_low, 1 + clip_high)
    objective = torch.minimum(ratio * advantages, clipped_ratio * advantages)
    clipped = clipped_ratio * advantages < ratio * advantages
    if dual_clip is not None:
        bound = torch.where(advantages < 0, dual_clip * advantages, -torch.inf)
        clipped = clipped | (bound > objective)
        objective = torch.maximum(objective, bound)
    loss = -weight * objective
    with torch.no_grad():
        statistics = {
            "clipped": (mask & clipped).sum(),
            "capped": (mask & capped).sum(),
            "ratio_max": torch.where(mask, torch.maximum(ratio, 1 / ratio), 1.0).max(),
        }
    return torch.where(mask, loss, zero), statistics


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Return the squared error, clipped around the old values (Schulman et al. 2017 code), half, a token."""
    # Masked before anything is squared: a gradient of zero times a NaN that stands there would be NaN.
    zero = torch.zeros_like(values)
    error, old_error, moved = (
        torch.where(mask, difference, zero)
        for difference in (values - returns, old_values - returns, values - old_values)
    )
    return 0.5 * torch.maximum(error.square(), (old_error + moved.clamp(-clip, clip)).square())


def kl_k1(policy: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Return log p - log r a token: unbiased, high variance; what a reward is charged with."""
    return torch.where(mask, policy - reference, torch.zeros_like(policy))


def kl_k3(policy: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Return r/p - 1 - log(r/p) a token (Schulman 2020): unbiased, never negative; what a loss is made of. At most
    ``K3_MAX``, beyond which a token has no gradient."""
    log_ratio = torch.where(mask, reference - policy, torch.zeros_like(policy)).clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX)
    return (log_ratio.exp() - 1 - log_ratio).clamp(max=K3_MAX)


def adapted_kl_coef(coef: float, kl: float, target: float, episodes: int, horizon: float) -> float:
    """Return the next KL coefficient (Ziegler et al. 2019, arXiv 1909.08593; TRL's AdaptiveKLController).

    ``kl`` and ``target`` in nats a sequence. The relative error counts up to 0.2, and ``horizon`` episodes at such
    an error change the coefficient by about 20 %.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return coef * (1.0 + error * episodes / horizon)


def aggregate(
    losses: Tensor, mask: Tensor, how: str, tokens: float, sequences: float, lengths: Tensor | None = None
) -> Tensor:
    """Return one number from token losses; ``tokens`` and ``sequences`` count the whole batch over all ranks and
    micro-batches, so that the gradient does not depend on how it is cut.

    ``token_mean``: the mean over tokens. ``sequence_mean``: the mean over sequences of each one's token mean. Where a
    sequence lies in several rows, ``lengths`` ``[batch]`` are the policy tokens of the sequence that each row is of.
    """
    if how == "token_mean":
        return losses.sum() / tokens
    if lengths is None:
        lengths = mask.sum(1).clamp_min(1)
    return (losses.sum(1) / lengths).sum() / sequences


def engine_gap(
    learner: Tensor, engine: Tensor, mask: Tensor, current: Tensor, call_ends: Tensor | None = None
) -> Tensor:
    """Return the differences of log-probability ``[tokens]`` that engine and learner give to the same tokens.

    Only completions whose every token is ``current`` (made by the weights the learner has now) are compared: one
    that a push fell into goes on from keys and values of the weights before, and differs for that reason. A row holds
    one completion, or several, each up to where ``call_ends`` is True.
    """
    ends = torch.zeros_like(mask) if call_ends is None else call_ends
    # How many calls end before a token: the number of its own call.
    calls = ends.cumsum(1) - ends.long()
    others = torch.zeros(mask.shape[0], mask.shape[1] + 1, dtype=torch.long, device=mask.device)
    others.scatter_add_(1, calls, (mask & ~current).long())
    return (learner - engine).abs()[mask & (others.gather(1, calls) == 0)]
