"""Log-probabilities of tokens and entropies: from logits, or from the hidden states before the vocabulary projection.

Logits are the largest tensor of a step: a word each for every token. From hidden states they are computed a chunk of
tokens at a time, and once more in the backward pass, so that only one chunk's are ever held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.nn.functional import linear

# A change of logits that leaves their shape, such as a model's scale or soft cap.
Adjust = Callable[[Tensor], Tensor]


def token_logprobs(logits: Tensor, ids: Tensor, entropy: str) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of ``ids`` ``[...]`` under ``logits`` ``[..., words]``, and the entropies there.

    ``entropy``: ``none`` (zeros are returned), its ``value``, or with its ``gradient``.
    """
    log_z = logits.logsumexp(-1)
    chosen = logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - log_z
    if entropy == "none":
        return chosen, torch.zeros_like(chosen)
    with torch.set_grad_enabled(entropy == "gradient" and torch.is_grad_enabled()):
        spread = log_z - (logits.softmax(-1) * logits).sum(-1)
    return chosen, spread


def projected_logprobs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    temperature: float,
    entropy: str,
    *,
    chunk: int,
    adjust: Adjust | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what ``token_logprobs`` finds for the float32 logits that ``hidden`` ``[..., size]`` have through a head.

    ``weight`` is ``[words, size]``, ``ids`` ``[...]``; ``adjust`` is what the model does to the head's output. At most
    ``chunk`` tokens are projected at a time. Gradients go to ``hidden``, ``weight`` and ``bias``.
    """

    def score(logits: Tensor, ids: Tensor, entropy: str) -> tuple[Tensor, Tensor]:
        adjusted = logits if adjust is None else adjust(logits)
        return token_logprobs(adjusted.float() / temperature, ids, entropy)

    found = _Projection.apply(hidden.flatten(0, -2), weight, bias, ids.flatten(), entropy, score, chunk)
    chosen, spread = (values.view(ids.shape) for values in found)
    return chosen, spread


class _Projection(torch.autograd.Function):
    """The projection and scores of ``hidden`` ``[tokens, size]``; see ``projected_logprobs``."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        entropy: str,
        score: Callable[[Tensor, Tensor, str], tuple[Tensor, Tensor]],
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden, weight, bias, ids)
        ctx.entropy, ctx.score, ctx.chunk = entropy, score, chunk
        chosen = torch.empty(ids.shape, dtype=torch.float32, device=hidden.device)
        spread = torch.empty_like(chosen)
        for start in range(0, len(ids), chunk):
            part = slice(start, start + chunk)
            chosen[part], spread[part] = score(linear(hidden[part], weight, bias), ids[part], entropy)
        if entropy != "gradient":
            ctx.mark_non_differentiable(spread)
        return chosen, spread

    @staticmethod
    def backward(ctx: Any, to_chosen: Tensor, to_spread: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, ids = ctx.saved_tensors
        gradients = [
            torch.zeros_like(value) if needed else None
            for value, needed in zip((hidden, weight, bias), ctx.needs_input_grad, strict=False)
        ]
        to_hidden, to_weight, to_bias = gradients
        kinds = 2 if ctx.entropy == "gradient" else 1
        for start in range(0, len(ids), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            with torch.enable_grad():
                logits = linear(hidden[part], weight, bias)
                edge = get_gradient_edge(logits)
                found = ctx.score(logits, ids[part], ctx.entropy if kinds == 2 else "none")
            del logits
            (slope,) = torch.autograd.grad(found[:kinds], edge, (to_chosen[part], to_spread[part])[:kinds])
            # Added up in place: a gradient of the head for each chunk would be a second head in memory.
            if to_hidden is not None:
                torch.mm(slope, weight, out=to_hidden[part])
            if to_weight is not None:
                to_weight.addmm_(slope.T, hidden[part])
            if to_bias is not None:
                to_bias += slope.sum(0)
            del found, slope
        return to_hidden, to_weight, to_bias, None, None, None, None
