"""Why labels of tokens are true on a GPU too: with a batch in flight at a load, vLLM's default there, they are not."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from rollout.engine.sampling import Sampling
from tests.rollout.engine.test_vllm_engine import engine, first_version, logprobs, models  # noqa: F401 - fixtures


@pytest.mark.parametrize("queue", [False, True])
def test_labels_are_true_because_no_batch_is_in_flight_at_a_load(engine, models, first_version, queue):  # noqa: F811 - fixtures
    """With asynchronous scheduling, vLLM's default on GPUs, it keeps a batch between two steps, whose tokens would get
    the new version. The CPU has none of that, so that it is put in by hand here."""
    core = engine._engine.engine_core.engine_core
    assert engine._engine.vllm_config.max_concurrent_batches == 1
    assert core.batch_queue is None

    def switch(on):
        core.batch_queue_size, core.batch_queue = (2, deque(maxlen=2)) if on else (1, None)
        core.step_fn = core.step_with_batch_queue if on else core.step

    async def go():
        await engine.call(lambda _: switch(queue))
        running = [asyncio.create_task(engine.generate([5 + i, 9, 11], Sampling(40, seed=i))) for i in range(8)]
        steps = engine.stats.steps
        while engine.stats.steps < steps + 12:
            await asyncio.sleep(0.001)
        load = engine._stage(models[1].named_parameters(), False)

        def between_tokens(vllm):
            # Every other batch in the queue is empty, since a request's next token waits for the last.
            while queue and not any(batch.total_num_scheduled_tokens for _, batch, _ in core.batch_queue):
                assert not any(output.finished for output in vllm.step())
            load(vllm)
            engine._switch_version(vllm, 1)

        await engine.call(between_tokens)
        found = await asyncio.gather(*running)
        await engine.call(lambda _: switch(False))
        return found

    late = 0
    for generation in asyncio.run(go()):
        first = generation.versions.index(1)
        table = logprobs(models[0], generation.prompt_ids, generation.token_ids)
        late += generation.logprobs[first] == pytest.approx(table[first], abs=1e-4)
    assert late == (8 if queue else 0)
