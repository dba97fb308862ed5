"""The work of forward and backward passes, counted by hand for a small model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from trainer.learner.passes import Passes

CONFIG = SimpleNamespace(num_attention_heads=2, head_dim=4, num_hidden_layers=3)


def model(trained: bool = True) -> torch.nn.Module:
    found = torch.nn.Sequential(torch.nn.Linear(10, 10, bias=False), torch.nn.Linear(10, 1, bias=False))
    found[0].weight.requires_grad_(trained)
    return found


@pytest.mark.parametrize(("lora", "each"), [(False, 6 * 110), (True, 4 * 100 + 6 * 10)])
def test_only_passes_that_were_begun_count_with_the_lengths_of_their_sequences(lora, each):
    passes = Passes(model(not lora), CONFIG, torch.device("cpu"), lora=lora)
    passes.end()
    assert (passes.seconds, passes.flops) == (0.0, 0.0)
    passes.begin([5, 7])
    passes.end()
    assert passes.flops == each * 12 + 12 * 3 * 8 * (25 + 49)
    assert passes.seconds > 0
    passes.reset()
    assert passes.flops == 0.0


def test_a_share_of_the_peak_is_known_only_where_the_peak_is():
    passes = Passes(model(), CONFIG, torch.device("cpu"), lora=False)
    assert passes.utilization(1e12, 1.0, 1.0) is None
    passes.peak = 4e12
    assert passes.utilization(1e12, 1.0, 1.0) == 0.25
