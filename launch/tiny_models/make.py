"""The making of the tiny models: solver and decomposer's base, which ship, and of the solver verifier and monolith.

All are Llama models of a million parameters over a byte-level tokenizer whose merges cover the embedded task's
words, one token a digit; the monolith has twice as many layers, so that it is as large as solver and decomposer
together. The first two are trained from nothing on generated problems of the train split, the others go on from the
solver that ships.

What they read is in ``launch.tiny_models.texts`` and ``launch.tiny_models.role_texts``.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from conf.schema.model import shipped
from launch.tiny_models import texts
from launch.tiny_models.curriculum import (
    BATCH,
    CONTINUED,
    INDEPENDENT,
    LEARNING_RATE,
    POSITIONS,
    SHORT,
    WHOLE,
    Draw,
    Stage,
    cycles,
    from_nothing,
)
from launch.tiny_models.keep import EVERY_STEPS, FILE, Kept
from launch.tiny_models.names import NAMES
from launch.tiny_models.texts import END, PROMPTS, Pieces, solver_pieces
from rollout.data.graph import Graph
from rollout.data.worked import SolverView

LAYERS = 4
NEURONS = 384
# Those of the independent solver.
OTHER_SIZE = {"layers": 5, "neurons": 320}
MUON_FACTOR = 1.0
BEGINNINGS = 3
BEGINNING_STEPS = 200
# Step, mean loss, share of rows whose every supervised token was the most likely one.
Report = Callable[[int, float, float], None]


# -- tokenizer -----------------------------------------------------------------------------------------------


def make_tokenizer(
    seed: int = 0, *tasks: str, count: int = 4000, pieces_of: Pieces = solver_pieces
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE over the text of ``count`` problems of each task: any text round-trips, every task word is
    one token, and a digit is always a token of its own."""
    rng = random.Random(seed)
    read = []
    for problem in (one for task in tasks or ("chained",) for one in itertools.islice(WHOLE[task](seed), count)):
        read.append("".join(text for text, _ in pieces_of(problem, rng)).replace(END, ""))
        read.append(PROMPTS.decompose(problem, SolverView(Graph(problem)).solve()))
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r" ?\d| ?[A-Za-z]+|\s| ?[^\sA-Za-z\d]")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        min_frequency=5,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(read, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


# -- training ------------------------------------------------------------------------------------------------


def deepened(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """Return the model with twice its layers: each is followed by a copy of itself whose ways out are zero, so that it
    writes what it wrote until it is trained (Wu et al., 2024, LLaMA Pro)."""
    twice = {"num_hidden_layers": 2 * model.config.num_hidden_layers}
    deep = LlamaForCausalLM(LlamaConfig(**model.config.to_dict() | twice))
    weights = {}
    for key, value in model.state_dict().items():
        before, layer, after = key.partition("model.layers.")
        if not layer:
            weights[key] = value
            continue
        index, _, name = after.partition(".")
        way_out = name.startswith(("self_attn.o_proj", "mlp.down_proj"))
        weights[f"{before}{layer}{2 * int(index)}.{name}"] = value
        weights[f"{before}{layer}{2 * int(index) + 1}.{name}"] = torch.zeros_like(value) if way_out else value.clone()
    deep.load_state_dict(weights)
    return deep


def make_model(
    tokenizer: PreTrainedTokenizerFast, seed: int, positions: int = 512, layers: int = LAYERS, neurons: int = NEURONS
) -> LlamaForCausalLM:
    """Return a freshly initialised tiny Llama for texts of up to so many tokens, its attention begun as in
    ``mimetic_init``."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=neurons,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            attention_bias=True,
            max_position_embeddings=positions,
            initializer_range=0.08,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    mimetic_init(model)
    return model


@torch.no_grad()
def carried_over(name: str, tokenizer: PreTrainedTokenizerFast, seed: int, positions: int) -> LlamaForCausalLM:
    """Return a shipped model with the words of another tokenizer and for texts of up to so many tokens: words that both
    know keep their meaning, the others are drawn like those. Its look-ups are formed already."""
    known = AutoTokenizer.from_pretrained(shipped(name)).get_vocab()
    was = LlamaForCausalLM.from_pretrained(shipped(name), dtype=torch.float32)
    model = make_model(tokenizer, seed, positions)
    weights = was.state_dict()
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        old = weights[key]
        new = old.mean(0) + old.std(0) * torch.randn(len(tokenizer), old.shape[1])
        for token, index in tokenizer.get_vocab().items():
            if token in known:
                new[index] = old[known[token]]
        weights[key] = new
    model.load_state_dict(weights)
    model.tie_weights()
    return model


@torch.no_grad()
def mimetic_init(model: LlamaForCausalLM) -> None:
    """Begin with the look-ups by name half made, so that they form in minutes and not in hours.

    After the idea of Trockman and Kolter (2023, Mimetic initialization of self-attention layers), for induction:
    three heads of the first layer attend one, two and three tokens back, through biases that the rotary embedding
    turns into a peak at that distance, and copy what they find into a subspace of their own. Heads of the next
    two layers match a token, the one before it, or the last three against those subspaces; so "Eva has" already looks
    at what followed "Eva has", and "9 more than" at what followed "9 more than".
    """
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    half = size // 2
    frequency = 1.0 / (10_000.0 ** (torch.arange(0, size, 2) / size))[:8]
    basis = torch.linalg.qr(torch.randn(config.hidden_size, config.hidden_size))[0].T
    space = [basis[index * size : (index + 1) * size] for index in range(4)]
    model.model.embed_tokens.weight.normal_(0.0, 0.1)
    for index, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        layer.mlp.down_proj.weight.normal_(0.0, 0.02)
        if index > 2:
            attention.k_proj.weight.copy_(attention.q_proj.weight)
            attention.o_proj.weight.copy_(attention.v_proj.weight.T)
            continue
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
            projection.weight.normal_(0.0, 0.02 if index < 2 else 0.08)
        for head in range(4):
            rows = slice(head * size, (head + 1) * size)
            if index == 0 and head < 3:
                back = head + 1
                attention.q_proj.bias[rows][:8] = 5.0
                attention.k_proj.bias[rows][:8] = 5.0 * torch.cos(back * frequency)
                attention.k_proj.bias[rows][half : half + 8] = 5.0 * torch.sin(back * frequency)
                attention.v_proj.weight[rows] += space[0]
                attention.o_proj.weight[:, rows] += 0.1 * space[back].T
            elif index > 0:
                seeks, finds = (((0,), (1,)), ((1,), (2,)), ((0, 1, 2), (1, 2, 3)), ((0,), (0,)))[head]
                attention.q_proj.weight[rows] += 1.6 * sum(space[place] for place in seeks)
                attention.k_proj.weight[rows] += 1.6 * sum(space[place] for place in finds)
                value = 0.08 * torch.randn(size, config.hidden_size)
                attention.v_proj.weight[rows] += value
                attention.o_proj.weight[:, rows] += 0.5 * value.T


def batches(
    pieces_of: Pieces, tokenizer: PreTrainedTokenizerFast, seed: int, size: int, draw: Draw
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield endless ``(ids, labels)`` of shape ``[size, time]``; labels are -100 where nothing is supervised.

    Texts are drawn a few batches at a time and sorted by length, so that little of a batch is padding.
    """
    rng = random.Random(seed)
    problems = draw(seed)
    while True:
        rows = []
        for _ in range(8 * size):
            ids: list[int] = []
            labels: list[int] = []
            for text, supervised in pieces_of(next(problems), rng):
                piece = tokenizer.encode(text, add_special_tokens=False)
                ids += piece
                labels += piece if supervised else [-100] * len(piece)
            rows.append((ids, labels))
        rows.sort(key=lambda row: len(row[0]))
        groups = [rows[start : start + size] for start in range(0, len(rows), size)]
        rng.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            yield (
                torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in group]),
                torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in group]),
            )


