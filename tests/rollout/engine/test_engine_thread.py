"""Stop an engine, without vLLM, while others wait for it: nobody is left waiting."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from rollout.engine.vllm_engine import Engine, EngineError


class Failing:
    """Fails in its first step, once somebody has put something behind it."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.stepping, self.go_on = error, threading.Event(), threading.Event()

    def has_unfinished_requests(self):
        return True

    def step(self):
        self.stepping.set()
        assert self.go_on.wait(10)
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal access"), SystemExit(1), KeyboardInterrupt()])
def test_what_is_queued_when_the_engine_stops_is_told(error):
    async def go():
        engine = Engine(SimpleNamespace(frozen=False, recompute=False))
        failing = engine._engine = Failing(error)
        engine._thread.submit(engine._go_on)
        assert await asyncio.to_thread(failing.stepping.wait, 10)
        calls = engine.call(lambda _: 1), engine.load_weights([], 1), engine.transfer("start"), engine.prove([])
        asked = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0.05)
        failing.go_on.set()
        async with asyncio.timeout(10):
            found = await asyncio.gather(*asked, return_exceptions=True)
            later = await asyncio.gather(engine.call(lambda _: 1), return_exceptions=True)
        return [*found, *later]

    found = asyncio.run(go())
    assert [type(one) for one in found] == [EngineError] * 5
    assert all("the engine stopped" in str(one) for one in found)
