"""The learner's use of its GPUs in the field's terms: model FLOPs, their share of the peak, and three rates of tokens.

The count is that of Chowdhery et al. 2022 (PaLM), appendix B: 6 FLOPs a parameter and token for forward and backward
pass, and attention's products with queries, keys and values beside them. What is computed again to save memory does
not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Dense bfloat16 FLOP/s in 1e12, from the makers' data sheets, by a pattern of the device's name; the first that is
# found counts.
PEAKS = (
    (r"\bB200\b", 2250.0),
    (r"\bH100 PCIe\b", 756.0),
    (r"\bH100 NVL\b", 835.0),
    (r"\b(H100|H200|H800|GH200)\b", 989.4),
    (r"\bH20\b", 148.0),
    (r"\b(A100|A800)\b", 312.0),
    (r"\bA40\b", 149.7),
    (r"\bA30\b", 165.0),
    (r"\bA10\b", 125.0),
    (r"\bL40S\b", 362.0),
    (r"\bL40\b", 181.0),
    (r"\bL4\b", 121.0),
)


def peak_flops(device: str) -> float | None:
    """Return the FLOP/s that a GPU of this name, as torch gives it, has at most in bfloat16; None if not known."""
    return next((1e12 * peak for pattern, peak in PEAKS if re.search(pattern, device)), None)


def training_flops(
    parameters: int, lengths: Sequence[int], *, layers: int, attention: int, adapters: int | None = None
) -> float:
    """Return the FLOPs of a forward and a backward pass over sequences of these lengths in tokens.

    All ``parameters`` are trained (6N a token), or only ``adapters`` beside them (LoRA: 4N, since no gradient of a
    frozen weight is formed, and 6 for each of the adapters'). ``attention``: heads times their size; every layer
    multiplies queries with keys, and the result with values, for each pair of tokens in a sequence: 12 FLOPs times
    ``attention``, counted whole though half of the pairs are masked, as is usual.
    """
    each = 6 * parameters if adapters is None else 4 * parameters + 6 * adapters
    pairs = sum(length * length for length in lengths)
    return float(each * sum(lengths) + 12 * layers * attention * pairs)


def mfu(flops: float, seconds: float, gpus: float, peak: float | None) -> float | None:
    """Return model FLOPs utilization: the share of what ``gpus`` could do in the ``seconds`` of forward and backward
    passes. None where the peak is not known or no time passed."""
    return None if peak is None or seconds <= 0 or gpus <= 0 else flops / (seconds * gpus * peak)


def rate(tokens: float, seconds: float, gpus: float) -> float | None:
    """Return tokens a second and GPU; None without a GPU or without time.

    Three rates differ in what is put in, and are never mixed. Effective: trained tokens, the whole time from one step
    to the next, the GPUs of all roles. Training: trained tokens, the time of the learner's step, the learner's GPUs.
    Rollout: sampled tokens, the time in which they were sampled, the policy engines' GPUs.
    """
    return None if seconds <= 0 or gpus <= 0 else tokens / (seconds * gpus)
