"""Rows end to end, and what is estimated over them, against slow loops over an episode's calls."""

from __future__ import annotations

import math
import random

import pytest
import torch

from conf.schema.base import ConfigError
from launch.compose import compose
from rollout.records import PolicyCall
from tests.trainer.ranks import make_batch, make_calls_batch
from trainer.algorithm import losses
from trainer.algorithm.advantages import group_moments, grpo, moments, scores, whiten
from trainer.algorithm.end_to_end import end_to_end
from trainer.algorithm.experience import Experience, pad_values
from trainer.algorithm.rows import make_rows
from trainer.learner.taken_batch import estimate_advantages, sampled_batch


def test_rows_lie_one_after_the_other_and_come_apart_again():
    episodes = end_to_end([[2, 3], [1], [3, 1, 1]])
    values = torch.tensor([[1, 2, 0], [3, 4, 5], [6, 0, 0], [7, 8, 9], [10, 0, 0], [11, 0, 0]])
    laid = [[1, 2, 3, 4, 5], [6, 0, 0, 0, 0], [7, 8, 9, 10, 11]]
    assert episodes.lay(values).tolist() == laid
    assert episodes.cut(episodes.lay(values)).tolist() == values.tolist()
    assert episodes.lay(values > 4).tolist() == [[value > 4 for value in row] for row in laid]
    # What stands in the padding stays there.
    assert episodes.lay(torch.where(values > 0, values, 99)).tolist() == laid


def test_one_row_an_episode_is_left_as_it_is():
    values = torch.where(torch.arange(5) < torch.tensor([[5], [2], [4]]), torch.randn(3, 5), 0.0)
    episodes = end_to_end([[5], [2], [4]])
    assert torch.equal(episodes.lay(values), values)
    assert torch.equal(episodes.cut(values), values)


def alone(total: torch.Tensor) -> torch.Tensor:
    """The sum over the ranks, where there is one."""
    return total


def reference_gae(batch, values, gamma, lam, call_gamma):
    """The textbook recursion over the policy tokens of each episode's calls, with loops over Python floats."""
    found = []
    for experience, worth in zip(batch, values, strict=True):
        rewards = [reward for call in experience.rows for reward in call.rewards]
        calls = [number for number, call in enumerate(experience.rows) for _ in call.token_ids]
        advantages, following = [0.0] * len(rewards), 0.0
        for t in reversed(range(len(rewards))):
            last = t + 1 == len(rewards)
            step = gamma if last or calls[t + 1] == calls[t] else gamma * call_gamma
            following = rewards[t] + step * (0.0 if last else worth[t + 1]) - worth[t] + step * lam * following
            advantages[t] = following
        found.append(advantages)
    return found


def policy_tokens(batch: list[Experience], tensor: torch.Tensor) -> list[list[float]]:
    """Of each episode, what a tensor ``[rows, time]`` has at its policy tokens, in order."""
    rows = iter(tensor.tolist())
    return [
        [value for row in experience.rows for value, kept in zip(next(rows), row.mask, strict=False) if kept]
        for experience in batch
    ]


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize(("gamma", "lam", "call_gamma"), [(1, 1, 1), (0.9, 0.8, 1), (1, 0.95, 0.7), (0.97, 0.5, 0.4)])
def test_gae_over_an_episodes_rows_is_that_of_a_slow_loop_over_its_calls(gamma, lam, call_gamma, merged):
    chosen = {"gamma": gamma, "lam": lam, "call_gamma": call_gamma, "whiten": False}
    algorithm = compose([f"algorithm.{name}={value}" for name, value in chosen.items()]).algorithm
    for seed in range(8):
        batch, plain = make_calls_batch(24, seed, merged=merged), make_calls_batch(24, seed, merged=False)
        rng = random.Random(seed)
        worth = [[rng.gauss(0, 1) for row in experience.rows for _ in row.token_ids] for experience in plain]
        sampled, rows = sampled_batch(batch), []
        for experience, values in zip(batch, worth, strict=True):
            left = iter(values)
            # Whatever stands in a gap.
            rows += [[next(left) if kept else math.nan for kept in row.mask] for row in experience.rows]
        values = pad_values(rows, sampled.mask.shape[1])
        advantages, returns = estimate_advantages(algorithm, sampled, sampled.rewards, values, 9, alone)
        assert not advantages[~sampled.mask].any()
        assert not returns[~sampled.mask].any()
        expected = reference_gae(plain, worth, gamma, lam, call_gamma)
        tensors = policy_tokens(batch, advantages), policy_tokens(batch, returns)
        for found, targets, want, value in zip(*tensors, expected, worth, strict=True):
            assert found == pytest.approx(want, rel=1e-6, abs=2e-6)
            assert targets == pytest.approx([a + v for a, v in zip(want, value, strict=True)], rel=1e-6, abs=2e-6)


