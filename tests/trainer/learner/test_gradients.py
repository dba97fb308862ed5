"""The learner with real DeepSpeed on the CPU: the gradient is a plain loop's, however the batch is cut.

Every rank is a process; one process of each number of ranks goes through all its cases, since most of a case's time is
the imports'. The optimiser is replaced by plain gradient descent at a rate so high that what a weight was is lost in
its change: the change is then the gradient to float32's precision. Heads and adapters begin with random weights
instead of zeros, so that every path carries a gradient. The cases cover, not multiply:

- ZeRO 0, 1, 2, 3, each with one and with two ranks, with a micro-batch of one sequence (no padding), of some (padding
  by neighbours) and of all (padding by the longest), each at least twice over;
- the vocabulary projected a few tokens at a time, with every ZeRO stage from 1, packed, recomputed, full and LoRA;
- sequences packed in one row, with every stage, number of ranks, kind of critic, full and LoRA; activations recomputed
  instead of kept, packed or padded;
- shared, separate and no critic; every estimator; both aggregations; KL in the reward and in the loss; full and LoRA,
  those that differ in what DeepSpeed sees (LoRA, a separate critic) with ZeRO 3 too;
- several minibatches, and a number of sequences that ranks and minibatches do not divide;
- episodes of one to six policy calls, those that go on from one another in one row and in rows of their own, with every
  ZeRO stage, one and two ranks, padded and packed, full and LoRA, with a discount between calls, both aggregations.
"""

from __future__ import annotations

import math
import re
import statistics
import traceback
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch

from conf.schema.places import ROOT
from rollout.engine.weight_update import merged
from tests.ports import free_port
from tests.trainer.ranks import configure, gathered, learner_processes, make_batch, make_calls_batch, parameters
from trainer.algorithm.experience import Experience
from trainer.learner.learner import Learner
from trainer.tracking.metrics_catalogue import CATALOGUE

