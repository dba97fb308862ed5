"""The engine with real vLLM on the CPU."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from conf.schema.engine import InferenceEngine
from rollout.engine.prompt_tokens import encode_completion
from rollout.engine.sampling import Sampling
from rollout.engine.transformers_engine import PlainEngine
from rollout.engine.vllm_arguments import EngineSettings
from rollout.engine.vllm_engine import Engine, EngineError, PromptTooLong
from rollout.engine.weight_update import WeightMismatch, make_bucket

PROMPT = "Amy has 3 pens. Tom has 2 more pens than Amy.\n"


@pytest.fixture(scope="module")
def engine(tiny_model):
    """An engine with a layout's length for large models; its own reads 256 tokens."""
    sizes = InferenceEngine(max_model_len=4096, max_num_seqs=16, kv_cache_gib=0.1)
    engine = Engine(EngineSettings(str(tiny_model), sizes, prefix_caching=True))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def models(tiny_model):
    """Versions of the weights: as they are, and moved, each in a way of its own."""
    return moved(tiny_model, torch.float32, 4)


def moved(folder, dtype, count):
    from transformers import AutoModelForCausalLM

    versions = [AutoModelForCausalLM.from_pretrained(folder, dtype=dtype) for _ in range(count)]
    torch.manual_seed(1)
    with torch.no_grad():
        for version in versions[1:]:
            for parameter in version.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    return versions


@pytest.fixture
def first_version(engine, models):
    asyncio.run(engine.load_weights(models[0].named_parameters(), 0))


def labelled_logprobs(models, generation) -> list[float]:
    """Return each token's log-probability under the weights of its label. Keys and values stay those of the weights
    that made them; each token is computed from them by its own."""
    from transformers import DynamicCache

    cache, given, expected = DynamicCache(), generation.prompt_ids, []
    for token, version in zip(generation.token_ids, generation.versions, strict=True):
        with torch.no_grad():
            logits = models[version](torch.tensor([given]), past_key_values=cache, use_cache=True).logits
        expected.append(logits[0, -1].log_softmax(-1)[token].item())
        given = [token]
    return expected


