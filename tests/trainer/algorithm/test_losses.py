"""Every loss against a slow one written out here: loops over Python floats, gradients by finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from trainer.algorithm import losses

SETTINGS = {"clip_low": 0.2, "clip_high": 0.3, "behaviour_weight_cap": 2.0}


def agrees(found, inputs, mask, reference):
    """Whether token losses and their gradients are the reference's, and nothing comes of masked tokens.

    ``inputs[0]`` is what is differentiated; ``reference`` is a function of one token's numbers.
    """
    found.sum().backward()
    step = 1e-6
    for row in range(mask.shape[0]):
        for t in range(mask.shape[1]):
            loss, slope = found[row, t].item(), inputs[0].grad[row, t].item()
            if not mask[row, t]:
                assert loss == slope == 0
                continue
            first, *rest = (tensor[row, t].item() for tensor in inputs)
            assert loss == pytest.approx(reference(first, *rest), abs=1e-9)
            difference = reference(first + step, *rest) - reference(first - step, *rest)
            assert slope == pytest.approx(difference / (2 * step), abs=1e-6)


def some(*scales, rows=4, length=10):
    """A mask, and a leaf and constants of float64 ``[rows, length]`` with NaN where the mask is off."""
    torch.manual_seed(3)
    mask = torch.rand(rows, length) < 0.7
    inputs = [torch.where(mask, scale * torch.randn(rows, length, dtype=torch.float64), math.nan) for scale in scales]
    return mask, inputs[0].requires_grad_(True), *inputs[1:]


def reference_policy_loss(current, proximal, behaviour, advantage, decoupled):
    if decoupled:
        weight, ratio = min(math.exp(proximal - behaviour), 2.0), math.exp(current - proximal)
    else:
        weight, ratio = 1.0, math.exp(current - behaviour)
    clipped = min(max(ratio, 0.8), 1.3)
    return -weight * min(ratio * advantage, clipped * advantage)


@pytest.mark.parametrize("decoupled", [True, False])
def test_policy_loss_and_gradient_are_those_of_a_slow_loop(decoupled):
    mask, current, proximal, behaviour, advantages = some(0.4, 0.3, 0.5, 1.0)
    loss, statistics = losses.policy_loss(
        current, proximal, behaviour, advantages, mask, decoupled=decoupled, **SETTINGS
    )
    agrees(
        loss,
        (current, proximal, behaviour, advantages),
        mask,
        lambda *x: reference_policy_loss(*x, decoupled=decoupled),
    )
    clipped = capped = 0
    largest = 1.0
    for c, p, b, a in zip(*(x[mask].tolist() for x in (current, proximal, behaviour, advantages)), strict=True):
        ratio = math.exp(c - (p if decoupled else b))
        clipped += min(max(ratio, 0.8), 1.3) * a < ratio * a
        capped += decoupled and math.exp(p - b) > 2.0
        largest = max(largest, ratio, 1 / ratio)
    assert int(statistics["clipped"]) == clipped > 0
    assert int(statistics["capped"]) == capped
    assert capped > 0 or not decoupled
    assert statistics["ratio_max"].item() == pytest.approx(largest)


@pytest.mark.parametrize("decoupled", [True, False])
def test_only_the_current_policy_is_differentiated(decoupled):
    mask, current, proximal, behaviour, advantages = some(0.1, 0.1, 0.1, 1.0)
    anchors = [proximal.requires_grad_(True), behaviour.requires_grad_(True)]
    loss, _ = losses.policy_loss(current, *anchors, advantages, mask, decoupled=decoupled, **SETTINGS)
    loss.sum().backward()
    assert all(anchor.grad is None for anchor in anchors)
    assert current.grad.abs().max() > 0


def test_the_first_gradient_is_that_of_reinforce_with_truncated_weights():
    """Where current and proximal are one, the gradient is -w A; a weight that were differentiated would add to it."""
    proximal, behaviour = torch.tensor([[-1.0, -1.0, -1.0]]), torch.tensor([[-1.0, -1.5, -4.0]])
    current = proximal.clone().requires_grad_(True)
    advantages, mask = torch.tensor([[1.0, -2.0, 3.0]]), torch.ones(1, 3, dtype=torch.bool)
    losses.policy_loss(current, proximal, behaviour, advantages, mask, decoupled=True, **SETTINGS)[0].sum().backward()
    assert current.grad.tolist() == [pytest.approx([-1.0, 2.0 * math.exp(0.5), -3.0 * 2.0])]


def reference_value_loss(value, old, target):
    near = old + min(max(value - old, -0.2), 0.2)
    return 0.5 * max((value - target) ** 2, (near - target) ** 2)


def test_value_loss_and_gradient_are_those_of_a_slow_loop():
    mask, values, old, targets = some(0.4, 0.4, 0.4)
    loss = losses.value_loss(values, old, targets, mask, 0.2)
    agrees(loss, (values, old, targets), mask, reference_value_loss)


def test_value_loss_is_clipped_around_the_old_values():
    values, old = torch.tensor([[1.0, 0.3]]), torch.tensor([[0.0, 0.2]])
    loss = losses.value_loss(values, old, torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool), 0.2)
    # first: max((1-1)^2, (0.2-1)^2) / 2 = 0.32; second: within the clip, 0.3^2 / 2 = 0.045
    assert loss.tolist() == [[pytest.approx(0.32), pytest.approx(0.045)]]


def test_k1_and_k3_and_their_gradients_are_those_of_a_slow_loop():
    mask, policy, reference = some(0.5, 0.5)
    agrees(losses.kl_k1(policy, reference, mask), (policy, reference), mask, lambda p, r: p - r)
    policy.grad = None
    agrees(losses.kl_k3(policy, reference, mask), (policy, reference), mask, lambda p, r: math.exp(r - p) - 1 - (r - p))


def test_k3_has_the_expectation_of_the_divergence_and_is_never_negative():
    torch.manual_seed(0)
    # Near enough to one another that no token reaches the bound.
    p, r = ((0.5 * torch.randn(8, dtype=torch.float64)).log_softmax(0) for _ in range(2))
    mask = torch.ones(1, 8, dtype=torch.bool)
    k1, k3 = losses.kl_k1(p[None], r[None], mask)[0], losses.kl_k3(p[None], r[None], mask)[0]
    divergence = sum(a * (math.log(a) - b) for a, b in zip(p.exp().tolist(), r.tolist(), strict=True))
    assert (p.exp() * k1).sum().item() == pytest.approx(divergence)
    assert (p.exp() * k3).sum().item() == pytest.approx(divergence)
    assert (k3 >= 0).all()
    assert losses.kl_k3(p[None], p[None], mask).abs().max() == 0


@pytest.mark.parametrize("below", [3.0, 20.0, 40.0, 89.0, 1e4])
def test_a_token_far_from_the_reference_makes_no_loss_infinite(below):
    mask, reference = torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3)
    policy = torch.tensor([[-below, below, 0.1]], requires_grad=True)
    loss = losses.kl_k3(policy, reference, mask)
    assert torch.isfinite(loss).all()
    assert loss.max() <= losses.K3_MAX
    loss.sum().backward()
    assert torch.isfinite(policy.grad).all()


@pytest.mark.parametrize("apart", [5.0, 50.0, 500.0])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_a_ratio_far_from_one_is_bounded(apart, advantage, dual_clip):
    mask, old = torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2)
    current = torch.tensor([[apart, -apart]], requires_grad=True)
    advantages = torch.full((1, 2), advantage)
    loss, statistics = losses.policy_loss(
        current, old, old, advantages, mask, decoupled=True, dual_clip=dual_clip, **SETTINGS
    )
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(current.grad).all()
    assert torch.isfinite(statistics["ratio_max"])
    # The only loss without a bound of its own is that of a bad token that became likely.
    grown = 3.0 if dual_clip else math.exp(min(apart, 20.0))
    assert loss[0, 0].item() == pytest.approx({-1.0: grown, 0.0: 0.0, 1.0: -1.3}[advantage])
    assert loss[0, 1].item() == pytest.approx({-1.0: 0.8, 0.0: 0.0, 1.0: -math.exp(max(-apart, -20.0))}[advantage])


def test_dual_clip_and_its_gradient_are_those_of_a_slow_loop():
    mask, current, proximal, behaviour, advantages = some(0.9, 0.9, 0.3, 1.0)

    def reference(c, p, b, a):
        weight, ratio = min(math.exp(p - b), 2.0), math.exp(c - p)
        objective = min(ratio * a, min(max(ratio, 0.8), 1.3) * a)
        return -weight * (max(objective, 1.5 * a) if a < 0 else objective)

    inputs = (current, proximal, behaviour, advantages)
    loss, statistics = losses.policy_loss(*inputs, mask, decoupled=True, dual_clip=1.5, **SETTINGS)
    agrees(loss, inputs, mask, reference)
    without = losses.policy_loss(*inputs, mask, decoupled=True, **SETTINGS)[1]
    assert statistics["clipped"] > without["clipped"]


def test_the_kl_coefficient_follows_the_target():
    """One step by hand, and a loop in which the divergence falls as the coefficient grows."""
    assert losses.adapted_kl_coef(0.1, 6.6, 6.0, 100, 1000) == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    assert losses.adapted_kl_coef(0.1, 60.0, 6.0, 100, 1000) == pytest.approx(0.1 * (1 + 0.2 * 0.1))
    assert losses.adapted_kl_coef(0.1, -3.0, 6.0, 100, 1000) == pytest.approx(0.1 * (1 - 0.2 * 0.1))
    assert losses.adapted_kl_coef(0.1, 6.0, 6.0, 100, 1000) == 0.1
    for coef in (0.01, 10.0):
        for _ in range(1000):
            coef = losses.adapted_kl_coef(coef, 3.0 / coef, 6.0, 100, 1000)
        assert coef == pytest.approx(0.5, rel=1e-3)


def reference_aggregate(each, mask, how):
    rows = [
        [x for x, kept in zip(*pair, strict=True) if kept] for pair in zip(each.tolist(), mask.tolist(), strict=True)
    ]
    if how == "token_mean":
        return sum(map(sum, rows)) / sum(map(len, rows))
    return sum(sum(row) / len(row) for row in rows) / len(rows)


@pytest.mark.parametrize("how", ["token_mean", "sequence_mean"])
def test_aggregate_is_that_of_a_slow_loop_and_does_not_depend_on_how_the_batch_is_cut(how):
    torch.manual_seed(0)
    mask = torch.rand(6, 7) < 0.5
    mask[:, 0] = True
    each = torch.where(mask, torch.randn(6, 7, dtype=torch.float64), 0.0)
    counts = {"tokens": float(mask.sum()), "sequences": 6.0}
    whole = losses.aggregate(each, mask, how, **counts).item()
    cut = sum(losses.aggregate(each[rows], mask[rows], how, **counts).item() for rows in ([0, 3], [1], [2, 4, 5]))
    assert whole == pytest.approx(reference_aggregate(each, mask, how), abs=1e-12)
    assert whole == pytest.approx(cut, abs=1e-12)


def test_engine_gap_leaves_out_completions_that_a_push_fell_into():
    learner, engine = torch.zeros(3, 3), torch.tensor([[0.0, 1e-6, 5.0], [0.2, 0.3, 0.4], [9.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    current = torch.tensor([[True, True, False], [False, True, True], [False, False, True]])
    assert losses.engine_gap(learner, engine, mask, current).tolist() == pytest.approx([0.0, 1e-6])


def test_engine_gap_looks_at_each_call_of_a_row_by_itself():
    learner, engine = torch.zeros(2, 6), torch.tensor([[0.1, 0.2, 9.0, 0.3, 0.4, 9.0], [9.0, 9.0, 0.5, 0.6, 0.7, 0.8]])
    # Calls of two tokens, a gap and two; of two, two and two.
    mask = torch.tensor([[True, True, False, True, True, False], [True] * 6])
    ends = torch.tensor([[False, True, False, False, True, False], [False, True] * 3])
    current = torch.tensor([[True, True, False, True, True, True], [True, False, True, True, True, True]])
    found = losses.engine_gap(learner, engine, mask, current, ends)
    assert found.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    current[0, 4] = False
    assert losses.engine_gap(learner, engine, mask, current, ends).tolist() == pytest.approx(
        [0.1, 0.2, 0.5, 0.6, 0.7, 0.8]
    )


def test_a_sequence_mean_over_several_rows_is_over_the_tokens_of_all():
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    each = torch.where(mask, torch.tensor([[1.0, 2.0, 0.0], [6.0, 0.0, 0.0], [1.0, 1.0, 4.0]]), 0.0)
    # The first two rows are one sequence: 9 / 3; the third is 6 / 3.
    found = losses.aggregate(each, mask, "sequence_mean", 6.0, 2.0, torch.tensor([3, 3, 3]))
    assert found.item() == pytest.approx(2.5)