RATE = 1e4
GRADIENT = [
    f"learner.lr={RATE}",
    f"learner.critic_lr={RATE}",
    "learner.lr_schedule=constant",
    "learner.grad_clip=1e9",
    "learner.warmup_steps=0",
    "rollout.weights.bucket_mib=0.1",
    "algorithm.minibatches=1",
    "algorithm.kl_coef=0.1",
    "algorithm.behaviour_weight_cap=2",
]
GAE = ["algorithm.lam=0.9", "algorithm.gamma=0.95", "algorithm.entropy_coef=0.01", "algorithm.kl=reward"]
LORA = [*GAE, "+model.lora={rank: 4, alpha: 8}"]
GROUPS = ["algorithm.group_size=2", "algorithm.kl=loss"]
THIRDS, SLOW = 3, 0.01
BY_THIRDS = [f"algorithm.minibatches={THIRDS}", f"learner.lr={SLOW}", f"learner.critic_lr={SLOW}"]
FAMILIES = {
    "gae": GAE,
    "lora": LORA,
    "lora separate": [*LORA, "learner.critic=separate", "algorithm.kl=loss"],
    "separate": [*GAE, "learner.critic=separate", "algorithm.loss_aggregation=sequence_mean"],
    "grpo": ["algorithm=grpo", *GROUPS],
    "rloo": ["algorithm=rloo", *GROUPS, "+model.lora={rank: 4, alpha: 8}", "algorithm.kl=reward"],
    "reinforce++": ["algorithm=reinforce_plus_plus", "algorithm.gamma=0.9", "algorithm.kl=loss"],
    # Later minibatches meet weights that earlier ones moved, so this one's rate is an ordinary one.
    "minibatches": [*GAE, *BY_THIRDS],
    # Episodes of several policy calls.
    "calls": [*GAE, "algorithm.call_gamma=0.8"],
    "calls lora": [*LORA, "algorithm.call_gamma=0.8", "algorithm.loss_aggregation=sequence_mean"],
    "calls grpo": ["algorithm=grpo", *GROUPS],
    "calls minibatches": [*GAE, *BY_THIRDS, "algorithm.call_gamma=0.8"],
}
ALL, SOME, ONE = 8192, 100, 16  # tokens a micro-batch
PACKED = ("learner.packing=packed",)
# Every policy call in a row of its own; no override.
UNMERGED = "unmerged"
CHUNKED = ("learner.logits_per_chunk=2000",)
RECOMPUTED = ("learner.gradient_checkpointing=true",)
# Ranks, ZeRO stage, tokens a micro-batch, and what else is set.
CASES = [
    *[("gae", *cut) for cut in [(1, 1, ALL), (1, 0, SOME), (1, 1, ONE), (1, 2, SOME), (1, 3, ONE)]],
    *[("gae", *cut) for cut in [(2, 0, ONE), (2, 1, ALL), (2, 2, ONE), (2, 3, SOME)]],
    *[("lora", *cut) for cut in [(1, 1, ALL), (1, 3, SOME), (2, 1, SOME), (2, 2, ALL), (2, 3, ONE)]],
    *[("lora separate", *cut) for cut in [(1, 0, ALL), (2, 2, SOME)]],
    *[("separate", *cut) for cut in [(1, 1, ALL), (1, 2, ONE), (2, 3, SOME)]],
    *[("grpo", *cut) for cut in [(1, 1, ALL), (2, 2, ONE)]],
    *[("rloo", *cut) for cut in [(1, 1, ALL), (2, 1, SOME)]],
    *[("reinforce++", *cut) for cut in [(1, 1, ALL), (2, 3, ALL)]],
    *[("minibatches", *cut) for cut in [(1, 1, ALL), (1, 2, SOME), (2, 1, ONE), (2, 3, ALL)]],
    *[("gae", *cut, *PACKED) for cut in [(1, 1, ALL), (1, 0, SOME), (2, 2, ALL), (2, 3, SOME)]],
    *[("lora", *cut, *PACKED) for cut in [(1, 3, ALL), (2, 1, SOME)]],
    *[("separate", *cut, *PACKED) for cut in [(1, 2, SOME), (2, 0, ALL)]],
    *[("grpo", *cut, *PACKED) for cut in [(2, 1, ALL)]],
    *[("gae", 1, 2, SOME, *RECOMPUTED), ("gae", 2, 3, ALL, *RECOMPUTED, *PACKED)],
    *[("lora separate", 1, 3, SOME, *RECOMPUTED), ("lora", 2, 2, ALL, *RECOMPUTED, *PACKED)],
    *[("gae", *cut, *CHUNKED) for cut in [(1, 1, ALL), (2, 2, SOME), (2, 3, ONE)]],
    *[("lora", 2, 3, SOME, *CHUNKED), ("separate", 1, 2, ALL, *CHUNKED, *PACKED)],
    *[("gae", 2, 3, ALL, *RECOMPUTED, *CHUNKED, *PACKED)],
    *[("calls", *cut) for cut in [(1, 1, ALL), (1, 0, ONE), (2, 3, SOME), (2, 2, ONE)]],
    *[("calls", *cut, *PACKED) for cut in [(1, 1, ALL), (2, 1, SOME)]],
    *[("calls", *cut, UNMERGED) for cut in [(1, 1, ALL), (1, 3, ONE), (2, 2, SOME)]],
    *[("calls", *cut, UNMERGED, *PACKED) for cut in [(1, 2, SOME), (2, 0, ALL)]],
    *[("calls lora", 1, 1, ALL), ("calls lora", 2, 3, SOME), ("calls lora", 1, 2, ALL, UNMERGED)],
    *[("calls lora", 2, 1, SOME, UNMERGED, *PACKED)],
    *[("calls grpo", 1, 1, ALL), ("calls grpo", 2, 2, ONE), ("calls grpo", 1, 3, SOME, UNMERGED)],
    *[("calls grpo", 2, 1, ALL, UNMERGED, *PACKED)],
    *[("calls minibatches", 1, 1, ALL), ("calls minibatches", 2, 1, ONE), ("calls minibatches", 2, 3, ALL, UNMERGED)],
]

