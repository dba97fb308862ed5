import math

import pytest
import torch

from trainer.advantages import gae, moments, token_rewards, whiten


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


@pytest.mark.parametrize("credit", ["terminal", "subquestion"])
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
