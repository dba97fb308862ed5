"""Models with random weights, made on the spot in the shapes that the project plans with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.gpu.machine import device
from conf.schema.model import shipped
from trainer.cluster.gpu_memory import DESCRIBED, Shape
from trainer.run_folder.files import begin_folder

# The vocabulary of each has room for the shipped tokenizer's words.
SHAPES = {
    "tiny": Shape.dense(2, 64, 128, 2, 2, 640, tied=True),
    "small": Shape.dense(4, 256, 1024, 4, 4, 2048, tied=True),
    "0.3b": Shape.dense(16, 1024, 4096, 16, 8, 32_000, tied=True),
    "1.5b": DESCRIBED["1.5b"],
    "7b": DESCRIBED["7b"],
}
CONTEXT = 16_384


def random_model(size: str, scratch: str) -> str:
    """Return a folder with a model of this size over the shipped tokenizer, in bfloat16; made once."""
    folder = Path(scratch) / f"random-{size}"
    if not folder.is_dir():
        partial = begin_folder(folder)
        _write(SHAPES[size], partial)
        partial.rename(folder)
    return str(folder)


def _write(shape: Shape, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(shipped("tiny_decomposer"))
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=tied(shape),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    with device():
        model: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tied(shape: Shape) -> bool:
    """Return whether a shape's head is its embedding: its parameters are then too few for both."""
    in_layers = shape.in_matrices + shape.hidden * (2 * shape.layers + 1)
    return shape.parameters - in_layers < 2 * shape.vocabulary * shape.hidden


def random_rows(
    count: int, prompt: int, completion: int, words: int, *, shortest: float = 0.5, seed: int = 0
) -> list[tuple[list[int], list[int]]]:
    """Return ``count`` random prompts and completions, each of between its ``shortest`` share of so many tokens and
    all of them."""
    draw = random.Random(seed)

    def tokens(most: int) -> list[int]:
        return [draw.randrange(3, words) for _ in range(draw.randint(int(shortest * most), most))]

    return [(tokens(prompt), tokens(completion)) for _ in range(count)]