def stream(
    stages: list[Stage], tokenizer: PreTrainedTokenizerFast, seed: int, steps: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of the stages in turn, for ``steps`` steps and more."""
    for number, (share, pieces_of, size, draw) in enumerate(stages):
        count = int(share * steps) if share < 1 else steps
        yield from itertools.islice(batches(pieces_of, tokenizer, seed + number, size, draw), count)


def train(
    model: LlamaForCausalLM,
    stream: Iterator[tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    lr: float,
    report: Report,
    *,
    half: bool = True,
    keep: Callable[..., None] | None = None,
    state: dict[str, Any] | None = None,
) -> None:
    """Train in place with Muon on the hidden matrices and AdamW on the rest, linear warm-up and cosine decay; with
    ``half`` the model computes in bfloat16, which a CPU without instructions for it does many times as slowly.

    ``report(step, loss, exact)`` gets the mean loss and the share of rows whose every supervised token was the
    most likely one; rows are always fresh, so both are held-out figures. ``keep(step, model, optimizers, schedules)``
    is called every few steps and at the end. With the ``state`` that was kept so, it goes on after that step; the model
    has its weights already.
    """
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(hidden, lr=lr * MUON_FACTOR, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=steps,
            pct_start=0.05,
            cycle_momentum=False,
            final_div_factor=100,
        )
        for optimizer in optimizers
    ]
    done = 0
    if state is not None:
        for part, was in zip([*optimizers, *schedules], [*state["optimizers"], *state["schedules"]], strict=True):
            part.load_state_dict(was)
        done = state["step"]
        # Nothing but the number of a batch says what is in it; making all again takes less than a minute or two.
        next(itertools.islice(stream, done, done), None)
    model.train()
    for step in range(done + 1, steps + 1):
        ids, labels = next(stream)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            logits = model(ids).logits[:, :-1].float()
        targets = labels[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        exact = ((logits.argmax(-1) == targets) | (targets == -100)).all(1).float().mean()
        report(step, loss.item(), exact.item())
        if keep is not None and (step % EVERY_STEPS == 0 or step == steps):
            keep(step, model, optimizers, schedules)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write an ordinary Hugging Face folder with bfloat16 weights."""
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def beginning_steps(steps: int) -> int:
    """Return the steps that each beginning is tried for before a training of ``steps``."""
    return min(BEGINNING_STEPS, steps)


def begin(
    tokenizer: PreTrainedTokenizerFast, seed: int, steps: int, report: Report, fresh: Callable[[int], LlamaForCausalLM]
) -> LlamaForCausalLM:
    """Return the best of a few models, ``fresh`` from their seeds, after ``steps`` steps on bare look-ups: how soon
    those form depends on the draw of the first weights (the loss after 300 steps differed fourfold), and all that
    follows hangs on them."""
    found = []
    for number in range(BEGINNINGS):
        model, losses = fresh(seed + number), deque[float](maxlen=50)

        def note(step: int, loss: float, exact: float, before: int = number * steps, kept: Any = losses) -> None:
            kept.append(loss)
            report(before + step, loss, exact)

        stream = batches(texts.fact_pieces, tokenizer, seed, BATCH // 2, SHORT["chained"])
        train(model, stream, steps, LEARNING_RATE, note)
        found.append((sum(losses), number, model))
    return min(found)[2]


def total_steps(steps: int, kind: str = "solver", data: str = "chained") -> int:
    """Return the steps that ``make`` takes and reports in all."""
    return steps + BEGINNINGS * beginning_steps(steps) if from_nothing(kind, data) else steps


def make(kind: str, seed: int, steps: int, folder: Path, report: Report, data: str = "chained") -> None:
    """Train a model of a task on one thread and save it: the ``solver`` or the ``decomposer`` base of the first task,
    or the independent solver, from nothing, whose beginnings are reported as the first steps; those of another task on
    from them, with words of its own; the others on from the shipped solver. A training that was stopped goes on from
    what it kept in ``folder``, if it has the same kind, seed, steps and task."""
    torch.set_num_threads(1)
    kept = Kept(folder / FILE, {"kind": kind, "seed": seed, "steps": steps, "data": data})
    state = kept.load()
    if kind in CONTINUED:
        solver = shipped(f"{NAMES[data]}_solver")
        tokenizer = AutoTokenizer.from_pretrained(solver)
        model = LlamaForCausalLM.from_pretrained(solver, dtype=torch.float32)
        if kind == "monolith":
            model = deepened(model)
    else:
        if kind == INDEPENDENT:
            tokenizer = make_tokenizer(seed, "chained", data, pieces_of=texts.independent_pieces)
            size = OTHER_SIZE
        else:
            tokenizer, size = make_tokenizer(seed, data), {}

        def fresh(seed: int) -> LlamaForCausalLM:
            return make_model(tokenizer, seed, POSITIONS[data], **size)

        if state is not None:
            model = fresh(seed)
        elif from_nothing(kind, data):
            model = begin(tokenizer, seed, beginning_steps(steps), report, fresh)
        else:
            model = carried_over(f"tiny_{kind}", tokenizer, seed, POSITIONS[data])
    if state is not None:
        model.load_state_dict(state["model"])
    left = steps
    for number, (share, lr, stages) in enumerate(cycles(kind, data)):
        count = min(left, round(share * steps))
        done = total_steps(steps, kind, data) - left

        def note(step: int, loss: float, exact: float, before: int = done) -> None:
            report(before + step, loss, exact)

        if state is None or state["cycle"] <= number:
            texts_read = stream(stages, tokenizer, seed + 100 * number, count)
            keep, own = partial(kept.save, number), state if state is not None and state["cycle"] == number else None
            train(model, texts_read, count, lr, note, half=kind not in CONTINUED, keep=keep, state=own)
        left -= count
    save(model, tokenizer, folder)
    kept.path.unlink()