@pytest.mark.parametrize("name", ["grpo", "rloo", "reinforce_plus_plus"])
@pytest.mark.parametrize("merged", [True, False])
def test_what_compares_episodes_sees_their_totals_and_gives_every_token_of_every_call_the_same(name, merged):
    config = compose([f"algorithm={name}", "algorithm.group_size=4"])
    batch, plain = make_calls_batch(12, 1, merged=merged), make_calls_batch(12, 1, merged=False)
    sampled = sampled_batch(batch)
    zeros = torch.zeros_like(sampled.rewards)
    advantages, targets = estimate_advantages(config.algorithm, sampled, sampled.rewards, zeros, 4, alone)
    assert not targets.any()
    totals = [sum(reward for row in experience.rows for reward in row.rewards) for experience in plain]
    found = policy_tokens(batch, advantages)
    if name == "reinforce_plus_plus":
        # Whitening shifts and scales: the return from the first token on is the total.
        pairs = torch.tensor([[values[0] for values in found], totals])
        assert torch.corrcoef(pairs)[0, 1] > 1 - 1e-6
        return
    assert all(max(values) == min(values) for values in found)
    groups = [experience.group for experience in plain]
    for values, total, group in zip(found, totals, groups, strict=True):
        others = [other for other, of in zip(totals, groups, strict=True) if of == group]
        mean = sum(others) / len(others)
        if name == "rloo":
            want = (total - mean) * len(others) / (len(others) - 1)
        else:
            want = (total - mean) / (torch.tensor(others).std().item() + 1e-6)
        assert values[0] == pytest.approx(want, abs=1e-5)


def positions(rewards, values, mask, groups, total, *, gamma, lam, scale):
    """An estimator of one's own: of each policy token, how many there are up to it in its sequence."""
    assert rewards.shape == values.shape == mask.shape
    assert len(groups) == len(mask)
    return torch.where(mask, mask.cumsum(1).float(), 0.0), torch.zeros_like(rewards)


@pytest.mark.parametrize("merged", [True, False])
def test_an_estimator_of_ones_own_sees_an_episode_as_one_sequence(merged):
    config = compose([f"algorithm.advantage={__name__}:positions", "algorithm.whiten=false", "algorithm.credit=call"])
    batch = make_calls_batch(12, 2, merged=merged)
    sampled = sampled_batch(batch)
    zeros = torch.zeros_like(sampled.rewards)
    advantages, _ = estimate_advantages(config.algorithm, sampled, sampled.rewards, zeros, 5, alone)
    for found, experience in zip(policy_tokens(batch, advantages), batch, strict=True):
        assert found == list(range(1, 1 + sum(sum(row.mask) for row in experience.rows)))
    with pytest.raises(ConfigError, match="call_gamma must be 1"):
        compose([f"algorithm.advantage={__name__}:positions", "algorithm.call_gamma=0.9"])


