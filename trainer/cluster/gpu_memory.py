"""The memory that a model takes on a GPU, in training and in an engine: the arithmetic alone.

Estimates to plan with, in bytes; what they leave out is said at each. Weights, gradients and optimiser states are
counted after ZeRO (Rajbhandari et al. 2020, section 3), activations by what a layer keeps for its backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.schema.learning import Learner
from conf.schema.rollout import Rollout
from conf.schema.solver import VllmSolver

GIB = 2**30
# What CUDA, NCCL and the allocator's gaps take of a GPU beside tensors, and what an engine needs for one step.
LEARNER_OVERHEAD = 3 * GIB
ENGINE_OVERHEAD = 2 * GIB
WIDTH = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Shape:
    """The sizes of a dense decoder. ``linears`` are the (inputs, outputs) of a layer's matrices."""

    parameters: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    linears: tuple[tuple[int, int], ...]

    @classmethod
    def dense(
        cls, layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, vocabulary: int, *, tied: bool
    ) -> Shape:
        """Return the usual decoder with gated MLPs, without its biases, which are less than a thousandth."""
        head_dim = hidden // heads
        keys = kv_heads * head_dim
        mlp = ((hidden, intermediate), (hidden, intermediate), (intermediate, hidden))
        linears = ((hidden, hidden), (hidden, keys), (hidden, keys), (hidden, hidden), *mlp)
        layer = sum(inputs * outputs for inputs, outputs in linears) + 2 * hidden
        parameters = layers * layer + hidden + vocabulary * hidden * (1 if tied else 2)
        return cls(parameters, layers, hidden, heads, kv_heads, head_dim, intermediate, vocabulary, linears)

    def adapters(self, rank: int) -> int:
        """Count the parameters of LoRA on all linear layers but the output: rank × (inputs + outputs) of each."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.linears)


# Described sizes, for a model that is not at hand: dimensions as in the Qwen2.5 family.
DESCRIBED = {
    "0.5b": Shape.dense(24, 896, 4864, 14, 2, 151_936, tied=True),
    "1.5b": Shape.dense(28, 1536, 8960, 12, 2, 151_936, tied=True),
    "3b": Shape.dense(36, 2048, 11_008, 16, 2, 151_936, tied=True),
    "7b": Shape.dense(28, 3584, 18_944, 28, 4, 152_064, tied=False),
    "14b": Shape.dense(48, 5120, 13_824, 40, 8, 152_064, tied=False),
    "32b": Shape.dense(64, 5120, 27_648, 40, 8, 152_064, tied=False),
    "72b": Shape.dense(80, 8192, 29_568, 64, 8, 152_064, tied=False),
}


def shape_of(path: str) -> Shape:
    """Return the shape of a described size (``7b``), or of a model folder or name by its config.json alone.

    The model is built on torch's meta device, without weights. Raises ValueError, OSError.
    """
    if path.lower() in DESCRIBED:
        return DESCRIBED[path.lower()]
    if not Path(path).exists() and path.count("/") != 1:
        raise ValueError(
            f"'{path}' is no model; allowed: a folder with a config.json, owner/name, or one of {', '.join(DESCRIBED)}"
        )
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    whole = AutoConfig.from_pretrained(path)
    config = whole.get_text_config()
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(whole)
    output = model.get_output_embeddings()
    linears = [
        (module.in_features, module.out_features)
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not output
    ]
    layers = config.num_hidden_layers
    heads = config.num_attention_heads
    return Shape(
        # Tied tensors are one parameter.
        parameters=sum(value.numel() for value in model.parameters()),
        layers=layers,
        hidden=config.hidden_size,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        intermediate=config.intermediate_size,
        vocabulary=config.vocab_size,
        linears=tuple(linears[: len(linears) // layers]),
    )


@dataclass(frozen=True)
class Part:
    """A share of a GPU's memory in bytes, and its arithmetic."""

    name: str
    size: float
    formula: str


