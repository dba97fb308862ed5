"""The forward and backward passes of a learner rank: the time they take, and the work that is in them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import nn

from trainer.algorithm.utilization import mfu, peak_flops, training_flops


class Passes:
    """A model's forward and backward passes since ``reset``: ``seconds``, and ``flops`` as ``training_flops`` counts
    them. What lies between two passes, the optimiser's step for one, is in neither."""

    def __init__(
        self, model: nn.Module, config: object, device: torch.device, *, lora: bool, whole: bool = True
    ) -> None:
        """``config`` is the language model's, as transformers has it. Without ``whole``, where the backward pass ends
        before the first layer, no utilization is known."""
        text = getattr(config, "get_text_config", lambda: config)()
        heads = getattr(text, "num_attention_heads", 0)
        size = getattr(text, "head_dim", None) or getattr(text, "hidden_size", 0) // max(heads, 1)
        self._layers, self._attention = getattr(text, "num_hidden_layers", 0), heads * size
        trained = _size([value for value in model.parameters() if value.requires_grad])
        everything = _size(list(model.parameters()))
        self._parameters = everything - trained if lora else everything
        self._adapters = trained if lora else None
        self._device = device
        known = whole and device.type == "cuda"
        self.peak = peak_flops(torch.cuda.get_device_name(device)) if known else None
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self.seconds = self.flops = 0.0
        self._running: tuple[float, Sequence[int]] | None = None

    def begin(self, lengths: Sequence[int]) -> None:
        """Note that a forward pass over sequences of these lengths, in tokens, begins."""
        self._running = self._now(), lengths

    def end(self) -> None:
        """Note that the backward pass has ended, if one was begun."""
        if self._running is None:
            return
        began, lengths = self._running
        self._running = None
        self.seconds += self._now() - began
        self.flops += training_flops(
            self._parameters, lengths, layers=self._layers, attention=self._attention, adapters=self._adapters
        )

    def utilization(self, flops: float, seconds: float, gpus: float) -> float | None:
        """Return the share of what so many of this rank's GPUs could do; None where that is not known."""
        return mfu(flops, seconds, gpus, self.peak)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _size(parameters: Sequence[nn.Parameter]) -> int:
    """Return the number of weights; ZeRO-3 leaves a share of each on a rank, and notes the whole."""
    return sum(int(getattr(value, "ds_numel", value.numel())) for value in parameters)
