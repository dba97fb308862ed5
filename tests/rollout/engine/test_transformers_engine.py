"""The engine without vLLM: the model's own tokens, cut and limited as by the other."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer

from conf.schema.engine import InferenceEngine
from rollout.engine.prompt_tokens import encode_completion, encode_prompt
from rollout.engine.sampling import Sampling
from rollout.engine.transformers_engine import PlainEngine
from rollout.engine.vllm_arguments import EngineSettings
from rollout.engine.vllm_engine import PromptTooLong

PROMPT = "Amy has 3 pens. Tom has 2 more pens than Amy.\n"


@pytest.fixture(scope="module")
def engine(tiny_model):
    engine = PlainEngine(EngineSettings(str(tiny_model), InferenceEngine(max_model_len=256)))
    engine.start()
    return engine


def complete(engine, sampling, prompt=PROMPT):
    return asyncio.run(engine.generate(prompt, sampling))


def test_greedy_tokens_are_the_models_own(engine, tiny_model):
    found = complete(engine, Sampling(8))
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    ids = engine.tokenizer.encode(PROMPT)
    for token in found.token_ids:
        with torch.no_grad():
            assert model(torch.tensor([ids])).logits[0, -1].argmax() == token
        ids.append(token)
    assert found.prompt_ids + found.token_ids == ids
    assert (found.finish_reason, found.versions) == ("length", [0] * 8)
    assert found.text == engine.tokenizer.decode(found.token_ids, skip_special_tokens=True)


def test_a_stop_text_ends_a_completion_and_is_no_part_of_it(engine):
    whole = complete(engine, Sampling(12))
    stop = engine.tokenizer.decode(whole.token_ids[5:7])
    found = complete(engine, Sampling(12, stop=("never said", stop)))
    assert found.finish_reason == "stop"
    assert whole.text.startswith(found.text + stop)
    assert len(found.token_ids) <= 7


def test_a_completion_that_is_given_up_ends_at_its_next_token_and_then_frees_the_model(engine, monkeypatch):
    running, most, original = [0], [0], engine._complete

    def counted(*arguments):
        running[0] += 1
        most[0] = max(running[0], most[0])
        try:
            return original(*arguments)
        finally:
            running[0] -= 1

    monkeypatch.setattr(engine, "_complete", counted)

    async def go():
        first = asyncio.create_task(engine.generate(PROMPT, Sampling(200)))
        while not running[0]:
            await asyncio.sleep(0.001)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return running[0], await engine.generate(PROMPT, Sampling(4))

    still, found = asyncio.run(go())
    assert (still, most[0]) == (0, 1)
    assert found.token_ids == complete(engine, Sampling(4)).token_ids


def test_the_end_token_ends_a_completion(engine, monkeypatch):
    third = complete(engine, Sampling(12)).token_ids[2]
    monkeypatch.setattr(engine._model.generation_config, "eos_token_id", [third])
    found = complete(engine, Sampling(12))
    assert third in found.token_ids[:3]
    assert found.token_ids[-1] == third
    assert found.finish_reason == "stop"


def test_a_seed_fixes_a_draw_and_seeds_differ(engine):
    one, again, other = (complete(engine, Sampling(12, 1.0, seed=seed)).token_ids for seed in (5, 5, 6))
    assert one == again != other


def test_draws_follow_the_temperature_untruncated(engine):
    """Of a hot model most tokens are not among the fifty likeliest, at which transformers would cut by itself."""
    found = complete(engine, Sampling(60, 50.0, seed=0))
    with torch.no_grad():
        logits = engine._model(torch.tensor([found.prompt_ids + found.token_ids])).logits[0]
    before = logits[len(found.prompt_ids) - 1 : -1]
    chosen = before.gather(1, torch.tensor(found.token_ids)[:, None])
    assert ((before > chosen).sum(1) >= 50).float().mean() > 0.5


def test_the_log_probabilities_of_a_given_text_are_the_models_own(engine, tiny_model):
    ids = engine.tokenizer.encode(PROMPT)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    for cut in (0, 1, len(ids) - 3, len(ids)):
        expected = []
        for place in range(max(cut, 1), len(ids)):
            with torch.no_grad():
                table = model(torch.tensor([ids[:place]])).logits[0, -1].log_softmax(-1)
            expected.append(table[ids[place]].item())
        found = asyncio.run(engine.logprobs(ids[:cut], ids[cut:]))
        assert found == pytest.approx([0.0] * (cut == 0) + expected, abs=1e-5)
    with pytest.raises(PromptTooLong, match="prompt of 256 tokens, context of 256"):
        asyncio.run(engine.logprobs([1] * 200, [1] * 56))


def test_a_given_text_is_cut_into_tokens_together_with_its_prompt(engine):
    for prompt, completion in (("How many? A:", " 12."), ("How ma", "ny?"), ("", "9"), ("9", ""), ("A:\n", "9")):
        before, after = encode_completion(engine.tokenizer, prompt, completion)
        assert before + after == engine.tokenizer.encode(prompt + completion)
        # No token of the text is left in the prompt.
        assert before == engine.tokenizer.encode(prompt)[: len(before)]
        assert engine.tokenizer.decode(after).endswith(completion)


def test_what_does_not_fit_the_context_is_refused_or_cut(engine, tiny_model):
    room = InferenceEngine(max_model_len=len(engine.tokenizer.encode(PROMPT)) + 3)
    small = PlainEngine(replace(engine.settings, sizes=room))
    small._model, small._tokenizer = engine._model, engine._tokenizer
    assert len(complete(small, Sampling(10)).token_ids) == 3
    with pytest.raises(PromptTooLong, match="context of"):
        complete(small, Sampling(10), PROMPT * 2)


def test_prompts_put_at_once_are_completed_each(engine):
    async def go():
        return await asyncio.gather(*(engine.generate(f"{PROMPT}{n}", Sampling(5)) for n in range(3)))

    assert [found.token_ids for found in asyncio.run(go())] == [
        complete(engine, Sampling(5), f"{PROMPT}{n}").token_ids for n in range(3)
    ]


@pytest.mark.parametrize(
    "setting",
    [
        {"repetition_penalty": 5.0}, {"no_repeat_ngram_size": 3}, {"min_new_tokens": 10}, {"num_beams": 4},
        {"do_sample": True, "temperature": 3.0, "top_k": 5, "top_p": 0.3, "min_p": 0.2},
        {"suppress_tokens": [5, 6, 7]},
        {"bad_words_ids": [[5]]}, {"forced_eos_token_id": 3}, {"max_length": 5}, {"length_penalty": 3.0},
        {"sequence_bias": [[[5], 20.0]]}, {"begin_suppress_tokens": [9]},
        {"exponential_decay_length_penalty": [1, 3.0]},
    ],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
def test_what_the_models_folder_says_of_generation_changes_no_token(engine, tiny_model, tmp_path, setting):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | setting))
    other = PlainEngine(replace(engine.settings, path=str(folder)))
    other.start()
    assert complete(other, Sampling(12)).token_ids == complete(engine, Sampling(12)).token_ids
    drawn = Sampling(12, 1.0, seed=3)
    assert complete(other, drawn).token_ids == complete(engine, drawn).token_ids


def ending(tokenizer):
    """The tokenizer, changed so that it ends every text with its end-of-text token."""
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return tokenizer


def test_a_prompt_ends_without_the_token_that_a_tokenizer_appends(engine, tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    ending(AutoTokenizer.from_pretrained(folder)).save_pretrained(folder)
    other = PlainEngine(replace(engine.settings, path=str(folder)))
    other.start()
    assert other.tokenizer.encode(PROMPT)[-1] == other.tokenizer.eos_token_id
    assert complete(other, Sampling(8)) == complete(engine, Sampling(8))


def test_an_end_token_that_a_prompt_itself_ends_with_stays(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    end = tokenizer.eos_token
    for prompt in ("How many?", f"How many?{end}", f"{end}How many?", ""):
        assert encode_prompt(tokenizer, prompt) == tokenizer.encode(prompt)
    assert encode_prompt(ending(AutoTokenizer.from_pretrained(tiny_model)), "How many?") == tokenizer.encode(
        "How many?"
    )


def test_no_more_is_read_than_the_model_reads(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 24}))
    engine = PlainEngine(EngineSettings(str(folder), InferenceEngine(max_model_len=256)))
    engine.start()
    found = complete(engine, Sampling(40), [5] * 20)
    assert (len(found.token_ids), found.finish_reason) == (4, "length")
    with pytest.raises(PromptTooLong, match="prompt of 24 tokens, context of 24"):
        complete(engine, Sampling(1), [5] * 24)
    with pytest.raises(PromptTooLong):
        asyncio.run(engine.logprobs([5] * 20, [6] * 4))
