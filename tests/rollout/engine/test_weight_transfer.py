"""vLLM's weight transfer into a real engine, whose learner dies in the middle of it: nothing is made of half-loaded
weights, and the next push finds an engine that takes it."""

from __future__ import annotations

import asyncio

import pytest
import torch

from conf.schema.engine import InferenceEngine
from rollout.engine.sampling import Sampling
from rollout.engine.vllm_arguments import EngineSettings, prepare_process
from rollout.engine.vllm_engine import Engine, EngineError
from tests.rollout.engine.test_vllm_engine import PROMPT, labelled_logprobs, logprobs, moved

HERE = {"address": "here"}
WAYS = ["nothing came", "half of it came", "a load failed"]


@pytest.fixture(scope="module")
def models(tiny_model):
    return moved(tiny_model, torch.float32, 4)


@pytest.fixture(scope="module")
def transferring(tiny_model, models):
    """An engine that vLLM loads layer by layer, as on a GPU."""
    prepare_process(1)
    from vllm.distributed.weight_transfer import WeightTransferEngineFactory

    from rollout.engine import vllm_arguments
    from tests.rollout.transfer import WEIGHTS, Layerwise

    WeightTransferEngineFactory.register_engine("layerwise", Layerwise)
    # The tied head is named, as vLLM's own trainers do.
    WEIGHTS.update({i: {"lm_head.weight": m.lm_head.weight} | dict(m.named_parameters()) for i, m in enumerate(models)})
    sizes = InferenceEngine(max_model_len=256, max_num_seqs=8, kv_cache_gib=0.1)
    engine = Engine(EngineSettings(str(tiny_model), sizes, transfer="layerwise"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vllm_arguments, "_kept", lambda settings: None)
        # vLLM shares these layers between the engines of a process; the last test leaves this engine's without data.
        patch.setattr("vllm.model_executor.layers.rotary_embedding._ROPE_DICT", {})
        engine.start()
    yield engine
    engine.stop()


def names() -> list[str]:
    """The weights' names, cut off in the middle of a layer by whoever takes half of them."""
    from tests.rollout.transfer import WEIGHTS

    return sorted(WEIGHTS[0])


async def whole_push(engine, version, *, init=True):
    if init:
        await engine.transfer("init", HERE)
    await engine.transfer("start")
    for name in names():
        await engine.transfer("update", {"version": version, "names": [name]})
    await engine.transfer("finish", version)


async def half_push(engine, version, way):
    """A push whose learner dies; return the engine's steps when it began."""
    await engine.transfer("init", HERE)
    await engine.transfer("start")
    steps = engine.stats.steps
    half = names()[: len(names()) // 2]
    assert any("k_proj" in name for name in half)
    assert not any("v_proj" in name for name in half if name.startswith(half[-1].rpartition(".self_attn")[0]))
    if way != "nothing came":
        await engine.transfer("update", {"version": version, "names": half})
    if way == "a load failed":
        with pytest.raises(RuntimeError, match="the learner is gone"):
            await engine.transfer("update", {"version": version, "names": ["broken"]})
    return steps


async def some_running(engine):
    running = [asyncio.create_task(engine.generate(PROMPT, Sampling(150, 1.0, seed=i))) for i in range(4)]
    steps = engine.stats.steps
    while engine.stats.steps < steps + 10:
        await asyncio.sleep(0.001)
    return running


def check_labels(models, generations, last):
    for generation in generations:
        assert generation.versions[0] == 0
        assert generation.versions[-1] == last
        assert set(generation.versions) == {0, last}
        assert generation.logprobs == pytest.approx(labelled_logprobs(models, generation), abs=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after", ["a push", "a load"])
def test_after_a_push_that_died_half_way_the_next_is_taken_whole(transferring, models, way, after):
    engine = transferring

    async def go():
        await whole_push(engine, 0)
        running = await some_running(engine)
        paused = engine.stats.pause_s
        stood = await half_push(engine, 1, way)
        await asyncio.sleep(0.1)
        if after == "a push":
            await engine.transfer("init", HERE)
            await asyncio.sleep(0.1)
            assert engine.stats.steps == stood
            await whole_push(engine, 2, init=False)
        else:
            await engine.transfer("give_up")
            await asyncio.sleep(0.1)
            assert engine.stats.steps == stood
            loaded = await engine.load_weights(models[2].named_parameters(), 2)
            assert loaded.pause_s > 0.2
        assert engine.stats.pause_s > paused + 0.2
        generations = await asyncio.gather(*running)
        new = await engine.generate(PROMPT, Sampling(10, 1.0, seed=1))
        assert new.logprobs == pytest.approx(logprobs(models[2], new.prompt_ids, new.token_ids), abs=1e-4)
        return generations

    check_labels(models, asyncio.run(go()), 2)


def test_a_load_waits_for_a_transfer_and_a_transfer_for_a_load(transferring, models):
    async def go():
        await whole_push(transferring, 0)
        await transferring.transfer("start")
        load = asyncio.create_task(transferring.load_weights(models[3].named_parameters(), 3))
        await asyncio.sleep(0.1)
        assert not load.done()
        for name in names():
            await transferring.transfer("update", {"version": 1, "names": [name]})
        await transferring.transfer("finish", 1)
        await asyncio.gather(load, whole_push(transferring, 2, init=False))
        return await transferring.generate(PROMPT, Sampling(10, 1.0, seed=1))

    new = asyncio.run(go())
    assert set(new.versions) == {2}
    assert new.logprobs == pytest.approx(logprobs(models[2], new.prompt_ids, new.token_ids), abs=1e-4)


def test_the_device_is_waited_for_before_weights_come(transferring, monkeypatch):
    from tests.rollout.transfer import Layerwise

    order = []
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.synchronize", lambda: order.append("synchronize"))
    for name in ("start_weight_update", "update_weights"):
        method = getattr(Layerwise, name)

        def noted(self, *arguments, name=name, method=method):
            order.append(name)
            return method(self, *arguments)

        monkeypatch.setattr(Layerwise, name, noted)
    asyncio.run(whole_push(transferring, 0))
    assert order[:3] == ["synchronize", "start_weight_update", "update_weights"]


def test_an_engine_whose_transfer_cannot_be_ended_stops(transferring, monkeypatch):
    """Its process ends then, and a new one begins with whole weights."""
    from tests.rollout.transfer import Layerwise

    def fail(self):
        raise ValueError("a layer is broken")

    async def go():
        running = await some_running(transferring)
        await half_push(transferring, 1, "half of it came")
        monkeypatch.setattr(Layerwise, "finish_weight_update", fail)
        with pytest.raises(EngineError, match="not finished could not be ended: a layer is broken"):
            await transferring.transfer("give_up")
        return await asyncio.gather(*running, return_exceptions=True)

    assert {type(one) for one in asyncio.run(go())} == {EngineError}