def earlier(batch, values, groups, config):
    """Advantages and targets by the arithmetic from before episodes had several calls, word for word."""
    length = values.shape[1]
    mask = pad_values([[1.0] * len(item.rows[0].token_ids) for item in batch], length).bool()
    rewards = pad_values([item.rows[0].rewards for item in batch], length)
    algorithm = config.algorithm
    if algorithm.advantage == "grpo":
        group = torch.tensor([item.group for item in batch])
        total = group_moments(scores(rewards, mask), group, groups)
        found = grpo(scores(rewards, mask), group, total, scale=algorithm.group_std)
        return torch.where(mask, found[:, None], 0.0), torch.zeros_like(rewards)
    advantages = torch.zeros_like(values)
    next_value = next_advantage = values.new_zeros(values.shape[0])
    for t in reversed(range(values.shape[1])):
        here = mask[:, t]
        delta = rewards[:, t] + algorithm.gamma * next_value - values[:, t]
        advantage = delta + algorithm.gamma * algorithm.lam * next_advantage
        advantages[:, t] = torch.where(here, advantage, 0.0)
        next_value = torch.where(here, values[:, t], next_value)
        next_advantage = torch.where(here, advantage, next_advantage)
    returns = torch.where(mask, advantages + values, 0.0)
    return whiten(advantages, mask, moments(advantages, mask)), returns


@pytest.mark.parametrize("overrides", [["algorithm.gamma=0.97", "algorithm.lam=0.93"], ["algorithm=grpo"]])
def test_an_episode_of_one_call_gives_bit_for_bit_what_it_gave_before(overrides):
    config, batch = compose(overrides), make_batch(24)
    torch.manual_seed(0)
    sampled = sampled_batch(batch)
    values = torch.where(sampled.mask, torch.randn(sampled.mask.shape), 0.0)
    found = estimate_advantages(config.algorithm, sampled, sampled.rewards, values, 9, alone)
    assert all(map(torch.equal, found, earlier(batch, values, 9, config)))
    torch.manual_seed(1)
    each = torch.where(sampled.mask, torch.randn(sampled.mask.shape), 0.0)
    before = (each.sum(1) / sampled.mask.sum(1).clamp_min(1)).sum() / 24
    assert torch.equal(losses.aggregate(each, sampled.mask, "sequence_mean", 1.0, 24.0, sampled.lengths), before)


def told(lengths: list[int], total: float, group: int, *, merged: bool) -> Experience:
    """An episode whose calls have these lengths, and turn rewards that add up to ``total``."""
    calls: list[PolicyCall] = []
    for length in lengths:
        prompt = [*calls[-1].prompt_ids, *calls[-1].token_ids, 9] if calls and merged else [7]
        calls.append(PolicyCall("next", prompt, [8] * length, [-1.0] * length, [0] * length))
    turns = [total * length / sum(lengths) for length in lengths]
    rewards = [[0.0] * (length - 1) + [turn] for length, turn in zip(lengths, turns, strict=True)]
    return Experience("p", make_rows(calls, rewards), group)


def contributions(batch: list[Experience], how: str) -> list[float]:
    """What each episode adds to the loss where all ratios are 1."""
    algorithm = compose(["algorithm=grpo", "algorithm.group_size=2", "algorithm.group_std=false"]).algorithm
    sampled = sampled_batch(batch)
    zeros = torch.zeros_like(sampled.rewards)
    advantages, _ = estimate_advantages(algorithm, sampled, sampled.rewards, zeros, len(batch), alone)
    rows = torch.arange(len(sampled.rows)).split([len(experience.rows) for experience in batch])
    return [
        losses.aggregate(
            -advantages[part], sampled.mask[part], how, float(sampled.mask.sum()), len(batch), sampled.lengths[part]
        ).item()
        for part in rows
    ]


@pytest.mark.parametrize("merged", [True, False])
def test_under_sequence_mean_episodes_of_equal_totals_count_the_same_however_many_calls_they_have(merged):
    rng = random.Random(0)
    batch = []
    for group in range(12):
        lengths = [rng.randint(1, 30) for _ in range(1 + group % 6)]
        batch += [told(lengths, 0.8, group, merged=merged), told([20], 0.2, group, merged=merged)]
    # Each is 0.3 from its group's mean.
    assert contributions(batch, "sequence_mean")[::2] == pytest.approx([-0.3 / len(batch)] * 12, rel=1e-5)
    # A mean over tokens counts the tokens of all its calls.
    tokens = [sum(sum(row.mask) for row in experience.rows) for experience in batch]
    expected = [-0.3 * count / sum(tokens) for count in tokens[::2]]
    assert contributions(batch, "token_mean")[::2] == pytest.approx(expected, rel=1e-5)
