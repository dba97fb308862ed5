"""The learner's tokens a second beside a bare PyTorch loop's: ``python -m benchmarks.learner [--rounds 15]``.

Both take the PPO step of the embedded default on the same batch, one rank, one thread: forward for proximal
log-probabilities, values and entropies, forward of the reference, then forward, backward, clip and AdamW for each
minibatch. The bare loop has the batch as tensors from the start and shares only the formulas with the learner, whose
DeepSpeed, cutting, collating, checks and metrics are what the ratio is about. The two take turns within one run.
The proof kit for GPUs (docs/gpu.md) has the same two sides on a GPU, in bfloat16.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.processes import Machine
from benchmarks.timing import PassTimer, take_turns
from conf.schema.config import Config
from conf.schema.model import model_path
from launch.compose import compose
from rollout.data.source import make_source
from rollout.episode.prompts import Prompts
from trainer.algorithm import losses
from trainer.algorithm.advantages import gae, moments, whiten
from trainer.algorithm.experience import Experience, Sequences, microbatches, minibatches, pack, pad, pad_values
from trainer.algorithm.rows import Pair, Row
from trainer.learner.learner import DTYPES, Learner
from trainer.learner.output_head import predicting_logits
from trainer.learner.token_logprobs import token_logprobs

# Low, since the batch is always the same; AdamW's work does not depend on it.
RATE = 1e-5
FIXED = (
    f"learner.lr={RATE}", f"learner.critic_lr={RATE}", "learner.lr_schedule=constant", "learner.warmup_steps=0",
)  # fmt: skip


def make_batch(config: Config) -> list[Experience]:
    """Make a batch of gold decompositions on problems of the embedded task, paid 0 or 1."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_path(config.model.path))
    prompts, batch = Prompts.of(config), []
    for index, problem in enumerate(itertools.islice(make_source(config.data).train(99), config.algorithm.batch_size)):
        prompt = tokenizer.encode(prompts.decompose(problem, (problem.solution or "").splitlines()[0]))
        plan = "\n".join(problem.subquestions or [])
        ids = [*tokenizer.encode(plan, add_special_tokens=False), tokenizer.eos_token_id]
        batch.append(paid_at_the_end(problem.id, prompt, ids, float(index % 2)))
    return batch


def paid_at_the_end(name: str, prompt: list[int], ids: list[int], reward: float) -> Experience:
    """Return a completion's experience, sampled by the first weights and paid at its last token."""
    paid = [0.0] * (len(ids) - 1) + [reward]
    return Experience(name, [Row(prompt, ids, [-1.0] * len(ids), [0] * len(ids), paid)])


