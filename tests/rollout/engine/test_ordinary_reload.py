"""The load of a GPU, which stages nothing, without vLLM: what it hands to vLLM, and what it proves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import torch

from rollout.engine.vllm_engine import Engine

EMBEDDING, HEAD, OTHER = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


@pytest.mark.parametrize(
    ("given", "loaded"),
    [
        # A tied head is added: vLLM's reload would go on with the old one.
        ([EMBEDDING, OTHER], [EMBEDDING, OTHER, HEAD]),
        ([EMBEDDING, OTHER, HEAD], [EMBEDDING, OTHER, HEAD]),
        ([OTHER], [OTHER]),
    ],
)
@pytest.mark.parametrize("verify", [False, True])
def test_what_was_given_is_proven_and_a_tied_head_is_loaded_too(monkeypatch, given, loaded, verify):
    """vLLM refuses to load the head of a tied model alone, which a proof of it would ask for."""
    reloaded: list[str] = []
    proven: list[str] = []

    class Vllm:
        def collective_rpc(self, name, kwargs):
            assert name == "reload_weights"
            reloaded.extend(name for name, _ in kwargs["weights_iterator"])

        def set_weight_version(self, version):
            assert version == "3"

    engine = Engine(SimpleNamespace(frozen=False, recompute=False))
    engine._engine = Vllm()
    loader = SimpleNamespace(prove=lambda name, _: proven.append(name))
    monkeypatch.setattr(engine, "_prover", lambda _: loader)
    weights = [(name, torch.zeros(2)) for name in given]
    asyncio.run(engine.load_weights(weights, 3, verify=verify))
    assert reloaded == loaded
    assert proven == (given if verify else [])