def learner_memory(shape: Shape, learner: Learner, lora_rank: int | None, *, reference: bool = True) -> list[Part]:
    """Return what a learner rank holds on its GPU at the peak of a step, with a reference model or without.

    With bfloat16 the optimiser keeps weights, momentum and variance in float32 (12 bytes a trained parameter), with
    float32 only the latter two (8). The reference is a whole copy on every rank; under LoRA it is the same weights with
    the adapters off. Half of a micro-batch is taken to be completions, whose logits are kept in float32.
    """
    width, tokens = WIDTH[learner.dtype], learner.max_tokens_per_microbatch
    adapters = shape.adapters(lora_rank) if lora_rank is not None else 0
    trained = adapters or shape.parameters
    copies = 2 if learner.critic == "separate" else 1
    held = shape.parameters + adapters
    states = 12 if learner.dtype == "bfloat16" else 8
    split = {"optimiser": 1, "gradients": 2, "weights": 3}
    share = {name: learner.ranks if learner.zero_stage >= stage else 1 for name, stage in split.items()}
    twice = f"{copies} × " if copies > 1 else ""

    def part(name: str, bytes_each: int, count: int) -> Part:
        over = f" / {share[name]} ranks" if share[name] > 1 else ""
        size = copies * bytes_each * count / share[name]
        return Part(name, size, f"{twice}{bytes_each} B × {billions(count)}{over}")

    parts = [part("weights", width, held), part("gradients", width, trained), part("optimiser", states, trained)]
    if reference and lora_rank is None:
        parts.append(Part("reference", width * shape.parameters, f"{width} B × {billions(shape.parameters)}"))
    each = layer_activations(shape)
    kept = shape.layers * shape.hidden + each if learner.gradient_checkpointing else shape.layers * each
    how = (
        f"{shape.layers} layers × {shape.hidden} + {each}"
        if learner.gradient_checkpointing
        else f"{shape.layers} layers × {each}"
    )
    logits = tokens // 2 * shape.vocabulary
    # The logits as the model made them, in float32, and the gradient of those.
    parts += [
        Part("activations", copies * width * kept * tokens,
             f"{twice}{width} B × ({how}) × {tokens} tokens"),
        Part("logits", (width + 8) * logits,
             f"{width + 8} B × {tokens // 2} tokens × {shape.vocabulary} words"),
        Part("overhead", LEARNER_OVERHEAD, "CUDA, NCCL, gaps"),
    ]  # fmt: skip
    return parts


def layer_activations(shape: Shape) -> int:
    """Count the numbers that a layer keeps a token for its backward pass, attention by a fused kernel.

    They are the inputs and outputs of two norms, queries and keys before and after rotation, values, the attention's
    output, and four of the MLP's width.
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return 4 * shape.hidden + 3 * queries + 3 * keys + 4 * shape.intermediate


def kv_bytes(shape: Shape, dtype: str) -> int:
    """Return the bytes of a token's keys and values."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * WIDTH[dtype]


def engine_memory(
    shape: Shape, group: Rollout | VllmSolver, dtype: str, share_gib: float | None, tensor_parallel: int
) -> list[Part]:
    """Return what a vLLM engine holds on each of its GPUs: weights, what a step needs, and in the rest keys and values.

    Where the GPU's size is not known, keys and values are those of ``max_num_seqs`` sequences of ``max_model_len``.
    """
    width, token = WIDTH[dtype], kv_bytes(shape, dtype) / tensor_parallel
    over = f" / {tensor_parallel} GPUs" if tensor_parallel > 1 else ""
    weights = width * shape.parameters / tensor_parallel
    if share_gib is None:
        tokens = float(group.max_num_seqs * group.max_model_len)
    else:
        tokens = max(0.0, (share_gib * GIB - weights - ENGINE_OVERHEAD) // token)
    return [
        Part("weights", weights, f"{width} B × {billions(shape.parameters)}{over}"),
        Part("KV cache", tokens * token,
             f"{token / 1024:g} KiB a token × {tokens:,.0f} tokens = {tokens / group.max_model_len:,.0f} sequences of "
             f"{group.max_model_len}"),
        Part("overhead", ENGINE_OVERHEAD, "CUDA, one step"),
    ]  # fmt: skip


def billions(count: float) -> str:
    """Return a count of parameters, to be read."""
    return f"{count / 1e9:.2f} G" if count >= 1e8 else f"{count / 1e6:.2f} M"


def gib(parts: list[Part]) -> float:
    """Return the sum of the parts in GiB."""
    return sum(part.size for part in parts) / GIB