# The first test waits for all cases.
pytestmark = pytest.mark.timeout(1500)


# Prompts and completions of stage 1.
TEXTS = [("Q: How many?\n", "How many pens?"), ("Q:\n", "Rosa"), ("Q: How many stamps?\n", "How many cups has Max?")]


def descent(groups, betas, weight_decay):
    return torch.optim.SGD(groups, lr=1.0)


def run_cases(rank: int, port: int, cases, results) -> None:
    try:
        for case, config in cases:
            result = run_case(rank, port, config, batch_of(case[0], merged=UNMERGED not in case))
            if rank == 0:
                results.put((case, result))
    except Exception:  # noqa: BLE001 - handed to the test
        results.put((None, traceback.format_exc()))


def batch_of(family: str, merged: bool = True) -> list[Experience]:
    return make_calls_batch(merged=merged) if "calls" in family else make_batch()


def run_case(rank: int, port: int, config, batch: list[Experience]):
    """Metrics, gradient, weights at the start, with one rank what was taken up, stage 1's losses of one and of three
    texts, and whether what would be sent to an engine is what is trained."""
    learner = Learner(config, rank)
    learner.connect("127.0.0.1", port)
    torch.optim.AdamW = descent
    torch.nn.init.zeros_ = lambda tensor: torch.nn.init.normal_(tensor, std=0.2)
    learner.setup(config.model.path, "ppo")
    before = parameters(learner)
    record = vars(learner.prepare_batch(batch, 5)) if config.learner.ranks == 1 else {}
    losses = [learner.sft_loss(TEXTS[:count]) for count in (1, 3)]
    metrics = learner.train_step(batch)
    after = parameters(learner)
    change = {name: ((before[name] - after[name]) / config.learner.lr).numpy() for name in before}
    start = {name: value.numpy() for name, value in before.items()}
    taken = {k: v.numpy() for k, v in record.items() if isinstance(v, torch.Tensor)}
    taken["sft_loss"] = losses
    return metrics, change, start, taken, sent(learner, after)


def sent(learner: Learner, trained) -> bool:
    """Whether the first rank, and it alone, has bitwise what is trained to send; and merged, what an engine makes of
    an adapter."""
    names = {id(value): name for name, value in learner.model.named_parameters()}
    adapters, scales = learner.model.adapters() if learner.model.lora else (learner.model.exported(), {})
    base = gathered(learner, learner.model.exported(merge=False))
    given, whole = gathered(learner, adapters), gathered(learner)
    if learner.rank > 0:
        return not given and not whole
    same = all(torch.equal(given[source.name], trained[names[id(source.parts[0])]]) for source in adapters)
    expected = base | dict(merged(given.items(), base, scales))
    return same and whole.keys() == base.keys() and all(torch.equal(whole[name], expected[name]) for name in whole)


@pytest.fixture(scope="module")
def found(tiny_model: Path):
    """Of every case: metrics, gradient, weights at the start, and what was taken up (one rank only)."""
    context = learner_processes()
    runs = {}
    for ranks in (1, 2):
        cases = [
            (
                case,
                configure(
                    tiny_model,
                    *GRADIENT,
                    *FAMILIES[case[0]],
                    f"learner.ranks={ranks}",
                    f"learner.zero_stage={case[2]}",
                    f"learner.max_tokens_per_microbatch={case[3]}",
                    *(override for override in case[4:] if override != UNMERGED),
                ),
            )
            for case in CASES
            if case[1] == ranks
        ]
        results, port = context.Queue(), free_port()
        processes = [context.Process(target=run_cases, args=(rank, port, cases, results)) for rank in range(ranks)]
        for process in processes:
            process.start()
        try:
            for _ in cases:
                case, result = results.get(timeout=240)
                assert case is not None, result
                runs[case] = result
        finally:
            for process in processes:
                process.join(60)
                process.kill()
    return runs


