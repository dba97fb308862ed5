"""Under ZeRO-3 nothing is whole for longer than needed: not the policy as it is loaded or saved, nor the reference."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.ports import free_port
from tests.trainer.learner.test_learner import in_a_process, learner_for
from tests.trainer.ranks import configure, make_batch, parameters
from trainer.learner import learner as learner_module
from trainer.learner.weight_sender import SendingRank

# DeepSpeed leaves small tensors whole after their first use unless it is told not to.
SHARED = [
    "learner.zero_stage=3",
    "+learner.deepspeed.zero_optimization.stage3_param_persistence_threshold=0",
    "algorithm.minibatches=1",
]


def step_and_save(configs, folder):
    """Of each configuration: the metrics of a step, the reference's log-probabilities and numbers at hand after it, the
    policy's at hand before DeepSpeed was given it, the most tensors gathered at once for a folder, and whether that has
    what was trained."""
    port, found, make = free_port(), {}, learner_module.make_engine
    loaded = []

    def made(model, *others):
        loaded.append(sum(value.numel() for value in model.lm.parameters()))
        return make(model, *others)

    learner_module.make_engine = made
    gathered, most = SendingRank.gathered, []

    def counted(self, values):
        most.append(len(values))
        return gathered(self, values)

    for name, config in configs.items():
        learner = learner_for(config, port)
        judged = learner.prepare_batch(make_batch(), 5).reference
        metrics = learner.train_step(make_batch())
        held = sum(value.numel() for value in learner.frozen.parameters()) if learner.frozen is not None else 0
        again = learner.prepare_batch(make_batch(), 5).reference
        trained = {key.removeprefix("lm."): value for key, value in parameters(learner).items()}
        SendingRank.gathered = counted
        most.clear()
        learner.save(f"{folder}/{name}")
        learner.checkpoint(f"{folder}/{name}-checkpoint")
        SendingRank.gathered = gathered
        saved, kept = (load_file(f"{folder}/{name}{end}/model.safetensors") for end in ("", "-checkpoint"))
        same = all(torch.equal(saved[key], kept[key]) for key in saved)
        if not learner.model.lora:
            same = same and all(torch.equal(value, trained[key]) for key, value in saved.items())
        # A tensor itself would go with its process.
        here = held, loaded[-1]
        found[name] = metrics, judged.tolist(), torch.equal(judged, again), *here, max(most), same, set(saved)
    return found


@pytest.fixture(scope="module")
def found(tiny_model, tmp_path_factory):
    lora = "+model.lora={rank: 4, alpha: 8}"
    ways = {
        "plain": ["algorithm.minibatches=1"],
        "sharded": SHARED,
        "offloaded": [*SHARED, "+learner.deepspeed.zero_optimization.offload_param.device=cpu"],
        "lora": [*SHARED, lora],
        "chunks": [*SHARED, "learner.logits_per_chunk=2000"],
    }
    configs = {name: configure(tiny_model, *given) for name, given in ways.items()}
    return in_a_process(step_and_save, configs, str(tmp_path_factory.mktemp("saved")))


def test_the_reference_is_a_share_and_says_the_same(found):
    metrics, judged, _, held, *_ = found["plain"]
    assert held > 0
    for name in ("sharded", "offloaded", "chunks"):
        other, by_share, still, share, *_ = found[name]
        assert share == 0, name
        assert still, name
        assert torch.allclose(torch.tensor(by_share), torch.tensor(judged), atol=1e-5), name
        for key in ("policy/kl", "policy/loss", "policy/grad_norm"):
            assert other[key] == pytest.approx(metrics[key], rel=1e-4, abs=1e-6), (name, key)


def test_a_model_is_loaded_as_shares_and_never_whole(found):
    loaded = {name: row[4] for name, row in found.items()}
    assert loaded["plain"] > 0
    assert [loaded[name] for name in ("sharded", "offloaded", "chunks")] == [0, 0, 0]
    # Adapters are made beside the shares, and shared out with the rest.
    assert 0 < loaded["lora"] < loaded["plain"] / 4


def test_a_policy_is_gathered_tensor_by_tensor_to_be_saved(found):
    for name, (*_, most, same, names) in found.items():
        # An adapter's two matrices go with the weight that they change.
        assert most == (3 if name == "lora" else 1), name
        assert same, name
        assert names == found["plain"][-1], name
