"""What travels when weights are pushed: buckets, digests, adapters."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.weight_update import (
    LORA_A,
    LORA_B,
    Bucket,
    WeightMismatch,
    bucket_tensors,
    bucketed,
    check,
    digest,
    make_bucket,
    merged,
)

NAMED = [
    ("float32", torch.randn(3, 5)),
    ("bfloat16", torch.randn(7).bfloat16()),
    ("scalar", torch.tensor(3.0)),
    ("empty", torch.empty(0, 4)),
    ("transposed", torch.randn(4, 6).T),
]


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_buckets_hold_all_in_order_and_are_bounded_and_no_more_than_needed(sizes, limit):
    groups = bucketed(sizes, limit)
    assert [index for group in groups for index in group] == list(range(len(sizes)))
    for group in groups:
        assert sum(sizes[index] for index in group) <= limit or len(group) == 1
    for group, following in itertools.pairwise(groups):
        assert sum(sizes[index] for index in group) + sizes[following[0]] > limit


def received(bucket: Bucket) -> Bucket:
    """As the object store hands it out: memory that cannot be written to."""
    data = tuple(array.copy() for array in bucket.data)
    for array in data:
        array.flags.writeable = False
    return Bucket(data, bucket.entries)


@pytest.mark.filterwarnings("error")
def test_what_is_unpacked_is_bitwise_what_was_packed():
    found = dict(bucket_tensors(received(make_bucket(NAMED))))
    assert found.keys() == dict(NAMED).keys()
    for name, tensor in NAMED:
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert digest(found[name]) == digest(tensor)


def test_digests_are_those_of_vllm():
    import hashlib

    assert digest(NAMED[0][1]) == hashlib.sha256(NAMED[0][1].numpy().tobytes()).hexdigest()


def test_one_flipped_bit_is_found_and_its_tensor_and_bucket_are_named():
    buckets = [received(make_bucket(part, digests=True)) for part in (NAMED[:2], NAMED[2:])]
    check(buckets)
    place = next(index for index, entry in enumerate(buckets[1].entries) if entry.name == "transposed")
    damaged = [np.array(data) for data in buckets[1].data]
    damaged[place][5] ^= 1
    with pytest.raises(WeightMismatch, match=r"^transposed in bucket 2 of 2 "):
        check([buckets[0], Bucket(tuple(damaged), buckets[1].entries)])


def test_a_bucket_of_cpu_tensors_holds_no_second_copy():
    tensor = torch.randn(4, 6)
    (data,) = make_bucket([("w", tensor)]).data
    assert data.ctypes.data == tensor.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_is_merged_as_peft_merges_it(dtype):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(8, 6, bias=False, dtype=dtype))
    base = {"0.weight": plain[0].weight.detach().clone()}
    model = get_peft_model(plain, LoraConfig(r=3, lora_alpha=5, target_modules=["0"]))
    layer = model.get_base_model()[0]
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    adapter = [
        ("0.weight" + LORA_A, layer.lora_A["default"].weight.detach()),
        ("0.weight" + LORA_B, layer.lora_B["default"].weight.detach()),
    ]
    found = dict(merged(bucket_tensors(received(make_bucket(adapter))), base, {"0.weight": layer.scaling["default"]}))
    expected = model.merge_and_unload()[0].weight
    assert found.keys() == {"0.weight"}
    assert found["0.weight"].dtype == dtype
    torch.testing.assert_close(found["0.weight"], expected)
    assert not torch.equal(expected, base["0.weight"])
