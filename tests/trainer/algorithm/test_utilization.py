"""Model FLOPs and rates against cases worked by hand."""

from __future__ import annotations

import pytest

from trainer.algorithm.utilization import mfu, peak_flops, rate, training_flops

SEVEN = {"layers": 28, "attention": 3584}


def test_full_training_takes_six_flops_a_parameter_and_token_and_attention():
    assert training_flops(7_000_000_000, [1000, 24], layers=0, attention=0) == 6 * 7e9 * 1024
    # PaLM, appendix B: 12 L H Q T a token.
    whole = training_flops(7_000_000_000, [2048], **SEVEN)
    assert whole == 2048 * (6 * 7e9 + 12 * 28 * 3584 * 2048)
    # Two sequences of half the length meet half as many pairs.
    halves = training_flops(7_000_000_000, [1024, 1024], **SEVEN)
    assert whole - halves == 12 * 28 * 3584 * (2048**2 - 2 * 1024**2)


def test_adapters_alone_save_the_gradients_of_the_frozen_weights():
    assert training_flops(1000, [10], layers=0, attention=0, adapters=50) == 10 * (4 * 1000 + 6 * 50)
    assert training_flops(1000, [10], layers=1, attention=2, adapters=50) == 10 * (4000 + 300) + 12 * 2 * 100


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA L40S", 362e12), ("NVIDIA L4", 121e12), ("NVIDIA A10", 125e12),
        ("NVIDIA A10G", None), ("NVIDIA GeForce RTX 3060", None), ("cpu", None),
    ],
)  # fmt: skip
def test_the_peak_goes_by_the_devices_name_and_is_unknown_for_others(device, peak):
    assert peak_flops(device) == peak


def test_utilization_is_a_share_of_all_gpus_peak():
    assert mfu(989.4e12, 2.0, 2, 989.4e12) == pytest.approx(0.25)
    assert mfu(1e12, 2.0, 2, None) is None
    assert mfu(1e12, 0.0, 2, 1e12) is None
    assert mfu(1e12, 1.0, 0, 1e12) is None


def test_rates_are_tokens_a_second_and_gpu():
    assert rate(12_000, 3.0, 4) == 1000
    assert rate(12_000, 0.0, 4) is None
    assert rate(12_000, 3.0, 0) is None
