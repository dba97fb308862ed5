"""The memory that a model takes on a GPU, in training and in an engine: the arithmetic alone.

Estimates to plan with, in bytes; what they leave out is said at each. Weights, gradients and optimiser states are
counted after ZeRO (Rajbhandari et al. 2020, section 3), activations by what a layer keeps for its backward pass.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.schema.learning import Learner
from conf.schema.rollout import Rollout
from conf.schema.solver import VllmSolver

GIB = 2**30
# What CUDA, NCCL and libraries take of a GPU beside tensors, and what an engine needs for one step.
LEARNER_OVERHEAD = 3 * GIB
ENGINE_OVERHEAD = 2 * GIB
# The share of what comes and goes in a step that the allocator's gaps add to it.
FRAGMENTS = 0.05
# DeepSpeed's own settings, in numbers: a bucket of gradients on their way to other ranks, which is there whole with few
# gradients and with one rank too, a group of weights that ZeRO-3 steps at once, and what it has gathered at most.
BUCKET, STEP_GROUP, GATHERED = 5e8, 1e9, 1e9
WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
# The bytes that a logit takes at the peak of its backward pass: as the model made it, in float32, over the temperature,
# and the gradients of these.
LOGIT_BYTES = 20
# The bits of a weight under a method of quantisation, where the model's folder does not tell; of the methods that are
# not here it must. Below 8 bits every group of 128 weights has a scale and a zero of 20 bits more.
BITS = {
    **dict.fromkeys(("awq", "auto_awq", "awq_marlin", "gptq", "auto_gptq", "gptq_marlin"), 4),
    **dict.fromkeys(("mxfp4", "modelopt_fp4"), 4),
    **dict.fromkeys(("fp8", "fbgemm_fp8", "modelopt", "modelopt_mxfp8", "mxfp8"), 8),
    **dict.fromkeys(("fp8_per_tensor", "fp8_per_block", "fp8_per_channel"), 8),
}
GROUP_BITS = 20 / 128


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

    @property
    def in_matrices(self) -> int:
        """The parameters of the layers' matrices, which are what is quantised."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears)

    def adapters(self, rank: int) -> int:
        """Count the parameters of LoRA on all linear layers but the output: rank × (inputs + outputs) of each."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.linears)


# Described sizes, for a model that is not at hand: dimensions as in the Qwen2.5 family, 70b as in Llama 3.
DESCRIBED = {
    "0.5b": Shape.dense(24, 896, 4864, 14, 2, 151_936, tied=True),
    "1.5b": Shape.dense(28, 1536, 8960, 12, 2, 151_936, tied=True),
    "3b": Shape.dense(36, 2048, 11_008, 16, 2, 151_936, tied=True),
    "7b": Shape.dense(28, 3584, 18_944, 28, 4, 152_064, tied=False),
    "14b": Shape.dense(48, 5120, 13_824, 40, 8, 152_064, tied=False),
    "32b": Shape.dense(64, 5120, 27_648, 40, 8, 152_064, tied=False),
    "70b": Shape.dense(80, 8192, 28_672, 64, 8, 128_256, tied=False),
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


def learner_memory(
    shape: Shape, learner: Learner, lora_rank: int | None, *, layers: int | None = None, reference: bool = True
) -> list[Part]:
    """Return what a learner rank holds on its GPU at the peak of a step, with a reference model or without. ``layers``:
    only the last so many are trained.

    The optimiser keeps weights, momentum and variance in float32 (12 bytes a trained parameter); in float32 without
    ZeRO it needs no copy of the weights (8). The reference is a copy, shared out over the ranks under ZeRO-3; under
    LoRA it is the same weights with the adapters off. Half of a micro-batch is taken to be completions, which have
    logits.
    """
    width = WIDTH[learner.dtype]
    adapters = shape.adapters(lora_rank) if lora_rank is not None else 0
    trained = adapters or shape.parameters
    if layers is not None:
        trained = (adapters or shape.in_matrices) * layers // shape.layers
    copies = 2 if learner.critic == "separate" else 1
    states = 8 if learner.dtype == "float32" and learner.zero_stage == 0 else 12
    split = {"optimiser": 1, "gradients": 2, "weights": 3}
    share = {name: learner.ranks if learner.zero_stage >= stage else 1 for name, stage in split.items()}
    twice = f"{copies} × " if copies > 1 else ""

    def part(name: str, bytes_each: int, count: int) -> Part:
        over = f" / {share[name]} ranks" if share[name] > 1 else ""
        size = copies * bytes_each * count / share[name]
        return Part(name, size, f"{twice}{bytes_each} B × {billions(count)}{over}")

    parts = [part("weights", width, shape.parameters + adapters), part("gradients", width, trained)]
    if not learner.offload_optimizer:
        parts.append(part("optimiser", states, trained))
    if reference and lora_rank is None:
        over = f" / {share['weights']} ranks" if share["weights"] > 1 else ""
        size = width * shape.parameters / share["weights"]
        parts.append(Part("reference", size, f"{width} B × {billions(shape.parameters)}{over}"))
    moving = [activations_memory(shape, learner, copies, layers or shape.layers), logits_memory(shape, learner)]
    step = step_memory(learner, copies * trained)
    backward = sum(one.size for one in moving)
    if step.size > backward:
        # Neither activations nor logits are there any more when the optimiser steps.
        less = f"{step.formula}, less activations and logits, which are gone by then"
        moving.append(Part(step.name, step.size - backward, less))
    moving += buckets_memory(learner, copies * shape.parameters)
    gaps = FRAGMENTS * sum(one.size for one in moving)
    return [
        *parts,
        *moving,
        Part("fragments", gaps, f"{FRAGMENTS:.0%} of what comes and goes"),
        Part("overhead", LEARNER_OVERHEAD, "CUDA, NCCL, libraries"),
    ]


def activations_memory(shape: Shape, learner: Learner, copies: int, layers: int) -> Part:
    """Return what the ``layers`` that the backward pass goes through keep of a micro-batch."""
    each, tokens, width = layer_activations(shape), learner.max_tokens_per_microbatch, WIDTH[learner.dtype]
    twice = f"{copies} × " if copies > 1 else ""
    if learner.gradient_checkpointing:
        kept, how = layers * shape.hidden + each, f"{layers} layers × {shape.hidden} + {each}"
    else:
        kept, how = layers * each, f"{layers} layers × {each}"
    return Part("activations", copies * width * kept * tokens, f"{twice}{width} B × ({how}) × {tokens} tokens")


def logits_memory(shape: Shape, learner: Learner) -> Part:
    """Return what the logits of a micro-batch's completions take at the peak: of at most ``logits_per_chunk``."""
    tokens = min(learner.max_tokens_per_microbatch // 2, max(1, learner.logits_per_chunk // shape.vocabulary))
    size = LOGIT_BYTES * tokens * shape.vocabulary
    return Part("logits", size, f"{LOGIT_BYTES} B × {tokens} tokens × {shape.vocabulary} words")


def step_memory(learner: Learner, trained: int) -> Part:
    """Return what the optimiser's step takes beside its states: the gradients in float32, and as much for AdamW's
    temporaries, of a rank's share of the weights. ZeRO-3 steps one group of them after another."""
    if learner.offload_optimizer:
        return Part("step", 0.0, "on the CPU")
    count = trained / learner.ranks if learner.zero_stage >= 1 else float(trained)
    count = min(count, STEP_GROUP) if learner.zero_stage == 3 else count
    return Part("step", 8 * count, f"(4 + 4) B × {billions(count)}")


def buckets_memory(learner: Learner, held: int) -> list[Part]:
    """Return what ZeRO keeps for what travels between the ranks, of ``held`` weights."""
    if learner.zero_stage == 0:
        return []
    width, kinds = WIDTH[learner.dtype], 2 if learner.zero_stage == 3 else 1
    size = float(learner.deepspeed.get("zero_optimization", {}).get("reduce_bucket_size", BUCKET))
    parts = [Part("buckets", kinds * width * size, f"{kinds} × {width} B × {billions(size)}")]
    if learner.zero_stage == 3 and learner.ranks > 1:
        live = min(GATHERED, held)
        parts.append(Part("gathered", width * live, f"{width} B × {billions(live)} of other ranks' weights"))
    return parts


def layer_activations(shape: Shape) -> int:
    """Count the numbers that a layer keeps a token for its backward pass, attention by a fused kernel.

    They are the inputs and outputs of two norms, queries and keys before and after rotation, values, the attention's
    output, and four of the MLP's width.
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return 4 * shape.hidden + 3 * queries + 3 * keys + 4 * shape.intermediate


def kv_bytes(shape: Shape, dtype: str, cache: str = "auto") -> int:
    """Return the bytes of a token's keys and values; ``cache`` is vLLM's ``kv_cache_dtype``."""
    width = 1 if cache.startswith(("fp8", "int8")) else WIDTH[dtype]
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * width


def weight_bits(quantization: str | None, path: str) -> float | None:
    """Return the bits that a weight of a layer's matrices takes, its scales included: as the configuration of the model
    says, a folder's or one of the hub's, or the method's own; None if it is not quantised, or neither tells. Raises
    OSError for a model that cannot be found."""
    file = Path(path) / "config.json"
    if not Path(path).exists() and path.lower() not in DESCRIBED:
        from transformers.utils import cached_file

        file = Path(cached_file(path, "config.json"))
    found = json.loads(file.read_text(encoding="utf-8")).get("quantization_config") if file.is_file() else None
    bits = _bits_in(found or {}) or BITS.get(quantization or (found or {}).get("quant_method", ""))
    return bits and (bits + GROUP_BITS if bits < 8 else float(bits))


def _bits_in(values: dict[str, Any]) -> int | None:
    """Return the bits of a weight in a model's ``quantization_config``, of which each method has its own form."""
    groups = [group.get("weights") or {} for group in (values.get("config_groups") or {}).values()]
    for one in (values, *groups):
        for name in ("bits", "w_bit", "weight_bits", "num_bits"):
            if isinstance(one.get(name), int):
                return int(one[name])
    return 4 if values.get("load_in_4bit") else 8 if values.get("load_in_8bit") else None


def engine_memory(
    shape: Shape,
    group: Rollout | VllmSolver,
    dtype: str,
    share_gib: float | None,
    tensor_parallel: int,
    bits: float | None = None,
) -> list[Part]:
    """Return what a vLLM engine holds on each of its GPUs: weights, of which those of the layers' matrices may have so
    many ``bits``, what a step needs, and in the rest keys and values.

    Where the GPU's size is not known, keys and values are those of ``max_num_seqs`` sequences of ``max_model_len``.
    """
    width, gpus = WIDTH[dtype], tensor_parallel * group.stages
    over = f" / {gpus} GPUs" if gpus > 1 else ""
    small = shape.in_matrices if bits is not None else 0
    weights = ((shape.parameters - small) * width + small * (bits or 0) / 8) / gpus
    formula = f"{width} B × {billions(shape.parameters - small)}" + (
        f" + {bits / 8:.2f} B × {billions(small)}" if bits is not None else ""
    )
    token = token_bytes(shape, group, dtype, tensor_parallel)
    if share_gib is None:
        tokens = float(group.max_num_seqs * group.max_model_len)
    else:
        tokens = max(0.0, (share_gib * GIB - weights - ENGINE_OVERHEAD) // token)
    return [
        Part("weights", weights, f"({formula}){over}" if small and over else formula + over),
        Part("KV cache", tokens * token,
             f"{token / 1024:g} KiB a token × {tokens:,.0f} tokens = {tokens / group.max_model_len:,.0f} sequences of "
             f"{group.max_model_len}"),
        Part("overhead", ENGINE_OVERHEAD, "CUDA, one step"),
    ]  # fmt: skip


def token_bytes(shape: Shape, group: Rollout | VllmSolver, dtype: str, tensor_parallel: int) -> float:
    """Return the bytes of a token's keys and values on each GPU of an engine: those of a head are on one GPU at
    least, those of a layer on its stage's."""
    cache = str(group.engine_arguments.get("kv_cache_dtype", "auto"))
    split = min(tensor_parallel, shape.kv_heads) * group.stages
    return kv_bytes(shape, dtype, cache) / split


def billions(count: float) -> str:
    """Return a count of parameters, to be read."""
    return f"{count / 1e9:.2f} G" if count >= 1e8 else f"{count / 1e6:.2f} M"


def gib(parts: list[Part]) -> float:
    """Return the sum of the parts in GiB."""
    return sum(part.size for part in parts) / GIB
