"""Log-probabilities, entropies and gradients are the same however the vocabulary projection is cut, in less memory."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from conf.schema.model import Lora
from tests.trainer.learner.test_dropout import MODELS as DROPPING
from tests.trainer.learner.test_dropout import SIZES
from trainer.algorithm.experience import pack, pad
from trainer.learner.actor_critic import ActorCritic
from trainer.learner.output_head import Adjustment
from trainer.learner.token_logprobs import projected_logprobs, token_logprobs

ROWS = [([5, 6, 7], [8, 9, 4, 3]), ([11], [12, 13, 14]), ([20, 21], [22])]
MODELS = {
    **DROPPING,
    "tied": transformers.LlamaConfig(**SIZES, tie_word_embeddings=True),
    "qwen2": transformers.Qwen2Config(**SIZES),
    "gemma2": transformers.Gemma2Config(**SIZES, head_dim=16, query_pre_attn_scalar=16, final_logit_softcapping=3.0),
    "gemma3": transformers.Gemma3TextConfig(**SIZES, head_dim=16, query_pre_attn_scalar=16),
    "granite": transformers.GraniteConfig(**SIZES, logits_scaling=3.0),
    "hyperclovax": transformers.HyperCLOVAXConfig(**SIZES, logits_scaling=0.5),
    "cohere": transformers.CohereConfig(**SIZES, logit_scale=0.25),
    "olmo2": transformers.Olmo2Config(**SIZES),
}
ADJUSTED = {
    "gemma2": Adjustment(cap=3.0), "granite": Adjustment(divisor=3.0), "hyperclovax": Adjustment(scale=0.5),
    "cohere": Adjustment(scale=0.25),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for name, config in MODELS.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for value in model.parameters():
                value.normal_(0, 0.1)
        made[name] = str(tmp_path_factory.mktemp(name))
        model.save_pretrained(made[name])
    return made


def outputs_and_gradients(model: ActorCritic, batch, entropy: str):
    """What a model says of a batch, of the reference too, and the gradient of all of it."""
    model.zero_grad()
    found = model(batch, 0.7, entropy=entropy)
    weights = torch.linspace(0.5, 1.5, found.logprobs.numel()).view(found.logprobs.shape)
    (weights * (found.logprobs + 0.3 * found.entropies + found.values)).sum().backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    judged = model.reference_logprobs(model.reference(), batch, 0.7)
    return [value.detach() for value in (*found, judged)], gradients


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_and_learns_the_same_in_chunks(folders, name):
    for critic, lora, collate, entropy in (
        ("shared", None, pad, "gradient"),
        ("separate", Lora(rank=2), pad, "value"),
        ("none", Lora(rank=2), pack, "gradient"),
        ("shared", None, pack, "none"),
    ):
        if lora and name == "mixtral":
            continue
        model = ActorCritic(folders[name], torch.float32, lora, critic=critic)
        for key, value in model.named_parameters():
            if "lora_B" in key or key.startswith("value_head"):
                torch.nn.init.normal_(value, std=0.1)
        model.train()
        batch = collate(ROWS)
        whole, slopes = outputs_and_gradients(model, batch, entropy)
        assert model.project_in_chunks(3)
        assert model.chunks is not None
        assert model.chunks.adjust == ADJUSTED.get(name, Adjustment())
        model.train()
        cut, cut_slopes = outputs_and_gradients(model, batch, entropy)
        for one, other in zip(whole, cut, strict=True):
            assert torch.allclose(one, other, rtol=1e-6, atol=1e-6)
        assert slopes.keys() == cut_slopes.keys()
        assert slopes
        for key, slope in slopes.items():
            # The layers below the head multiply its rounding errors; the head's own gradient is compared to 1e-6 below.
            assert (slope - cut_slopes[key]).abs().max() <= 5e-6 * max(1.0, float(slope.abs().max())), (critic, key)


@pytest.mark.parametrize("collate", [pad, pack])
@pytest.mark.parametrize("name", ["tied", "gemma2", "gpt2"])
def test_probabilities_of_chosen_words_add_up_to_one_and_are_learned_like_that(folders, name, collate):
    words = torch.tensor([0, 3, 4, 8, 9, 12, 13, 14, 22, 40])
    model = ActorCritic(folders[name], torch.float32, None, critic="none")
    model.eval()
    whole = []
    for prompt, completion in ROWS:
        logits = model.lm(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1, words] / 0.7
        places = torch.searchsorted(words, torch.tensor(completion))
        whole.append(logits.log_softmax(-1).gather(-1, places[:, None])[:, 0])
    torch.cat(whole).sum().backward()
    slopes = {key: value.grad.clone() for key, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    assert model.project_in_chunks(3, words=words)
    batch = collate(ROWS)
    found = model(batch, 0.7, entropy="none").logprobs
    assert torch.allclose(found[batch.mask], torch.cat(whole), atol=1e-5)
    found.sum().backward()
    for key, slope in slopes.items():
        assert torch.allclose(model.get_parameter(key).grad, slope, atol=1e-4), key


def test_a_head_with_adapters_or_logits_changed_in_an_unknown_way_are_projected_at_once(folders):
    model = ActorCritic(folders["qwen2"], torch.float32, Lora(rank=2, targets=["q_proj", "lm_head"]), critic="none")
    assert not model.project_in_chunks(3)
    assert model.chunks is None
    model = ActorCritic(folders["tied"], torch.float32, None, critic="none")
    forward = model.lm.forward

    def changed(*given, **named):
        output = forward(*given, **named)
        output.logits = output.logits.clamp(max=2.5)
        return output

    model.lm.forward = changed
    assert not model.project_in_chunks(3)
    assert model.chunks is None


@pytest.mark.parametrize("entropy", ["none", "value", "gradient"])
@pytest.mark.parametrize("bias", [False, True])
def test_the_gradient_of_chunks_is_that_of_the_whole(entropy, bias):
    torch.manual_seed(0)
    hidden, weight, shift = torch.randn(2, 9, 16), torch.randn(50, 16), torch.randn(50) if bias else None
    ids = torch.randint(0, 50, (2, 9))
    wanted = [value.requires_grad_() for value in (hidden, weight, shift) if value is not None]
    cap = Adjustment(scale=0.5, cap=4.0)
    chosen, spread = token_logprobs(cap(torch.nn.functional.linear(hidden, weight, shift)) / 0.7, ids, entropy)
    whole = torch.autograd.grad((chosen.square() + spread.sin()).sum(), wanted)
    for chunk in (1, 4, 18, 100):
        found = projected_logprobs(hidden, weight, shift, ids, 0.7, entropy, chunk=chunk, adjust=cap)
        assert found[1].requires_grad == (entropy == "gradient")
        cut = torch.autograd.grad((found[0].square() + found[1].sin()).sum(), wanted)
        assert torch.allclose(found[0], chosen, rtol=1e-6, atol=1e-6)
        assert torch.allclose(found[1], spread, rtol=1e-6, atol=1e-6)
        for one, other in zip(cut, whole, strict=True):
            assert (one - other).abs().max() <= 1e-6 * other.abs().max()


def test_what_is_frozen_gets_no_gradient():
    hidden, weight = torch.randn(4, 8, requires_grad=True), torch.randn(20, 8)
    found, _ = projected_logprobs(hidden, weight, None, torch.tensor([1, 2, 3, 4]), 1.0, "none", chunk=3)
    found.sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None
    with torch.no_grad():
        again, _ = projected_logprobs(hidden, weight, None, torch.tensor([1, 2, 3, 4]), 1.0, "none", chunk=3)
    assert torch.equal(again, found.detach())
    assert not again.requires_grad


class Peak(TorchDispatchMode):
    """The most bytes that lay in tensors at once, of those made while it watches."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                if storage._cdata not in self.live:
                    self.live[storage._cdata] = storage.nbytes()
                    weakref.finalize(storage, self.live.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.live.values()))
        return result


