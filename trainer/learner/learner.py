"""A learner rank: a Ray actor around one DeepSpeed engine. It fine-tunes (stage 1) and runs PPO (stage 2).

Numbers do not depend on how a batch is cut: every rank makes the same minibatches of the whole batch and takes its
share of each, losses are divided by the token counts of a minibatch over all ranks, groups are compared over all
ranks, and a step is taken when its last micro-batch is in.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist
from torch import Tensor

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.model import model_path
from rollout.actor_log import actor_log
from rollout.engine.prompt_tokens import encode_later, encode_prompt
from trainer.algorithm import losses
from trainer.algorithm.advantages import explained_variance, moments
from trainer.algorithm.experience import Experience, PackedExperience, microbatches, minibatches, pack, pad, shards
from trainer.algorithm.rows import Pair
from trainer.learner.actor_critic import ActorCritic, check_packing, check_repeats
from trainer.learner.deepspeed_engine import loading_shares, make_engine, place_reference, release
from trainer.learner.engine_state import restore_state, save_state
from trainer.learner.passes import Passes
from trainer.learner.process_group import NonFiniteLoss
from trainer.learner.taken_batch import SampledBatch, TakenBatch, estimate_advantages, sampled_batch
from trainer.learner.weight_sender import SendingRank
from trainer.run_folder.checkpoints import LEARNER
from trainer.run_folder.files import complete_folder

_LOG = logging.getLogger(__name__)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PROBES = 8
UNKNOWN = "what it does to its logits is not known"
# Settings of ``policy_loss``.
CLIPPING = {"clip_low", "clip_high", "behaviour_weight_cap", "decoupled", "dual_clip"}


class Learner(SendingRank):
    """One rank of the learner; ``LearnerRank`` is the same class as a Ray actor."""

    def __init__(self, config: Config, rank: int, log_folder: str | None = None) -> None:
        if log_folder is not None:
            # Of a folder that cannot be written to ``check_folder`` tells, with its name and the node's.
            with suppress(OSError):
                actor_log(log_folder, f"learner-{rank}")
        super().__init__(config, rank)
        torch.set_num_threads(config.learner.threads)
        self.frozen: Any = None

    # -- set-up of a stage -----------------------------------------------------------------------------------

    def setup(self, path: str, stage: str) -> None:
        """Build model, optimiser and engine from a model folder for ``sft`` or ``ppo``."""
        from transformers import AutoTokenizer

        # A stage begins the same whatever went before it: it may be begun again.
        torch.manual_seed(self.config.seed)
        self.version, self.kl_coef = 0, self.config.algorithm.kl_coef
        # There may not be room for two: the model of the stage before goes first.
        release([self.__dict__.pop(name, None) for name in ("engine", "model", "frozen", "passes", "base", "_collate")])
        self.base, self.frozen = None, None
        path, settings = model_path(path), self.config.learner
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        lora, layers, checkpointing = self.config.model.lora, self.config.model.layers, settings.gradient_checkpointing
        critic = "none" if stage == "sft" else settings.critic  # stage 1 has nothing to be judged
        attention = None if settings.attention == "auto" else settings.attention
        with loading_shares(self.config) as shares:
            model = ActorCritic(
                path, DTYPES[settings.dtype], lora, critic=critic, gradient_checkpointing=checkpointing, layers=layers,
                attention=attention, dropout=stage == "sft", shares=shares, compiled=settings.compile,
            )  # fmt: skip
            # Before DeepSpeed takes the model apart.
            reference = model.reference() if stage == "ppo" and self.kl_coef else None
        self.engine = make_engine(model, self.config, stage)
        self.model: ActorCritic = self.engine.module
        self._cut_projection(self.model)
        if reference is not None:
            reference.chunks = self.model.chunks
            self.frozen = place_reference(reference, self.config, self.engine.device)
        self._collate = partial(pad if settings.packing == "padded" else pack, device=self.engine.device)
        if settings.packing == "packed":
            check_packing(self.model, self.engine)
        # transformers loads models for evaluation, and recomputes no activations in them.
        self.model.train()
        if stage == "ppo":
            check_repeats(self.model, self.engine)
        kinds = {"lora": lora is not None, "whole": layers is None}
        self.passes = Passes(self.model, model.written_config, self.engine.device, **kinds)

    def _cut_projection(self, model: ActorCritic) -> None:
        """Have tokens projected onto the vocabulary in chunks where a micro-batch has more logits than one may have."""
        settings = self.config.learner
        tokens = max(1, settings.logits_per_chunk // model.words)
        # By the limit, not by what a micro-batch holds: under ZeRO-3 all ranks must go the same way.
        if tokens < settings.max_tokens_per_microbatch and not model.project_in_chunks(tokens, self.gathered):
            _LOG.warning(
                f"learner.logits_per_chunk has no effect on this model: {UNKNOWN}, so all logits of a micro-batch are "
                "held at once"
            )

    # -- stage 1 ---------------------------------------------------------------------------------------------

    def use_words(self, rows: Sequence[tuple[str, str]]) -> int:
        """Have the softmax of stage 1 go over the words of these (prompt, completion) texts alone, which must be all
        that are trained on or measured; return their number. Raises ConfigError where the model does not allow it."""
        found = sorted({token for _, completion in self._tokens(rows) for token in completion})
        tokens = max(1, self.config.learner.logits_per_chunk // len(found))
        if not self.model.project_in_chunks(tokens, self.gathered, torch.tensor(found, device=self.engine.device)):
            raise ConfigError(f"sft.vocabulary: 'examples' is not allowed for this model: {UNKNOWN}; allowed: whole")
        self.model.train()
        return len(found)

    def sft_step(self, rows: Sequence[tuple[str, str]], decay: float) -> dict[str, float]:
        """Take one optimiser step on this rank's share of (prompt, completion) texts, at ``decay`` times the learning
        rate; return the mean loss a token."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.config.sft.lr * decay
        pairs = self._tokens(rows)
        total = self._sum(float(sum(len(completion) for _, completion in pairs)))
        groups = self._microbatches(pairs)
        loss_sum = 0.0
        for index, (group, weight) in enumerate(groups):
            batch = self._collate([pairs[i] for i in group])
            outputs = self.engine(batch, entropy="none")
            nll = torch.where(batch.mask, -outputs.logprobs, 0.0).sum() * weight / total
            self._backward(nll * self.ranks, last=index == len(groups) - 1)
            loss_sum += nll.item()
        return {"sft/loss": self._sum(loss_sum), "sft/tokens": total}

    def sft_loss(self, rows: Sequence[tuple[str, str]]) -> float:
        """Return the mean loss a token of (prompt, completion) texts, the whole of them whatever the rank; nothing is
        learned."""
        pairs = self._tokens(rows)
        # A rank that gets none takes part all the same, with nothing to count.
        share = pairs[self.rank :: self.ranks]
        counted, share = bool(share), share or pairs[:1]
        loss = tokens = 0.0
        self.model.eval()
        with torch.no_grad():
            for group, weight in self._microbatches(share):
                batch = self._collate([share[i] for i in group])
                nll = torch.where(batch.mask, -self.engine(batch, entropy="none").logprobs, 0.0)
                loss += counted * weight * float(nll.sum())
                tokens += counted * weight * float(batch.mask.sum())
        self.model.train()
        return self._sum(loss) / self._sum(tokens)

    def _tokens(self, rows: Sequence[tuple[str, str]]) -> list[Pair]:
        """Return prompts and completions as token ids, the end of text after a completion."""
        encode, end = partial(encode_later, self.tokenizer), self.tokenizer.eos_token_id
        return [(encode_prompt(self.tokenizer, prompt), [*encode(completion), end]) for prompt, completion in rows]

    # -- stage 2 ---------------------------------------------------------------------------------------------

    def train_step(self, packed: Sequence[Experience | PackedExperience]) -> dict[str, float]:
        """Run PPO on a batch, the whole of it whatever the rank; afterwards the weights are of the next version.

        Proximal log-probabilities, values and reference log-probabilities are recomputed here, with the
        learner's weights as they are before. Raises NonFiniteLoss, on all ranks.
        """
        started = time.perf_counter()
        algorithm, batch = self.config.algorithm, [experience.open() for experience in packed]
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + self.version)
        share: list[Experience] = []
        # The rows of this rank's share of each minibatch.
        chosen: list[list[int]] = []
        rows = 0
        parts = minibatches(batch, algorithm.minibatches, generator)
        for part in parts:
            own = shards(part, self.ranks)[self.rank]
            first, rows = rows, rows + sum(len(experience.rows) for experience in own)
            chosen.append(list(range(first, rows)))
            share += own
        taken = self.prepare_batch(share, max(experience.group for experience in batch) + 1)
        self.passes.reset()
        totals = dict.fromkeys(("tokens", "clipped", "capped", "policy", "value", "norm"), 0.0) | {"ratio_max": 1.0}
        for _ in range(algorithm.epochs):
            for place in torch.randperm(len(chosen), generator=generator).tolist():
                self._minibatch(taken, chosen[place], totals, [item.problem_id for item in parts[place]])
        self.version += 1
        metrics = self._metrics(taken, totals, algorithm.epochs * len(chosen))
        if algorithm.kl_control == "adaptive" and self.version > self.config.learner.critic_warmup_steps:
            assert taken.kl is not None
            kl = self._sum(float(taken.kl.sum())) / len(batch)
            self.kl_coef = losses.adapted_kl_coef(
                self.kl_coef, kl, algorithm.kl_target, len(batch), algorithm.kl_horizon
            )
        seconds = time.perf_counter() - started
        tokens = sum(len(experience) for experience in batch)
        return metrics | {"throughput/learner_tokens_s": tokens / seconds, "time/learn": seconds}

    def prepare_batch(self, batch: Sequence[Experience], groups: int) -> TakenBatch:
        """Return this rank's share as the losses take it, with what the present weights make of it; ``groups`` is the
        number of those of all ranks."""
        algorithm = self.config.algorithm
        sampled = sampled_batch(batch, self.engine.device)
        proximal, values, entropies, judged = torch.where(sampled.mask, self._judge(sampled), 0.0)
        reference = judged if self.kl_coef else None
        kl = None if reference is None else losses.kl_k1(proximal, reference, sampled.mask)
        rewards = sampled.rewards
        if algorithm.kl == "reward" and kl is not None:
            rewards = rewards - self.kl_coef * kl
        advantages, returns = estimate_advantages(algorithm, sampled, rewards, values, groups, self._sum_tensor)
        return TakenBatch(
            sampled.rows, sampled.mask, sampled.ends, proximal, values, reference, entropies, sampled.behaviour,
            advantages, returns, kl, sampled.versions, sampled.lengths,
        )  # fmt: skip

    def _judge(self, batch: SampledBatch) -> Tensor:
        """Return log-probabilities, values, entropies and, if it is used, the reference's log-probabilities
        ``[4, batch, time]`` under the present weights."""
        found = torch.zeros(4, *batch.mask.shape, device=self.engine.device)
        temperature = self.config.algorithm.temperature
        self.model.eval()
        for group, _ in self._microbatches(batch.rows):
            part = self._collate([batch.rows[i] for i in group])
            with torch.no_grad():
                outputs = self.engine(part, temperature)
            kinds = [outputs.logprobs, outputs.values, outputs.entropies]
            if self.kl_coef:
                kinds.append(self.model.reference_logprobs(self.frozen, part, temperature))
            for kind, values in enumerate(kinds):
                found[kind, group, : part.mask.shape[1]] = values
        self.model.train()
        return found

    def _minibatch(self, batch: TakenBatch, chosen: list[int], totals: dict[str, float], problems: list[str]) -> None:
        """Take one optimiser step on the chosen rows and add to ``totals``; ``problems`` are those of the minibatch's
        episodes on all ranks."""
        algorithm, settings = self.config.algorithm, self.config.learner
        # While its critic warms up, the policy's part of the gradient is zero.
        trained = 0.0 if self.version < settings.critic_warmup_steps else 1.0
        tokens = self._sum(float(batch.mask[chosen].sum()))
        groups = self._microbatches([batch.rows[i] for i in chosen])
        clipping = algorithm.model_dump(include=CLIPPING)
        norm = 0.0
        for index, (group, weight) in enumerate(groups):
            picked = [chosen[i] for i in group]
            part = self._collate([batch.rows[i] for i in picked])
            taken = batch.pick(picked, part.mask.shape[1])
            # What is repeated so that every rank has as many is no work of the model's.
            self.passes.begin([sum(map(len, row)) for row in taken.rows] if weight else [])
            outputs = self.engine(part, algorithm.temperature, entropy="gradient" if algorithm.entropy_coef else "none")
            policy, statistics = losses.policy_loss(
                outputs.logprobs, taken.proximal, taken.behaviour, taken.advantages, taken.mask, **clipping
            )
            each = policy
            if algorithm.kl == "loss" and taken.reference is not None:
                each = each + self.kl_coef * losses.kl_k3(outputs.logprobs, taken.reference, taken.mask)
            if algorithm.entropy_coef:
                each = each - algorithm.entropy_coef * torch.where(taken.mask, outputs.entropies, 0.0)
            each = trained * each
            if settings.critic != "none":
                value = losses.value_loss(outputs.values, taken.values, taken.returns, taken.mask, algorithm.value_clip)
                each = each + algorithm.value_coef * value
                totals["value"] += weight * float(value.detach().sum())
            how, episodes = algorithm.loss_aggregation, float(len(problems))
            loss = losses.aggregate(each, taken.mask, how, tokens, episodes, taken.lengths)
            # DeepSpeed averages over ranks; the loss is already divided by the counts of all of them.
            norm = self._backward(
                loss * weight * self.ranks, last=index == len(groups) - 1, problems=problems, taken=taken
            )
            totals["tokens"] += weight * float(taken.mask.sum())
            totals["clipped"] += weight * float(statistics["clipped"])
            totals["capped"] += weight * float(statistics["capped"])
            totals["ratio_max"] = max(totals["ratio_max"], float(statistics["ratio_max"]))
            totals["policy"] += weight * float(policy.detach().sum())
        totals["norm"] += norm

    def _backward(
        self, loss: Tensor, *, last: bool, problems: Sequence[str] = (), taken: TakenBatch | None = None
    ) -> float:
        """Add a micro-batch's gradient and, with the ``last``, take the step; return the norm of the gradient then.
        ``problems`` and ``taken`` are what the loss was made of, for an error to name; none in stage 1."""
        step = 1 + (self.engine.global_steps if taken is None else self.version)
        if self._max(float(not torch.isfinite(loss))):
            raise self._non_finite("loss", step, problems, taken)
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss)
        self.passes.end()
        norm = 0.0
        if last and self.config.learner.zero_stage == 0:
            # In float32 without ZeRO, DeepSpeed clips by the norm, and neither says nor looks at what it was.
            gradients = [value.grad for value in self.model.parameters() if value.grad is not None]
            norm = float(torch.nn.utils.get_total_norm(gradients))
            if not math.isfinite(norm):
                raise self._non_finite("gradient", step, problems, taken)
        self.engine.step()
        # ZeRO leaves a step out whose gradient is not finite.
        if last and not self.engine.was_step_applied():
            raise self._non_finite("gradient", step, problems, taken)
        return float(self.engine.get_global_grad_norm() or norm)

    def _non_finite(self, what: str, step: int, problems: Sequence[str], taken: TakenBatch | None) -> NonFiniteLoss:
        found = [name for name, value in self.model.named_parameters() if not value.isfinite().all()]
        if taken is None:
            return NonFiniteLoss.told(what, f"step {step} of stage 1", step, problems, self.rank, found)
        where = f"a minibatch of step {step} (weights of version {self.version})"
        return NonFiniteLoss.told(what, where, step, problems, self.rank, taken.not_finite() + found)

    def _metrics(self, batch: TakenBatch, totals: dict[str, float], steps: int) -> dict[str, float]:
        """Return means over all ranks' tokens, under the catalogue's names."""
        mask = batch.mask
        staleness = (self.version - 1 - batch.versions)[mask]
        count = self._sum(float(mask.sum()))
        trained = self._sum(totals["tokens"])
        gap = losses.engine_gap(batch.proximal, batch.behaviour, mask, batch.versions == self.version - 1, batch.ends)

        def mean(values: Tensor) -> float:
            return self._sum(float(values.sum())) / count

        metrics = {
            "policy/kl_coef": self.kl_coef,
            "policy/entropy": mean(batch.entropies),
            "policy/clip_fraction": self._sum(totals["clipped"]) / trained,
            "policy/ratio_max": self._max(totals["ratio_max"]),
            "policy/behaviour_weight_capped": self._sum(totals["capped"]) / trained,
            "policy/loss": self._sum(totals["policy"]) / trained,
            "policy/grad_norm": totals["norm"] / steps,
            "staleness/mean": mean(staleness),
            "staleness/max": self._max(float(staleness.max())),
        }
        if self.config.learner.critic != "none":
            residual = self._sum_tensor(moments(batch.returns - batch.values, mask))
            spread = self._sum_tensor(moments(batch.returns, mask))
            metrics["value/loss"] = self._sum(totals["value"]) / trained
            metrics["value/explained_variance"] = explained_variance(residual, spread)
        if batch.kl is not None:
            metrics["policy/kl"] = mean(batch.kl)
        gpus = self.ranks * self.config.learner.gpus_per_rank
        used = self.passes.utilization(self._sum(self.passes.flops), self._max(self.passes.seconds), gpus)
        if used is not None:
            metrics["throughput/mfu"] = used
        if compared := self._sum(float(gap.numel())):
            metrics["policy/engine_logprob_gap"] = self._max(float(gap.max()) if gap.numel() else 0.0)
            metrics["policy/engine_logprob_gap_mean"] = self._sum(float(gap.double().sum())) / compared
        return metrics

    # -- weights ---------------------------------------------------------------------------------------------

    def probe(self, packed: Sequence[Experience | PackedExperience]) -> tuple[list[Pair], list[list[float]]]:
        """Return a few sequences and their log-probabilities under the present weights: an engine that loaded them has
        to find the same."""
        rows = [experience.open().rows[0].first_call for experience in packed[:PROBES]]
        found: list[list[float]] = [[] for _ in rows]
        for group, _ in self._microbatches(rows):
            with torch.no_grad():
                logprobs = self.engine(self._collate([rows[index] for index in group]), 1.0, entropy="none").logprobs
            for row, index in enumerate(group):
                found[index] = logprobs[row, : len(rows[index][1])].tolist()
        return rows, found

    def checkpoint(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder (rank 0) and beside it all that ``restore`` needs; to be called on
        every rank. Whoever asks makes the folder complete."""
        weights = self.collect()
        if self.rank == 0:
            self.model.save(folder, self.tokenizer, weights)
        own = {"version": self.version, "kl_coef": self.kl_coef}
        save_state(self.engine, Path(folder) / LEARNER, self.rank, self.ranks, own)

    def restore(self, folder: str) -> None:
        """Go on from a checkpoint, after ``setup`` for stage 2 from the folder that it began with; to be called on
        every rank. Raises CheckpointMismatch."""
        own = restore_state(self.engine, Path(folder) / LEARNER, self.rank, self.ranks)
        self.version, self.kl_coef = own["version"], own["kl_coef"]

    def save(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder (rank 0); to be called on every rank. Complete or absent."""
        weights = self.collect()
        if self.rank == 0:
            with complete_folder(Path(folder)) as partial:
                self.model.save(str(partial), self.tokenizer, weights)
        if self.ranks > 1:
            dist.barrier()

    # -- batches ---------------------------------------------------------------------------------------------

    def _microbatches(self, rows: Sequence[Pair]) -> list[tuple[list[int], float]]:
        """Return rows in groups with weight 1, and repeats of the last with weight 0 until every rank has as many."""
        settings = self.config.learner
        groups = microbatches(rows, settings.max_tokens_per_microbatch, padded=settings.packing == "padded")
        most = int(self._max(float(len(groups))))
        return [(group, 1.0) for group in groups] + [(groups[-1], 0.0)] * (most - len(groups))


LearnerRank = ray.remote(Learner)