def bases() -> dict[str, tuple]:
    """The first case of each family, in one piece on one rank."""
    return {case[0]: case for case in reversed(CASES)}


def test_what_is_sent_is_what_was_trained_on_however_many_ranks_in_whatever_zero_stage(found):
    for case, (*_, arrived) in found.items():
        assert arrived, case


@pytest.mark.parametrize("case", [case for case in CASES if case not in bases().values()], ids=str)
def test_the_gradient_is_the_same_however_the_batch_is_cut(found, case):
    base_metrics, base, base_start, *_ = found[bases()[case[0]]]
    metrics, gradient, start, *_ = found[case]
    assert gradient.keys() == base.keys()
    assert all((start[name] == base_start[name]).all() for name in start)
    # Where weights moved by ordinary steps, the rounding of each step is in the change.
    slow = "minibatches" in case[0]
    limit, steps = (1e-4, THIRDS / SLOW) if slow else (1e-5, 0.0)
    for name in base:
        largest = abs(base[name]).max()
        assert largest > 0, name
        rounding = steps * np.spacing(abs(start[name]).max())
        assert abs(gradient[name] - base[name]).max() < limit * largest + rounding, name
    for name in metrics.keys() - {"throughput/learner_tokens_s", "time/learn"}:
        assert metrics[name] == pytest.approx(base_metrics[name], rel=1e-4, abs=1e-6), name
    assert metrics.keys() == base_metrics.keys()


def test_a_held_out_loss_is_the_same_however_the_texts_are_shared_out(found):
    for case, (_, _, _, taken, _) in found.items():
        one, three = taken["sft_loss"]
        assert [one, three] == pytest.approx(found[bases()[case[0]]][3]["sft_loss"], rel=1e-5), case
        assert one != pytest.approx(three, rel=1e-3)


def reference_advantages(rewards, values, config, batch: list[Experience]) -> list[list[float]]:
    """GAE of every episode of a batch whose rows are a call each, by its textbook recursion."""
    algorithm, found = config.algorithm, []
    for row, (paid, worth) in enumerate(zip(rewards, values, strict=True)):
        found.append([0.0] * len(paid))
        following = 0.0
        ends = list(accumulate(len(call.token_ids) for call in batch[row].rows))
        for t in reversed(range(len(paid))):
            after = worth[t + 1] if t + 1 < len(paid) else 0.0
            gamma = algorithm.gamma * (algorithm.call_gamma if t + 1 in ends else 1.0)
            following = paid[t] + gamma * after - worth[t] + gamma * algorithm.lam * following
            found[row][t] = following
    return found


def whitened(rows: list[list[float]]) -> list[list[float]]:
    every = [value for row in rows for value in row]
    mean, deviation = statistics.fmean(every), statistics.pstdev(every)
    return [[(value - mean) / deviation for value in row] for row in rows]


def paid(experience: Experience) -> list[float]:
    """The rewards of an episode's tokens, whose rows are a call each."""
    return [reward for row in experience.rows for reward in row.rewards]


def group_scores(batch: list[Experience]) -> list[list[float]]:
    """Each sequence's score less its group's mean, over its deviation, for all of its tokens."""
    found = []
    for experience in batch:
        scores = [sum(paid(other)) for other in batch if other.group == experience.group]
        spread = statistics.stdev(scores) + 1e-6 if len(scores) > 1 else 1.0
        found.append([(sum(paid(experience)) - statistics.fmean(scores)) / spread] * len(paid(experience)))
    return found