TOKENS, WORDS, SIZE = 64, 2048, 8


def peak_bytes_a_token(dtype: torch.dtype, entropy: str, chunk: int | None) -> float:
    """Of the pass from hidden states to log-probabilities and back, beside the head's gradient."""
    gc.collect()
    hidden, weight = torch.randn(1, TOKENS, SIZE, dtype=dtype), torch.randn(WORDS, SIZE, dtype=dtype) / 4
    ids = torch.randint(0, WORDS, (1, TOKENS))
    train = entropy != "value"
    hidden.requires_grad_(train)
    weight.requires_grad_(train)
    with Peak() as watched, torch.set_grad_enabled(train):
        if chunk is None:
            logits = torch.nn.functional.linear(hidden, weight)
            chosen, spread = token_logprobs(logits.float() / 0.7, ids, entropy)
            del logits
        else:
            chosen, spread = projected_logprobs(hidden, weight, None, ids, 0.7, entropy, chunk=chunk)
        if train:
            (chosen.sum() + 0.01 * spread.sum()).backward()
    kept = weight.nbytes if train else 0
    return (watched.peak - kept) / TOKENS


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("entropy", ["none", "value", "gradient"])
def test_chunks_hold_a_share_of_the_logits(dtype, entropy):
    whole = peak_bytes_a_token(dtype, entropy, None)
    assert whole > 8 * WORDS
    for parts in (4, 16):
        cut = peak_bytes_a_token(dtype, entropy, TOKENS // parts)
        # What is left beside the chunk is of the hidden states' size, and what a chunk adds to the head's gradient.
        head = WORDS * SIZE * dtype.itemsize / TOKENS
        assert cut < 1.3 * whole / parts + 8 * SIZE + head, (whole, cut)
