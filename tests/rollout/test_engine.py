"""The engine with real vLLM on the CPU."""

from __future__ import annotations

import asyncio

import pytest
import torch

from rollout.engine import Engine, EngineError, EngineSettings, PromptTooLong
from rollout.sampling import Sampling

PROMPT = "Amy has 3 pens. Tom has 2 more pens than Amy.\n"


@pytest.fixture(scope="module")
def engine(tiny_model):
    engine = Engine(EngineSettings(str(tiny_model), max_model_len=128, max_num_seqs=16, kv_cache_gib=0.1))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def models(tiny_model):
    """Two versions of the weights: as they are, and moved."""
    from transformers import AutoModelForCausalLM

    versions = [AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32) for _ in range(2)]
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in versions[1].parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return versions


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
    with pytest.raises(PromptTooLong, match="context of 128"):
        asyncio.run(engine.generate([1] * 128, Sampling(5)))
    generation = asyncio.run(engine.generate([1] * 120, Sampling(50)))
    assert len(generation.token_ids) <= 8


def test_weights_change_between_tokens_and_every_token_is_labelled_with_its_own(engine, models):
    async def go():
        running = [asyncio.create_task(engine.generate(PROMPT, Sampling(90, 1.0, seed=i))) for i in range(12)]
        steps = engine.stats.steps
        while engine.stats.steps < steps + 10:
            await asyncio.sleep(0.002)
        await engine.load_weights(models[1].named_parameters(), 1)
        return await asyncio.gather(*running)

    generations = asyncio.run(go())
    spanning = 0
    for generation in generations:
        versions = generation.versions
        assert versions == sorted(versions)
        spanning += len(set(versions)) == 2
        # Keys and values of older tokens stay those of the weights that made them, so only a token of version 0,
        # or the first that saw a new prompt, can be recomputed with one model alone.
        old = versions.count(0)
        expected = logprobs(models[0], generation.prompt_ids, generation.token_ids)[:old]
        assert generation.logprobs[:old] == pytest.approx(expected, abs=1e-4)
    assert spanning > 0
    assert engine.version == 1


def test_loaded_weights_are_whole_tied_head_included(engine, models):
    async def go(version):
        await engine.load_weights(models[version].named_parameters(), version)
        generation = await engine.generate(PROMPT, Sampling(10, 1.0, seed=1))
        return generation, await engine.score(generation.prompt_ids, generation.token_ids)

    for version in (1, 0):
        generation, scored = asyncio.run(go(version))
        expected = logprobs(models[version], generation.prompt_ids, generation.token_ids)
        assert generation.logprobs == pytest.approx(expected, abs=1e-4)
        assert scored == pytest.approx(expected, abs=1e-4)


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
