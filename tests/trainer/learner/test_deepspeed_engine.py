"""DeepSpeed is given the learner's settings and the user's, and the optimiser that fits the device."""

from __future__ import annotations

import pytest
import torch

from conf.schema.deepspeed import OURS, flat
from launch.compose import compose
from trainer.learner.deepspeed_engine import deepspeed_config, lr_factor, lr_factors, make_optimizer


def test_all_that_the_learner_sets_is_known_to_be_its_own():
    for overrides in ([], ["learner=gpu", "learner.offload_optimizer=true"]):
        assert {name for name, _ in flat(deepspeed_config(compose(overrides)))} <= set(OURS)


def test_the_users_settings_stand_beside_the_learners():
    more = "+learner.deepspeed={zero_optimization: {overlap_comm: true}, communication_data_type: fp32}"
    found = deepspeed_config(compose(["learner.zero_stage=2", more]))
    assert found["zero_optimization"] == {"stage": 2, "overlap_comm": True}
    assert found["communication_data_type"] == "fp32"
    assert found["gradient_clipping"] == 1.0


@pytest.mark.parametrize(("gpus", "fused"), [(0.0, None), (1.0, True), (0.5, True)])
def test_adam_is_fused_on_a_gpu(gpus, fused):
    settings = compose([]).learner.model_copy(update={"gpus_per_rank": gpus})
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = make_optimizer([{"params": [weight], "lr": 1e-3}], settings)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["fused"] is fused
    assert optimizer.defaults["betas"] == tuple(settings.betas)


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    linear = [lr_factor(step, 1, 4, "linear") for step in range(5)]
    assert linear == [0.5, 0.75, 0.5, 0.25, 0.0]
    assert [lr_factor(step, 1, 4, "constant") for step in range(5)] == [0.5, 1.0, 1.0, 1.0, 1.0]
    # With algorithm.steps=0 DeepSpeed's engine is made all the same, to write the policy as it was.
    assert lr_factor(0, 0, 0, "linear") == 1.0


def test_the_actors_rate_is_nothing_in_the_optimiser_steps_in_which_its_critic_warms_up():
    shape = ["algorithm.epochs=2", "algorithm.minibatches=3", "algorithm.steps=4", "learner.warmup_steps=1"]
    config = compose([*shape, "learner.critic=separate", "learner.critic_warmup_steps=2"])
    actor, critic = lr_factors(config, 2)
    whole = [lr_factor(step, 1, 24, config.learner.lr_schedule) for step in range(24)]
    # Then it has its own warm-up; it falls with the critic's.
    assert [actor(step) for step in range(24)] == [0.0] * 12 + [whole[12] / 2] + whole[13:]
    assert [critic(step) for step in range(24)] == whole
    (alone,) = lr_factors(compose([*shape, "learner.critic=shared"]), 1)
    assert [alone(step) for step in range(24)] == whole