def logprobs(model, prompt: list[int], completion: list[int]) -> list[float]:
    with torch.no_grad():
        table = model(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
    return [table[len(prompt) - 1 + i, token].item() for i, token in enumerate(completion)]


def test_logprobs_are_those_of_the_model(engine, models):
    async def go():
        return await asyncio.gather(*(engine.generate(PROMPT, Sampling(20, 1.0, seed=i)) for i in range(8)))

    for generation in asyncio.run(go()):
        expected = logprobs(models[0], generation.prompt_ids, generation.token_ids)
        assert generation.logprobs == pytest.approx(expected, abs=1e-4)
        assert set(generation.versions) == {0}


def test_the_engine_without_vllm_says_the_same(engine, models, first_version, tiny_model):
    plain = PlainEngine(EngineSettings(str(tiny_model), InferenceEngine(max_model_len=256)))
    plain.start()

    async def go():
        sampling = Sampling(20, stop=("7",))
        return await engine.generate(PROMPT, sampling), await plain.generate(PROMPT, sampling)

    one, other = asyncio.run(go())
    assert (one.prompt_ids, one.text, one.finish_reason) == (other.prompt_ids, other.text, other.finish_reason)
    assert one.token_ids == other.token_ids


def test_the_log_probability_of_a_given_answer_is_the_models_whatever_is_in_the_prefix_cache(
    engine, models, first_version
):
    asked = [encode_completion(engine.tokenizer, PROMPT * repeats, " 5.") for repeats in (1, 2, 6)]

    async def go():
        await asyncio.gather(*(engine.generate(before, Sampling(2)) for before, _ in asked))
        return await asyncio.gather(*(engine.logprobs(*each) for each in asked))

    for (before, after), found in zip(asked, asyncio.run(go()), strict=True):
        assert found == pytest.approx(logprobs(models[0], before, after), abs=1e-4)
    with pytest.raises(PromptTooLong, match="prompt of 256 tokens, context of 256"):
        asyncio.run(engine.logprobs([1] * 250, [1] * 6))


def test_a_seed_fixes_a_sample_and_seeds_differ(engine):
    async def go():
        return [await engine.generate(PROMPT, Sampling(12, 1.0, seed=seed)) for seed in (5, 5, 6)]

    one, again, other = asyncio.run(go())
    assert one.token_ids == again.token_ids != other.token_ids


def test_stop_texts_end_a_completion(engine):
    async def go():
        free = await engine.generate(PROMPT, Sampling(30))
        stop = free.text[5:7]
        return free, await engine.generate(PROMPT, Sampling(30, stop=(stop,))), stop

    free, stopped, stop = asyncio.run(go())
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.finish_reason == "stop"


def test_a_prompt_that_leaves_no_room_is_refused(engine):
    with pytest.raises(PromptTooLong, match="context of 256"):
        asyncio.run(engine.generate([1] * 256, Sampling(5)))
    generation = asyncio.run(engine.generate([1] * 248, Sampling(50)))
    assert len(generation.token_ids) <= 8


async def changed_three_times(engine, models):
    """Completions into which versions 1, 2 and 3 fell, most with a beginning in common that is long enough for the
    prefix cache (a block is 128 tokens), and one that began after."""
    ids = (engine.tokenizer.encode(PROMPT) * 20)[:140]
    prompts = [ids + ids[: i // 4] if i % 4 else ids[: 20 + i] for i in range(16)]
    running = [asyncio.create_task(engine.generate(p, Sampling(90, 1.0, seed=i))) for i, p in enumerate(prompts)]
    for version in (1, 2, 3):
        steps = engine.stats.steps
        while engine.stats.steps < steps + 12:
            await asyncio.sleep(0.001)
        await engine.load_weights(models[version].named_parameters(), version)
    return await asyncio.gather(*running), await engine.generate(prompts[1], Sampling(10, 1.0, seed=1))


def check_versions(generations):
    assert all(a <= b for generation in generations for a, b in pairwise(generation.versions))
    assert sum(len(set(generation.versions)) == 4 for generation in generations) > 4


def test_every_token_is_of_the_weights_it_is_labelled_with(engine, models, first_version):
    generations, after = asyncio.run(changed_three_times(engine, models))
    check_versions(generations)
    for generation in generations:
        assert generation.logprobs == pytest.approx(labelled_logprobs(models, generation), abs=1e-4)
    # Nor does a prompt that is in the prefix cache go on from what older weights made of it.
    assert after.logprobs == pytest.approx(logprobs(models[3], after.prompt_ids, after.token_ids), abs=1e-4)
    assert engine.version == 3


def test_what_is_in_flight_can_be_recomputed_with_the_new_weights(engine, models, first_version, monkeypatch):
    monkeypatch.setattr(engine, "settings", replace(engine.settings, recompute=True))
    generations, _ = asyncio.run(changed_three_times(engine, models))
    check_versions(generations)
    for generation in generations:
        prompt, completion = generation.prompt_ids, generation.token_ids
        tables = [logprobs(model, prompt, completion) for model in models]
        expected = [tables[version][i] for i, version in enumerate(generation.versions)]
        assert generation.logprobs == pytest.approx(expected, abs=1e-4)


def test_loaded_weights_are_whole_tied_head_included(engine, models):
    async def go(version):
        times = await engine.load_weights(models[version].named_parameters(), version, verify=True)
        generation = await engine.generate(PROMPT, Sampling(10, 1.0, seed=1))
        return times, generation, await engine.logprobs(generation.prompt_ids, generation.token_ids)

    for version in (1, 0):
        times, generation, scored = asyncio.run(go(version))
        expected = logprobs(models[version], generation.prompt_ids, generation.token_ids)
        assert generation.logprobs == pytest.approx(expected, abs=1e-4)
        assert scored == pytest.approx(expected, abs=1e-4)
        assert 0 < times.pause_s <= engine.stats.pause_s


def entries(model, names=""):
    return make_bucket([pair for pair in model.named_parameters() if names in pair[0]], digests=True).entries


def test_what_is_loaded_can_be_compared_bitwise_with_what_was_sent(engine, models):
    async def go():
        await engine.load_weights(models[1].named_parameters(), 1)
        await engine.prove(entries(models[1]))
        # Of a merged weight every part is compared on its own.
        for part in ("k_proj", "up_proj", "norm", "embed"):
            with pytest.raises(WeightMismatch, match=rf"^model\.[a-z0-9_.]*{part}[a-z0-9_.]* was loaded as other"):
                await engine.prove(entries(models[2], part))

    asyncio.run(go())


def test_part_of_the_weights_can_be_loaded_and_the_rest_stays(engine, models, first_version):
    """What an adapter changes, q_proj without the k_proj that it is merged with among it."""
    from copy import deepcopy

    mixed = deepcopy(models[0])
    changed = {name: value for name, value in models[2].named_parameters() if "q_proj" in name or "down" in name}
    mixed.load_state_dict(changed, strict=False)

    async def go():
        await engine.load_weights(changed.items(), 7, verify=True)
        await engine.prove(entries(mixed))
        return await engine.generate(PROMPT, Sampling(10, 1.0, seed=1))

    generation = asyncio.run(go())
    assert set(generation.versions) == {7}
    expected = logprobs(mixed, generation.prompt_ids, generation.token_ids)
    assert generation.logprobs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("part", ["q_proj", "embed_tokens", "packed"])
def test_weights_that_are_damaged_on_the_way_in_are_found(engine, models, first_version, monkeypatch, part):
    from rollout.engine import cpu_reload

    model = engine._loader._model
    load, pack_weight = model.load_weights, cpu_reload.packed

    def damaged_load(named):
        return load([(name, value + 1e-3 if part in name else value) for name, value in named])

    async def go():
        with pytest.raises(WeightMismatch, match=part):
            await engine.load_weights(models[1].named_parameters(), 1, verify=True)
        return await engine.generate(PROMPT, Sampling(10, 1.0, seed=1))

    monkeypatch.setattr(model, "load_weights", damaged_load)
    monkeypatch.setattr(cpu_reload, "packed", lambda w: pack_weight(w + 1e-3 if part == "packed" else w))
    generation = asyncio.run(go())
    assert engine.version == 0
    if part != "embed_tokens":
        # What is found before generation pauses is never used.
        expected = logprobs(models[0], generation.prompt_ids, generation.token_ids)
        assert generation.logprobs == pytest.approx(expected, abs=1e-4)
        assert set(generation.versions) == {0}


def test_where_nothing_can_be_packed_the_weights_in_use_stay_until_the_pause(
    engine, models, first_version, monkeypatch
):
    """oneDNN packs bfloat16 on some machines only."""
    from rollout.engine.cpu_reload import Loader

    def prove(version):
        for entry in entries(models[version]):
            loader.prove_entry(entry)

    model = engine._loader._model
    with monkeypatch.context() as patch:
        for layer in model.modules():
            if hasattr(layer, "cpu_linear"):
                patch.setattr(layer, "cpu_linear", torch.nn.functional.linear)
        loader = Loader(model)
        commit = loader.stage(models[1].named_parameters(), verify=True)
        prove(0)
        commit()
        prove(1)
    engine._loader.stage(models[0].named_parameters())()


@pytest.fixture(scope="module")
def transferring(tiny_model):
    """A bfloat16 engine, with a backend of vLLM's weight transfer that keeps what it is asked."""
    from rollout.engine.vllm_arguments import prepare_process

    prepare_process(1)
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    from tests.rollout.transfer import Recorder

    WeightTransferEngineFactory.register_engine("recorder", Recorder)
    sizes = InferenceEngine(max_model_len=128, max_num_seqs=8, kv_cache_gib=0.1)
    settings = EngineSettings(str(tiny_model), sizes, dtype="bfloat16", transfer="recorder")
    engine = Engine(settings)
    engine.start()
    yield engine
    engine.stop()


def test_bfloat16_weights_arrive_bitwise(transferring, tiny_model):
    models = moved(tiny_model, torch.bfloat16, 2)

    async def go():
        await transferring.load_weights(models[1].named_parameters(), 1, verify=True)
        await transferring.prove(entries(models[1]))
        return await transferring.generate(PROMPT, Sampling(10, 1.0, seed=1))

    generation = asyncio.run(go())
    expected = logprobs(models[1].float(), generation.prompt_ids, generation.token_ids)
    assert generation.logprobs == pytest.approx(expected, abs=0.1)


def test_from_start_to_finish_of_a_transfer_nothing_is_generated_and_requests_stay(transferring):
    from tests.rollout.transfer import CALLS

    async def go():
        running = [asyncio.create_task(transferring.generate(PROMPT, Sampling(90, 1.0, seed=i))) for i in range(6)]
        steps = transferring.stats.steps
        while transferring.stats.steps < steps + 10:
            await asyncio.sleep(0.001)
        await transferring.transfer("init", {"address": "here"})
        await transferring.transfer("start")
        stood = transferring.stats.steps
        await asyncio.sleep(0.1)
        await transferring.transfer("update", {"names": ["a"]})
        assert transferring.stats.steps == stood
        assert transferring.in_flight == 6
        paused = transferring.stats.pause_s
        await transferring.transfer("finish", 5)
        assert transferring.stats.pause_s > paused + 0.1
        return await asyncio.gather(*running)

    generations = asyncio.run(go())
    assert CALLS == ["shutdown", ("init", "here"), "start", ("update", ["a"]), "finish"]
    for generation in generations:
        assert generation.versions[-1] == 5 > generation.versions[0]
        assert len(generation.token_ids) == len(generation.versions)


def test_a_request_that_is_given_up_leaves_the_engine_and_the_others_go_on(engine):
    async def go():
        given_up = asyncio.create_task(engine.generate(PROMPT, Sampling(90, 1.0, seed=1)))
        other = asyncio.create_task(engine.generate(PROMPT, Sampling(60, 1.0, seed=2)))
        steps = engine.stats.steps
        while engine.stats.steps < steps + 5:
            await asyncio.sleep(0.002)
        given_up.cancel()
        never_begun = asyncio.create_task(engine.generate(PROMPT, Sampling(90)))
        await asyncio.sleep(0)
        never_begun.cancel()
        await asyncio.gather(given_up, never_begun, return_exceptions=True)
        await engine.call(lambda _: None)
        running = engine.in_flight
        return given_up.cancelled(), never_begun.cancelled(), running, await other

    first, second, running, generation = asyncio.run(go())
    assert (first, second, running) == (True, True, 1)
    assert generation.token_ids
    assert asyncio.run(engine.generate(PROMPT, Sampling(5))).token_ids, "the engine goes on"


def test_what_waits_is_told_when_the_engine_stops(tiny_model, engine):
    async def go():
        waiting = asyncio.create_task(engine.generate(PROMPT, Sampling(80, 1.0, seed=3)))
        await asyncio.sleep(0.01)
        await asyncio.to_thread(engine.stop)
        with pytest.raises(EngineError):
            await waiting
        with pytest.raises(EngineError):
            await engine.generate(PROMPT, Sampling(5))

    asyncio.run(go())


def test_an_error_in_the_engine_is_told_to_all_that_wait_and_come(transferring, monkeypatch):
    def fail():
        raise ValueError("no memory left")

    async def go():
        waiting = [asyncio.create_task(transferring.generate(PROMPT, Sampling(80, 1.0, seed=i))) for i in range(3)]
        while transferring.in_flight < 3:
            await asyncio.sleep(0.001)
        monkeypatch.setattr(transferring._engine, "step", fail)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(error) for error in found if isinstance(error, EngineError)] == [
            "the engine stopped: no memory left"
        ] * 3
        for call in (transferring.generate(PROMPT, Sampling(5)), transferring.prove(())):
            with pytest.raises(EngineError, match="no memory left"):
                await call

    asyncio.run(go())
