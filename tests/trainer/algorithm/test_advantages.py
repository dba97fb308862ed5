"""Every estimator against a slow one written out here: loops over Python floats."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from trainer.algorithm.advantages import (
    estimate,
    explained_variance,
    gae,
    group_moments,
    grpo,
    moments,
    reinforce_plus_plus,
    rloo,
    token_rewards,
    whiten,
)


def reference_gae(rewards, values, mask, gamma, lam):
    """The textbook recursion over the policy's tokens alone, with loops."""
    advantages = [0.0] * len(rewards)
    kept = [t for t in range(len(rewards)) if mask[t]]
    running = 0.0
    for place in reversed(range(len(kept))):
        t = kept[place]
        following = values[kept[place + 1]] if place + 1 < len(kept) else 0.0
        running = rewards[t] + gamma * following - values[t] + gamma * lam * running
        advantages[t] = running
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (1.0, 0.95), (0.9, 0.8)])
def test_gae_steps_over_gaps_as_over_nothing(gamma, lam):
    torch.manual_seed(1)
    rewards, values = torch.randn(4, 12, dtype=torch.float64), torch.randn(4, 12, dtype=torch.float64)
    mask = torch.rand(4, 12) < 0.6
    rewards = torch.where(mask, rewards, 0.0)
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for row in range(4):
        expected = reference_gae(rewards[row].tolist(), values[row].tolist(), mask[row].tolist(), gamma, lam)
        assert advantages[row].tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(returns[~mask], torch.zeros_like(returns[~mask]))
    assert torch.allclose(returns[mask], (advantages + values)[mask])


def test_gae_ignores_what_stands_in_a_gap():
    mask = torch.tensor([[True, False, True]])
    rewards = torch.tensor([[0.0, 0.0, 1.0]])
    one, _ = gae(rewards, torch.tensor([[0.5, math.nan, 0.25]]), mask, 0.9, 0.5)
    # t=2: 1 - 0.25 = 0.75; t=0: 0.9 * 0.25 - 0.5 + 0.9 * 0.5 * 0.75 = 0.0625
    assert one.tolist() == [[pytest.approx(0.0625), 0.0, pytest.approx(0.75)]]


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_reinforce_plus_plus_is_the_discounted_sum_of_what_follows(gamma):
    torch.manual_seed(2)
    mask = torch.rand(4, 9) < 0.6
    rewards = torch.where(mask, torch.randn(4, 9, dtype=torch.float64), math.nan)
    found = reinforce_plus_plus(rewards, mask, gamma)
    for row in range(4):
        kept = [t for t in range(9) if mask[row, t]]
        for t in range(9):
            later = [k for k in kept if k >= t] if t in kept else []
            expected = sum(gamma**distance * rewards[row, k].item() for distance, k in enumerate(later))
            assert found[row, t].item() == pytest.approx(expected, abs=1e-12)


GROUPS = [2, 0, 1, 0, 2, 0, 1, 0, 3]  # of four, two, two and one
SCORES = [0.3, 1.0, -2.0, 0.5, 0.3, -0.25, 5.0, 0.0, 7.0]  # group 2 has no variance


def of_groups(how, scores, groups, number, **settings):
    function = {"grpo": grpo, "rloo": rloo}[how]
    return function(scores, groups, group_moments(scores, groups, number), **settings)


def members(group):
    return [score for score, other in zip(SCORES, GROUPS, strict=True) if other == group]


def reference_grpo(score, group, scale):
    others = members(group)
    if len(others) == 1:
        return 0.0
    centred = score - statistics.fmean(others)
    deviation = statistics.stdev(others)
    return centred / (deviation + 1e-6) if scale else centred


def reference_rloo(place):
    others = [s for i, (s, g) in enumerate(zip(SCORES, GROUPS, strict=True)) if g == GROUPS[place] and i != place]
    return SCORES[place] - statistics.fmean(others) if others else 0.0


