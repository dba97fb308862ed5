"""A learner at the edges of its settings: probes under the limit of tokens, no reference, experts in packed rows."""

from __future__ import annotations

import math

import pytest

from conf.schema.base import ConfigError
from tests.ports import free_port
from tests.trainer.learner.test_dropout import make
from tests.trainer.learner.test_learner import in_a_process, learner_for
from tests.trainer.ranks import configure, make_batch
from trainer.algorithm.experience import Experience
from trainer.algorithm.rows import Row
from trainer.learner.actor_critic import ActorCritic
from trainer.learner.learner import PROBES


def probes(whole, limited):
    """A batch's probe in one pass, and under a limit with the tokens of every pass."""
    port = free_port()
    _, expected = learner_for(whole, port).probe(make_batch())
    learner, sizes = learner_for(limited, port), []
    forward = ActorCritic.forward

    def counted(self, batch, *arguments, **named):
        sizes.append(batch.ids.numel())
        return forward(self, batch, *arguments, **named)

    ActorCritic.forward = counted
    try:
        return expected, learner.probe(make_batch())[1], sizes
    finally:
        ActorCritic.forward = forward


def without_reference(configs):
    """The metrics of a step, and whether a reference was kept, or run."""
    port, found = free_port(), {}
    asked: list[int] = []
    ActorCritic.reference_logprobs = lambda *_: asked.append(1)
    for name, config in configs.items():
        learner = learner_for(config, port)
        metrics = learner.train_step(make_batch())
        found[name] = learner.frozen is None, set(metrics), len(asked)
    return found


def far_from_behaviour(configs):
    """The metrics of a first step on tokens that were sampled with log-probabilities 3 nats below the learner's."""
    port, found = free_port(), {}
    for name, config in configs.items():
        learner, batch = learner_for(config, port), make_batch(PROBES)
        calls, logprobs = learner.probe(batch)
        below = [
            Experience(
                one.problem_id,
                [Row(prompt, tokens, [value - 3 for value in own], [0] * len(tokens), one.rows[0].rewards)],
                one.group,
            )
            for one, (prompt, tokens), own in zip(batch, calls, logprobs, strict=True)
        ]
        found[name] = learner.train_step(below)
    return found


def packed(config):
    """Take a model of experts in packed rows, and refuse it where its sequences see each other."""
    port = free_port()
    learner_for(config, port)
    forward = ActorCritic.forward

    def blind(self, batch, *arguments, **named):
        batch.positions = batch.positions * 0 + batch.positions.new_tensor(range(batch.ids.shape[1]))
        return forward(self, batch, *arguments, **named)

    ActorCritic.forward = blind
    try:
        learner_for(config, port)
    except ConfigError as error:
        return str(error)
    return ""


def test_probes_stay_within_the_tokens_of_a_microbatch(tiny_model):
    limit = "learner.max_tokens_per_microbatch=60"
    expected, found, sizes = in_a_process(probes, configure(tiny_model), configure(tiny_model, limit))
    assert max(sizes) <= 60
    assert len(sizes) > 1
    for want, have in zip(expected, found, strict=True):
        assert have == pytest.approx(want, abs=1e-5)


def test_without_a_kl_term_no_reference_is_kept_or_run_and_no_divergence_is_told(tiny_model):
    ways = {"reward": "algorithm.kl=reward", "loss": "algorithm.kl=loss", "lora": "+model.lora={rank: 2, alpha: 4}"}
    configs = {name: configure(tiny_model, "algorithm.kl_coef=0", way) for name, way in ways.items()}
    found = in_a_process(without_reference, configs)
    for kept, metrics, asked in found.values():
        assert kept
        assert asked == 0
        assert "policy/kl" not in metrics
        assert {"policy/loss", "policy/kl_coef", "policy/engine_logprob_gap_mean"} <= metrics


def test_only_a_weight_that_there_is_can_be_truncated(tiny_model):
    step = ["algorithm.epochs=1", "algorithm.minibatches=1"]
    ways = {"decoupled": [], "plain": ["algorithm.decoupled=false"], "wide": ["algorithm.behaviour_weight_cap=21"]}
    found = in_a_process(far_from_behaviour, {name: configure(tiny_model, *step, *way) for name, way in ways.items()})
    assert {name: one["policy/behaviour_weight_capped"] for name, one in found.items()} == {
        "decoupled": 1.0, "plain": 0.0, "wide": 0.0,
    }  # fmt: skip
    ratios = {name: one["policy/ratio_max"] for name, one in found.items()}
    assert ratios == pytest.approx({"decoupled": 1.0, "plain": math.exp(3), "wide": 1.0}, rel=1e-3)


def test_experts_are_taken_in_packed_rows_unless_sequences_see_each_other(tmp_path):
    refusal = in_a_process(packed, configure(make("mixtral", tmp_path), "learner.packing=packed"))
    assert refusal.startswith("learner.packing: 'packed' is not allowed for this model")