@pytest.mark.parametrize("family", ["gae", "grpo", "calls", "calls grpo"])
def test_the_gradient_is_that_of_a_plain_loop(tiny_model, found, family):
    """Call by call in float64, with nothing of the learner: Hugging Face's model and autograd."""
    from transformers import AutoModelForCausalLM

    config = configure(tiny_model, *GRADIENT, *FAMILIES[family])
    _, gradient, start, *_ = found[bases()[family]]
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float64)
    head = torch.nn.Linear(64, 1, dtype=torch.float64)
    critic = "grpo" not in family
    if critic:
        head.load_state_dict({name: torch.tensor(start[f"value_head.{name}"]) for name in ("weight", "bias")})
    batch, rows = batch_of(family, merged=False), []
    for experience in batch:
        of_calls = []
        for call in experience.rows:
            output = model(torch.tensor([call.prompt_ids + call.token_ids]), output_hidden_states=True)
            before = slice(len(call.prompt_ids) - 1, -1)
            logs = output.logits[0, before].log_softmax(-1)
            chosen = logs[torch.arange(len(call.token_ids)), torch.tensor(call.token_ids)]
            values = head(output.hidden_states[-1][0, before])[:, 0]
            of_calls.append((chosen, values, -(logs.exp() * logs).sum(-1)))
        rows.append([torch.cat(parts) for parts in zip(*of_calls, strict=True)])
    raw = (
        reference_advantages(list(map(paid, batch)), [values.tolist() for _, values, _ in rows], config, batch)
        if critic
        else group_scores(batch)
    )
    advantages = whitened(raw) if critic else raw
    sums = []
    for experience, (chosen, values, entropies), row, plain in zip(batch, rows, advantages, raw, strict=True):
        total = torch.zeros((), dtype=torch.float64)
        for t, behaviour in enumerate(logprob for call in experience.rows for logprob in call.logprobs):
            weight = min(math.exp(chosen[t].item() - behaviour), 2.0)
            total = total - weight * (chosen[t] - chosen[t].detach()).exp() * row[t]
            if critic:
                target = plain[t] + values[t].item()
                total = total + 0.5 * 0.5 * (values[t] - target) ** 2 - 0.01 * entropies[t]
        sums.append(total)
    lengths = list(map(len, raw))
    if critic:
        loss = sum(sums) / sum(lengths)
    else:
        loss = sum(total / length for total, length in zip(sums, lengths, strict=True)) / len(batch)
    loss.backward()
    expected = {f"lm.{name}": value.grad for name, value in model.named_parameters()}
    if critic:
        expected |= {f"value_head.{name}": value.grad for name, value in head.named_parameters()}
    assert gradient.keys() == expected.keys()
    for name, value in expected.items():
        assert abs(gradient[name] - value.numpy()).max() < 1e-5 * value.abs().max(), name


def test_the_kl_term_is_charged_a_token_before_advantages_are_formed(tiny_model, found):
    config = configure(tiny_model, *GRADIENT, *LORA)
    record = found[bases()["lora"]][3]
    batch, rewards, values = make_batch(), [], []
    for row, experience in enumerate(batch):
        length = len(paid(experience))
        kl = record["proximal"][row, :length].astype(float) - record["reference"][row, :length]
        assert abs(kl).max() > 0.1
        rewards.append([reward - 0.1 * charge for reward, charge in zip(paid(experience), kl, strict=True)])
        values.append(record["values"][row, :length].astype(float).tolist())
    raw = reference_advantages(rewards, values, config, batch)
    for row, (advantages, targets) in enumerate(zip(whitened(raw), raw, strict=True)):
        length = len(advantages)
        assert record["advantages"][row, :length].tolist() == pytest.approx(advantages, abs=1e-5)
        returns = [a + v for a, v in zip(targets, values[row], strict=True)]
        assert record["returns"][row, :length].tolist() == pytest.approx(returns, abs=1e-5)
        assert not record["advantages"][row, length:].any()


def test_the_learner_writes_the_metrics_of_the_documentation(found):
    text = (ROOT / "docs" / "learning.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+/[a-z_]+)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert {name: (unit, meaning) for name, unit, meaning in rows} == {name: CATALOGUE[name] for name, _, _ in rows}
    names = {name for name, _, _ in rows}
    assert names == set(found[bases()["gae"]][0])
    assert names - {"value/loss", "value/explained_variance"} == set(found[bases()["grpo"]][0])
