"""Requests and tokens within a sliding window."""

from __future__ import annotations

import asyncio
import itertools
import random
import time

import pytest

from rollout.solvers.rate_limits import Paused, RateLimits


def most(permits, window_s):
    """The most requests and tokens that began within any window."""
    counts = [
        (len(inside), sum(permit.tokens for permit in inside))
        for first in permits
        if (inside := [permit for permit in permits if first.at <= permit.at < first.at + window_s])
    ]
    return max(count for count, _ in counts), max(tokens for _, tokens in counts)


async def many(limits, tokens, settle=None):
    async def one(count):
        permit = await limits.admit(count)
        await asyncio.sleep(0.001)
        if settle is not None:
            limits.settle(permit, settle(count))
        return permit

    return await asyncio.gather(*(one(count) for count in tokens))


def test_no_window_holds_more_requests_than_allowed():
    permits = asyncio.run(many(RateLimits(10, None, 0.1), [1] * 45))
    assert most(permits, 0.1)[0] == 10
    assert max(p.at for p in permits) - min(p.at for p in permits) < 5.0


def test_no_window_holds_more_tokens_than_allowed_whatever_was_reserved():
    rng = random.Random(0)
    wanted = [rng.randint(1, 60) for _ in range(80)]
    permits = asyncio.run(many(RateLimits(None, 200, 0.05), wanted, settle=lambda count: count // 2))
    assert [permit.tokens for permit in permits] == [count // 2 for count in wanted]
    assert most(permits, 0.05)[1] <= 200


def test_they_begin_in_the_order_in_which_they_came_however_large():
    permits = asyncio.run(many(RateLimits(None, 100, 0.02), [10, 90, 100, 5, 80, 95]))
    assert [p.at for p in permits] == sorted(p.at for p in permits)


def test_what_is_not_used_lets_the_next_begin_at_once():
    async def go():
        limits = RateLimits(None, 100, 30.0)
        permit = await limits.admit(90)
        waiting = asyncio.create_task(limits.admit(50))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        limits.settle(permit, 20)
        async with asyncio.timeout(10):
            await waiting

    asyncio.run(go())


def test_one_that_alone_exceeds_the_limit_is_not_kept_for_ever():
    async def go():
        limits = RateLimits(None, 10, 0.05)
        async with asyncio.timeout(10):
            return [await limits.admit(1000) for _ in range(3)]

    times = [permit.at for permit in asyncio.run(go())]
    assert all(later - first >= 0.05 for first, later in itertools.pairwise(times))


def test_a_pause_holds_and_is_never_shortened():
    async def go():
        limits = RateLimits(None, None)
        limits.pause(0.1)
        limits.pause(0.01)
        began = time.monotonic()
        await limits.admit(1)
        return time.monotonic() - began

    assert 0.1 <= asyncio.run(go()) < 5.0


def test_a_callers_time_is_up_also_where_something_is_given_back_just_then():
    async def go():
        limits = RateLimits(None, 100, 5.0)
        permit = await limits.admit(90)
        waiting = asyncio.create_task(limits.admit(100))
        await asyncio.sleep(0.01)
        limits.settle(permit, 80)
        waiting.cancel()  # in the same iteration of the loop
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(2):
                await waiting

    asyncio.run(go())


def test_one_who_gives_up_waiting_leaves_the_line_open():
    async def go():
        limits = RateLimits(1, None, 0.1)
        await limits.admit(1)
        gone = asyncio.create_task(limits.admit(1))
        await asyncio.sleep(0.01)
        gone.cancel()
        async with asyncio.timeout(10):
            await limits.admit(1)

    asyncio.run(go())


def test_a_pause_that_is_too_long_is_not_waited_for_whenever_it_came():
    async def go():
        limits = RateLimits(1, None, 30.0)
        await limits.admit(1)
        waiting = [asyncio.create_task(limits.admit(1, 5.0)) for _ in range(3)]
        await asyncio.sleep(0.01)
        limits.pause(60.0, "busy")
        limits.pause(1.0, "no")
        found = await asyncio.gather(*waiting, limits.admit(1, 5.0), return_exceptions=True)
        assert {(type(each), str(each)) for each in found} == {
            (Paused, "busy; it asked for a pause that lasts 60 s more")
        }

    asyncio.run(asyncio.wait_for(go(), 5.0))
