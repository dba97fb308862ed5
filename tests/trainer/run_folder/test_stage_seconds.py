"""Seconds of a run's stages."""

from __future__ import annotations

import asyncio

import pytest

from trainer.run_folder.stage_seconds import StageSeconds


def test_a_checkpoint_within_a_stage_has_the_seconds_so_far_and_the_end_has_all_once(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    seconds, seen = StageSeconds(), []
    seconds.update({"ppo": 10.0})  # of an earlier process

    async def work():
        for _ in range(2):
            now[0] += 3.0
            seconds.count()
            seen.append(dict(seconds))
        now[0] += 1.0
        return "done"

    assert asyncio.run(seconds.timed("ppo", work())) == "done"
    now[0] += 50.0
    seconds.count()  # between stages nothing is counted
    assert seen == [{"ppo": 13.0}, {"ppo": 16.0}]
    assert seconds == {"ppo": pytest.approx(17.0)}


def test_what_fails_took_its_time_too(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    seconds = StageSeconds()

    async def fail():
        now[0] += 2.0
        raise RuntimeError

    with pytest.raises(RuntimeError):
        asyncio.run(seconds.timed("start", fail()))
    assert seconds == {"start": 2.0}