class Bare:
    """The same step without the learner, on a GPU if the learner has one. ``passes`` times training's own passes."""

    def __init__(self, config: Config, batch: list[Experience]) -> None:
        self.config, self.passes = config, PassTimer()
        self.device = "cuda" if config.learner.gpus_per_rank > 0 else "cpu"
        dtype = DTYPES[config.learner.dtype]
        self.lm, self.reference = self._load(dtype)
        self.head = nn.Linear(self.lm.config.hidden_size, 1, device=self.device, dtype=dtype)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.parameters = [value for value in (*self.lm.parameters(), *self.head.parameters()) if value.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=RATE, betas=config.learner.betas, weight_decay=0.0, fused=self.device == "cuda"
        )
        # The learner's own cuts of the first step.
        self.generator = torch.Generator().manual_seed(config.seed * 100_003)
        parts = minibatches(list(enumerate(batch)), config.algorithm.minibatches, self.generator)  # type: ignore[arg-type]
        rows = [row for experience in batch for row in experience.rows]
        self.parts = [self._cut([(i, rows[i].pair) for i, _ in part]) for part in parts]  # type: ignore[has-type, misc]
        self.whole = self._cut(list(enumerate(row.pair for row in rows)))
        self.length = max(len(row.token_ids) for row in rows)
        values = partial(pad_values, length=self.length, device=self.device)
        self.mask = values([row.mask for row in rows]).bool()
        self.behaviour = values([row.logprobs for row in rows])
        self.rewards = values([row.rewards for row in rows])

    def _load(self, dtype: torch.dtype) -> tuple[Any, Any]:
        """Return the model and its reference; None for that under LoRA, where it is the model without the adapter."""
        from transformers import AutoModelForCausalLM

        lm: Any = AutoModelForCausalLM.from_pretrained(model_path(self.config.model.path), dtype=dtype).to(self.device)
        lora, checkpointing = self.config.model.lora, self.config.learner.gradient_checkpointing
        reference = None if lora else copy.deepcopy(lm).requires_grad_(False)
        if checkpointing:
            lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            lm.enable_input_require_grads()
        if lora is not None:
            from peft import LoraConfig, get_peft_model

            adapters = LoraConfig(
                r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, task_type="CAUSAL_LM"
            )
            lm = get_peft_model(lm, adapters)
        # transformers loads models for evaluation, and recomputes no activations in them.
        return lm.train(checkpointing), reference

    def _cut(self, rows: list[tuple[int, Pair]]) -> list[tuple[list[int], Sequences]]:
        padded = self.config.learner.packing == "padded"
        groups = microbatches([row for _, row in rows], self.config.learner.max_tokens_per_microbatch, padded=padded)
        collate = partial(pad if padded else pack, device=self.device)
        return [([rows[i][0] for i in group], collate([rows[i][1] for i in group])) for group in groups]

    def _forward(self, lm: Any, batch: Sequences) -> tuple[Tensor, Tensor]:
        logits, hidden = predicting_logits(lm, batch, states=True)
        assert hidden is not None
        return logits.float(), hidden

    def _judge(self, batch: Sequences) -> Tensor:
        lm = self.lm if self.reference is None else self.reference
        with nullcontext() if self.reference is not None else self.lm.disable_adapter():
            logits, _ = predicting_logits(lm, batch, states=False)
        return token_logprobs(logits.float(), batch.targets, "none")[0]

    def step(self) -> None:
        """Take-up and all optimiser steps."""
        algorithm = self.config.algorithm
        proximal, values, reference, entropies = torch.zeros(4, *self.mask.shape, device=self.device)
        for rows, part in self.whole:
            width = part.mask.shape[1]
            with torch.no_grad():
                logits, hidden = self._forward(self.lm, part)
                chosen, spread = token_logprobs(logits, part.targets, "value")
                found = (chosen, self.head(hidden)[..., 0].float(), self._judge(part), spread)
            for tensor, value in zip((proximal, values, reference, entropies), found, strict=True):
                tensor[rows, :width] = part.by_sequence(value)
        charged = self.rewards - algorithm.kl_coef * losses.kl_k1(proximal, reference, self.mask)
        advantages, returns = gae(charged, values, self.mask, algorithm.gamma, algorithm.lam)
        advantages = whiten(advantages, self.mask, moments(advantages, self.mask))
        for _ in range(algorithm.epochs):
            for place in torch.randperm(len(self.parts), generator=self.generator).tolist():
                self._minibatch(self.parts[place], proximal, values, advantages, returns)

    def _minibatch(self, parts: list[tuple[list[int], Sequences]], *record: Tensor) -> None:
        algorithm = self.config.algorithm
        tokens = sum(int(part.mask.sum()) for _, part in parts)
        for rows, part in parts:
            proximal, old_values, advantages, returns = (tensor[rows, : part.mask.shape[1]] for tensor in record)
            with self.passes.timed():
                logits, hidden = self._forward(self.lm, part)
                current = part.by_sequence(token_logprobs(logits, part.targets, "none")[0])
                values = part.by_sequence(self.head(hidden)[..., 0].float())
                policy, _ = losses.policy_loss(
                    current,
                    proximal,
                    self.behaviour[rows, : part.mask.shape[1]],
                    advantages,
                    part.mask,
                    clip_low=algorithm.clip_low,
                    clip_high=algorithm.clip_high,
                    behaviour_weight_cap=algorithm.behaviour_weight_cap,
                    decoupled=algorithm.decoupled,
                )
                value = losses.value_loss(values, old_values, returns, part.mask, algorithm.value_clip)
                ((policy + algorithm.value_coef * value).sum() / tokens).backward()
        nn.utils.clip_grad_norm_(self.parameters, self.config.learner.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("overrides", nargs="*", help="of the configuration, such as learner.packing=packed")
    options = parser.parse_args()
    config = compose([*options.overrides, *FIXED])
    learner = Learner(config, 0)
    learner.connect(*learner.address())
    learner.setup(config.model.path, "ppo")
    batch = make_batch(config)
    bare = Bare(config, batch)
    sides = {"learner": lambda: learner.train_step(batch), "bare PyTorch loop": bare.step}
    start = copy.deepcopy(bare.lm.state_dict())
    for step in sides.values():
        step()
    ours, plain = learner.model.lm.state_dict(), bare.lm.state_dict()
    moved = sum(float((plain[name] - start[name]).abs().sum()) for name in start)
    apart = sum(float((plain[name] - ours[name]).abs().sum()) for name in start)
    tokens = sum(len(experience) for experience in batch)
    machine = Machine()
    table = Table("PPO step", "tokens/s, median", "spread of the middle half", "tokens/s of CPU time")
    speed: dict[str, list[float]] = {}
    for name, seconds in take_turns(sides, options.rounds).items():
        wall, cpu = zip(*seconds, strict=True)
        speed[name] = [tokens / statistics.median(wall), tokens / statistics.median(cpu)]
        low, _, high = statistics.quantiles(wall, n=4)
        spread = f"{tokens / high:.0f} – {tokens / low:.0f}"
        table.add_row(name, f"{speed[name][0]:.0f}", spread, f"{speed[name][1]:.0f}")
    ratios = [ours / bare for ours, bare in zip(*speed.values(), strict=True)]
    console = Console()
    console.print(table)
    console.print(
        f"learner / bare loop: {ratios[0]:.3f}, by CPU time {ratios[1]:.3f} "
        f"({len(batch)} sequences, {tokens} tokens, {options.rounds} rounds; what their first steps changed differs by "
        f"{apart / moved:.1%})\n{machine.line()}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
