"""The second shipped solver of each task: the first with the least used of its neurons taken out.

It has the same skill and is wrong more often, in its look-ups and its sums alike. Nothing is trained again.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from launch.tiny_models.curriculum import BATCH, WHOLE
from launch.tiny_models.make import batches, save
from launch.tiny_models.texts import solver_pieces

# Neurons left in each layer. Of 384, a single chained step was right 0.92, 0.86, 0.74 and 0.58 of the time with 320,
# 256, 224 and 192; a branched one 0.98, 0.93 and 0.70 with 320, 280 and 240. A branched problem takes more steps.
NEURONS = {"chained": 240, "branched": 280}
# Batches of training texts that tell how much a neuron is used.
TEXTS = 16


def cut_down(solver: Path, folder: Path, seed: int = 0, data: str = "chained") -> None:
    """Write the task's model in ``solver`` with fewer neurons a layer to ``folder``."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(solver)
    model = AutoModelForCausalLM.from_pretrained(solver, dtype=torch.float32)
    kept = [use.argsort(descending=True)[: NEURONS[data]].sort().values for use in _use(model, tokenizer, seed, data)]
    small = LlamaForCausalLM(LlamaConfig(**model.config.to_dict() | {"intermediate_size": NEURONS[data]}))
    weights = model.state_dict()
    for index, places in enumerate(kept):
        for name, dimension in (("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)):
            key = f"model.layers.{index}.mlp.{name}.weight"
            weights[key] = weights[key].index_select(dimension, places)
    small.load_state_dict(weights)
    save(small, tokenizer, folder)


def _use(model: Any, tokenizer: Any, seed: int, data: str) -> list[torch.Tensor]:
    """Return each layer's neuron importance: root mean square over texts times the norm of the neuron's way out."""
    squares: list[torch.Tensor] = [torch.zeros(layer.mlp.down_proj.in_features) for layer in model.model.layers]
    hooks = [
        layer.mlp.down_proj.register_forward_pre_hook(
            lambda _, inputs, index=index: squares[index].add_(inputs[0].square().sum((0, 1)))
        )
        for index, layer in enumerate(model.model.layers)
    ]
    with torch.no_grad():
        for ids, _ in itertools.islice(batches(solver_pieces, tokenizer, seed, BATCH, WHOLE[data]), TEXTS):
            model(ids)
    for hook in hooks:
        hook.remove()
    ways = [layer.mlp.down_proj.weight.detach().norm(dim=0) for layer in model.model.layers]
    return [square.sqrt() * way for square, way in zip(squares, ways, strict=True)]
