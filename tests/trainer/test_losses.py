import math

import pytest
import torch

from trainer import losses

SETTINGS = {"clip_low": 0.2, "clip_high": 0.3, "behaviour_weight_cap": 2.0}


def reference_policy_loss(current, proximal, behaviour, advantage, decoupled):
    if decoupled:
        weight, ratio = min(math.exp(proximal - behaviour), 2.0), math.exp(current - proximal)
    else:
        weight, ratio = 1.0, math.exp(current - behaviour)
    clipped = min(max(ratio, 0.8), 1.3)
    return -weight * min(ratio * advantage, clipped * advantage)


@pytest.mark.parametrize("decoupled", [True, False])
def test_policy_loss_and_gradient_are_those_of_a_slow_loop(decoupled):
    torch.manual_seed(3)
    current = torch.randn(3, 8, dtype=torch.float64) * 0.4
    proximal, behaviour = current + 0.3 * torch.randn(3, 8).double(), current + 0.5 * torch.randn(3, 8).double()
    advantages, mask = torch.randn(3, 8, dtype=torch.float64), torch.rand(3, 8) < 0.7
    current.requires_grad_(True)
    loss, statistics = losses.policy_loss(
        current, proximal, behaviour, advantages, mask, decoupled=decoupled, **SETTINGS
    )
    loss.sum().backward()
    step, clipped = 1e-6, 0
    for row in range(3):
        for t in range(8):
            if not mask[row, t]:
                assert loss[row, t] == 0
                assert current.grad[row, t] == 0
                continue
            c, rest = (
                current[row, t].item(),
                (proximal[row, t].item(), behaviour[row, t].item(), advantages[row, t].item()),
            )
            assert loss[row, t].item() == pytest.approx(reference_policy_loss(c, *rest, decoupled), abs=1e-12)
            slope = (
                reference_policy_loss(c + step, *rest, decoupled) - reference_policy_loss(c - step, *rest, decoupled)
            ) / (2 * step)
            assert current.grad[row, t].item() == pytest.approx(slope, abs=1e-6)
            ratio = math.exp(c - (rest[0] if decoupled else rest[1]))
            clipped += min(max(ratio, 0.8), 1.3) * rest[2] < ratio * rest[2]
    assert int(statistics["clipped"]) == clipped > 0


def test_masked_positions_may_hold_anything():
    bad = torch.tensor([[0.0, math.nan]])
    mask = torch.tensor([[True, False]])
    current = torch.tensor([[0.0, math.nan]], requires_grad=True)
    loss, _ = losses.policy_loss(current, bad, bad, torch.ones(1, 2), mask, decoupled=True, **SETTINGS)
    loss.sum().backward()
    assert loss.tolist() == [[-1.0, 0.0]]
    assert losses.kl_k3(bad, bad, mask).tolist() == [[0.0, 0.0]]


def test_value_loss_is_clipped_around_the_old_values():
    values, old = torch.tensor([[1.0, 0.3]]), torch.tensor([[0.0, 0.2]])
    loss = losses.value_loss(values, old, torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool), 0.2)
    # first: max((1-1)^2, (0.2-1)^2) / 2 = 0.32; second: within the clip, 0.3^2 / 2 = 0.045
    assert loss.tolist() == [[pytest.approx(0.32), pytest.approx(0.045)]]


def test_k3_is_never_negative_and_zero_when_equal():
    torch.manual_seed(0)
    p, r = torch.randn(5, 5), torch.randn(5, 5)
    mask = torch.ones(5, 5, dtype=torch.bool)
    assert (losses.kl_k3(p, r, mask) >= 0).all()
    assert losses.kl_k3(p, p, mask).abs().max() == 0


@pytest.mark.parametrize("how", ["token_mean", "sequence_mean"])
def test_aggregate_does_not_depend_on_how_the_batch_is_cut(how):
    torch.manual_seed(0)
    mask = torch.rand(6, 7) < 0.5
    mask[:, 0] = True
    each = torch.where(mask, torch.randn(6, 7), 0.0)
    counts = {"tokens": float(mask.sum()), "sequences": 6.0}
    whole = losses.aggregate(each, mask, how, **counts)
    cut = sum(losses.aggregate(each[rows], mask[rows], how, **counts) for rows in ([0, 3], [1], [2, 4, 5]))
    assert float(whole) == pytest.approx(float(cut), abs=1e-6)


def test_engine_gap_leaves_out_completions_that_a_push_fell_into():
    learner, engine = torch.zeros(3, 3), torch.tensor([[0.0, 1e-6, 5.0], [0.2, 0.3, 0.4], [9.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    current = torch.tensor([[True, True, False], [False, True, True], [False, False, True]])
    assert losses.engine_gap(learner, engine, mask, current).tolist() == pytest.approx([0.0, 1e-6])
