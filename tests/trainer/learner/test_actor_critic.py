"""What the policy and its critics say of padded and packed batches, against one sequence at a time and loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from conf.schema.base import ConfigError
from conf.schema.model import Lora
from trainer.algorithm.experience import pack, pad
from trainer.learner.actor_critic import ActorCritic
from trainer.learner.token_logprobs import token_logprobs

ROWS = [([5, 6, 7], [8, 9]), ([11], [12, 13, 14]), ([20, 21], [22])]


def with_random_head(model: ActorCritic) -> ActorCritic:
    torch.manual_seed(1)
    nn.init.normal_(model.value_head.weight)
    nn.init.normal_(model.value_head.bias)
    return model


@pytest.mark.parametrize("collate", [pad, pack])
@pytest.mark.parametrize("critic", ["shared", "separate", "none"])
def test_tokens_are_scored_from_what_stands_before_them(tiny_model, critic, collate):
    from transformers import AutoModelForCausalLM

    model = ActorCritic(str(tiny_model), torch.float32, None, critic=critic)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    if critic != "none":
        with_random_head(model)
    with torch.no_grad():
        found = model(collate(ROWS), 0.7)
        for row, (prompt, completion) in enumerate(ROWS):
            output = plain(torch.tensor([prompt + completion]), output_hidden_states=True)
            for t, token in enumerate(completion):
                at = len(prompt) - 1 + t
                logs = (output.logits[0, at] / 0.7).log_softmax(-1)
                assert found.logprobs[row, t].item() == pytest.approx(logs[token].item(), abs=1e-5)
                assert found.entropies[row, t].item() == pytest.approx(-(logs.exp() * logs).sum().item(), abs=1e-4)
                value = model.value_head(output.hidden_states[-1][0, at]).item() if critic != "none" else 0.0
                assert found.values[row, t].item() == pytest.approx(value, abs=1e-4)


def test_a_separate_critic_leaves_the_policy_alone_and_the_policy_it(tiny_model):
    model = with_random_head(ActorCritic(str(tiny_model), torch.float32, None, critic="separate"))
    model(pad(ROWS)).values.sum().backward()
    actor, critic = model.trained()
    assert all(value.grad is None for value in actor)
    assert all(value.grad is not None for value in critic)
    model.zero_grad()
    model(pad(ROWS)).logprobs.sum().backward()
    assert all(value.grad is not None for value in actor)
    assert all(value.grad is None for value in critic)


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
@pytest.mark.parametrize("critic", ["shared", "separate", "none"])
def test_the_policy_is_the_same_whatever_the_critic(tiny_model, critic, lora, tmp_path):
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = dict(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).named_parameters())
    model = ActorCritic(str(tiny_model), torch.float32, lora, critic=critic)
    actor, own = model.trained()
    assert len(own) == {"shared": 2, "none": 0}.get(critic, 2 + (len(actor) if lora else len(plain)))
    model.save(str(tmp_path), AutoTokenizer.from_pretrained(tiny_model))
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == plain.keys()
    assert all(torch.equal(saved[name], plain[name]) for name in plain)


def test_log_probabilities_entropies_and_gradients_are_those_of_a_slow_loop():
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 5, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([[4, 0, 2]])
    chosen, entropies = token_logprobs(logits, ids, "gradient")
    (chosen.sum() + entropies.sum()).backward()
    for t in range(3):
        row = logits[0, t].tolist()
        total = sum(map(math.exp, row))
        shares = [math.exp(x) / total for x in row]
        entropy = -sum(p * math.log(p) for p in shares)
        token = int(ids[0, t])
        assert chosen[0, t].item() == pytest.approx(math.log(shares[token]), abs=1e-12)
        assert entropies[0, t].item() == pytest.approx(entropy, abs=1e-12)
        for index, p in enumerate(shares):
            # d log p_token / dx_i = [i is token] - p_i; dH / dx_i = -p_i (log p_i + H)
            slope = (index == token) - p - p * (math.log(p) + entropy)
            assert logits.grad[0, t, index].item() == pytest.approx(slope, abs=1e-12)
    again = token_logprobs(logits, ids, "value")[1]
    assert torch.equal(again, entropies)
    assert not again.requires_grad


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_with_gradient_checkpointing_a_layer_is_computed_again_on_the_way_back(tiny_model, lora):
    model = ActorCritic(str(tiny_model), torch.float32, lora, gradient_checkpointing=True).train()
    passes = []
    layer = next(module for name, module in model.lm.named_modules() if name.endswith("layers.0.mlp"))
    layer.register_forward_pre_hook(lambda *_: passes.append(1))
    outputs = model(pack(ROWS))
    assert len(passes) == 1
    outputs.logprobs.sum().backward()
    assert len(passes) == 2
    assert any(parameter.grad is not None for parameter in model.trained()[0])


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("layers", "expected"), [(1, {"1"}), (2, {"0", "1"})])
def test_only_the_last_layers_or_their_adapters_are_trained(tiny_model, lora, layers, expected, checkpointing):
    model = ActorCritic(
        str(tiny_model), torch.float32, lora, critic="separate", layers=layers, gradient_checkpointing=checkpointing
    )
    with_random_head(model).train()
    actor, critic = model.trained()
    reached = []
    for name, module in model.named_modules():
        if name.endswith(("layers.0", "layers.1")):
            module.register_full_backward_hook(lambda *_, number=name[-1]: reached.append(number))
    found = model(pad(ROWS))
    (found.logprobs.sum() + found.values.sum()).backward()
    # The backward pass ends where nothing below is trained.
    assert set(reached) == expected
    for trunk, values in (("lm.", actor), ("critic_trunk.", critic)):
        trained = {name for name, value in model.named_parameters() if value.requires_grad and name.startswith(trunk)}
        assert {name.split("layers.")[1].split(".")[0] for name in trained} == expected
        assert all(("lora_" in name) == (lora is not None) for name in trained)
        assert all(value.grad is not None for value in values)
    # What is not trained is in the model all the same.
    whole = ActorCritic(str(tiny_model), torch.float32, None, critic="none")
    assert dict(model.weights()).keys() == dict(whole.weights()).keys()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_compiled_layers_say_and_learn_the_same(tiny_model, lora, checkpointing):
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = ActorCritic(
            str(tiny_model), torch.float32, lora, gradient_checkpointing=checkpointing, compiled=compiled
        )
        with_random_head(model).train()
        # Of several shapes, and without gradients too, as in a step of PPO.
        with torch.no_grad():
            first = model(pad(ROWS[:1])).logprobs
        outputs = model(pad(ROWS))
        (outputs.logprobs.sum() + outputs.values.sum()).backward()
        slopes = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        found.append((first, outputs.logprobs, outputs.values, slopes, list(dict(model.weights()))))
    (*plain, slopes, names), (*compiled, others, same) = found
    assert names == same
    assert slopes.keys() == others.keys()
    for one, other in zip([*plain, *slopes.values()], [*compiled, *others.values()], strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def with_head(folder, tied: bool) -> str:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=32, tie_word_embeddings=tied, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("tied", "target"), [(False, "embed_tokens"), (True, "embed_tokens"), (True, "lm_head"), (False, "lm_head")]
)
def test_an_adapter_that_could_not_be_exported_is_refused(tmp_path, tied, target):
    lora = Lora(rank=2, targets=["q_proj", target])
    if tied or target == "embed_tokens":
        with pytest.raises(
            ConfigError, match=rf"model\.lora\.targets: {target} is an embedding, or a head that shares"
        ):
            ActorCritic(with_head(tmp_path, tied), torch.float32, lora)
        return
    model = ActorCritic(with_head(tmp_path, tied), torch.float32, lora)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
    plain = ActorCritic(str(tmp_path), torch.float32, None)
    plain.lm.load_state_dict(dict(model.weights()))
    ids = torch.tensor([[1, 2, 3]])
    assert torch.allclose(plain.lm(ids).logits, model.lm(ids).logits, atol=1e-4)