@pytest.mark.parametrize("scale", [True, False])
def test_grpo_is_that_of_a_slow_loop(scale):
    found = of_groups("grpo", torch.tensor(SCORES, dtype=torch.float64), torch.tensor(GROUPS), 4, scale=scale)
    expected = [reference_grpo(score, group, scale) for score, group in zip(SCORES, GROUPS, strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_rloo_is_that_of_a_slow_loop():
    found = of_groups("rloo", torch.tensor(SCORES, dtype=torch.float64), torch.tensor(GROUPS), 4)
    assert found.tolist() == pytest.approx([reference_rloo(place) for place in range(9)], abs=1e-12)


@pytest.mark.parametrize("score", [0.1, 1 / 3, -1e4])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("how", ["grpo", "rloo"])
def test_a_group_without_variance_teaches_nothing(how, size, score):
    scores, groups = torch.full((size,), score), torch.zeros(size, dtype=torch.long)
    found = of_groups(how, scores, groups, 1)
    assert found.abs().max() < 1e-5


@pytest.mark.parametrize("how", ["grpo", "rloo"])
def test_groups_cut_over_ranks_are_as_whole_ones(how):
    scores, groups = torch.tensor(SCORES, dtype=torch.float64), torch.tensor(GROUPS)
    ranks = [torch.tensor([0, 2, 5, 8]), torch.tensor([1, 3, 4, 6, 7])]
    total = sum(group_moments(scores[rows], groups[rows], 4) for rows in ranks)
    whole = of_groups(how, scores, groups, 4)
    for rows in ranks:
        found = {"grpo": grpo, "rloo": rloo}[how](scores[rows], groups[rows], total)
        assert found.tolist() == pytest.approx(whole[rows].tolist(), abs=1e-12)


@pytest.mark.parametrize("how", ["gae", "grpo", "rloo", "reinforce_plus_plus"])
def test_estimate_pays_policy_tokens_only(how):
    torch.manual_seed(0)
    mask = torch.rand(9, 6) < 0.6
    mask[:, 2] = True
    share = torch.tensor(SCORES, dtype=torch.float64) / mask.sum(1)
    rewards = torch.where(mask, share[:, None], math.nan)
    values = torch.where(mask, torch.randn(9, 6, dtype=torch.float64), math.nan)
    settings = {"gamma": 0.9, "lam": 0.8, "scale": False}
    groups = torch.tensor(GROUPS)
    total = group_moments(torch.tensor(SCORES, dtype=torch.float64), groups, 4)
    advantages, targets = estimate(how, rewards, values, mask, groups, total, **settings)
    assert advantages[~mask].abs().max() == 0
    for row in range(9):
        expected = {
            "gae": reference_gae(rewards[row].tolist(), values[row].tolist(), mask[row].tolist(), 0.9, 0.8),
            "grpo": [reference_grpo(SCORES[row], GROUPS[row], False)] * 6,
            "rloo": [reference_rloo(row)] * 6,
            "reinforce_plus_plus": reinforce_plus_plus(rewards, mask, 0.9)[row].tolist(),
        }[how]
        kept = [t for t in range(6) if mask[row, t]]
        assert [advantages[row, t].item() for t in kept] == pytest.approx([expected[t] for t in kept], abs=1e-12)
    if how == "gae":
        assert torch.allclose(targets[mask], (advantages + values)[mask])
    else:
        assert targets.abs().max() == 0


def test_an_unknown_estimator_is_refused_by_name():
    one = torch.ones(1, 1)
    with pytest.raises(ValueError, match="'gea'; allowed: gae, grpo, rloo, reinforce_plus_plus"):
        estimate("gea", one, one, one.bool(), torch.zeros(1, dtype=torch.long), one, gamma=1.0, lam=1.0, scale=True)


@pytest.mark.parametrize("credit", ["terminal", "subquestion", "call"])
def test_token_rewards_add_up_to_the_total(credit):
    rewards = token_rewards(1.2, [0.1, 0.25], [2, 5], 7, credit)
    assert sum(rewards) == pytest.approx(1.2)
    if credit == "terminal":
        assert rewards[:-1] == [0.0] * 6
    else:
        assert rewards == pytest.approx([0, 0, 0.1, 0, 0, 0.25, 0.85])


def test_whitening_over_two_ranks_is_that_over_one():
    torch.manual_seed(0)
    values, mask = torch.randn(6, 5, dtype=torch.float64), torch.rand(6, 5) < 0.7
    whole = whiten(values, mask, moments(values, mask))
    total = moments(values[:2], mask[:2]) + moments(values[2:], mask[2:])
    parts = torch.cat([whiten(values[:2], mask[:2], total), whiten(values[2:], mask[2:], total)])
    assert torch.allclose(whole, parts)
    assert float(whole[mask].mean()) == pytest.approx(0.0, abs=1e-12)
    assert float(whole[mask].var(unbiased=False)) == pytest.approx(1.0, abs=1e-6)


def test_whitening_what_has_no_variance_gives_zero():
    values, mask = torch.full((3, 4), 0.5), torch.ones(3, 4, dtype=torch.bool)
    assert whiten(values, mask, moments(values, mask)).abs().max() < 1e-6


@pytest.mark.parametrize(("mean", "spread"), [(-40.0, 0.01), (-7.3, 0.001), (0.85, 1e-3), (1e3, 0.1), (0.0, 1.0)])
def test_whitening_has_unit_spread_wherever_the_values_are(mean, spread):
    torch.manual_seed(0)
    values, mask = mean + spread * torch.randn(50, 1000), torch.ones(50, 1000, dtype=torch.bool)
    white = whiten(values, mask, moments(values, mask))
    assert white.dtype == values.dtype
    assert float(white.double().std()) == pytest.approx(1.0, abs=0.02)
    assert float(white.double().mean()) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("constant", [0.6, 0.15, 1.0, 0.0, -3.7, 1e4])
@pytest.mark.parametrize("wrong_by", [0.0, 1e-3, 0.5])
def test_constant_returns_have_nothing_to_explain(constant, wrong_by):
    torch.manual_seed(0)
    mask = torch.rand(40, 50) < 0.8
    values = constant + wrong_by * torch.randn(40, 50)
    # As GAE makes them: the critic's value, and what was missing to the return.
    returns = (constant - values) + values
    found = explained_variance(moments(returns - values, mask), moments(returns, mask))
    assert found == 0.0


def test_explained_variance_is_the_share_that_the_critic_knows():
    torch.manual_seed(0)
    returns, mask = 5 + torch.randn(40, 50), torch.ones(40, 50, dtype=torch.bool)
    for share in (0.0, 0.5, 1.0, -1.0):
        values = share * returns
        found = explained_variance(moments(returns - values, mask), moments(returns, mask))
        assert found == pytest.approx(1 - (1 - share) ** 2, abs=1e-6)


def test_the_discount_between_calls_is_at_the_last_token_of_each_and_nowhere_else():
    rewards, values = torch.tensor([[0.0, 0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.25, math.nan, 0.75]])
    mask = torch.tensor([[True, True, False, True]])
    ends = torch.tensor([[False, True, False, True]])
    found, _ = gae(rewards, values, mask, 0.9, 0.5, ends, 0.8)
    # t=3: 1 - 0.75; t=1: 0.72 * 0.75 - 0.25 + 0.36 * 0.25 = 0.38; t=0: 0.9 * 0.25 - 0.5 + 0.45 * 0.38 = -0.104
    assert found.tolist() == [[pytest.approx(-0.104), pytest.approx(0.38), 0.0, pytest.approx(0.25)]]
