"""As a budget comes to its end, fewer episodes are in flight, and little is spent beyond it."""

from __future__ import annotations

import asyncio
import random

import pytest

from rollout.solvers.budget_end import BudgetEnd

CALLS = 5


def spend(budget: float, workers: int, *, held: bool) -> tuple[float, int]:
    """Run episodes of about five calls, each of which costs about 1, until the budget is spent, 64 at once over all
    workers: what was spent in the end, and the most in flight."""
    rng = random.Random(7)
    spent, in_flight, most = 0.0, 0, 0

    async def episode() -> None:
        nonlocal spent, in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        for _ in range(rng.randint(CALLS - 3, CALLS + 3)):
            await asyncio.sleep(rng.random() / 1000)
            spent += rng.uniform(0.5, 1.5)
        in_flight -= 1

    async def worker() -> None:
        end = BudgetEnd(lambda: 1 - spent / budget if spent else None)
        limit = asyncio.Semaphore(64 // workers)

        async def job() -> None:
            async with limit, end.episode(ahead=not held):
                if spent < budget:
                    await episode()

        await asyncio.gather(*(job() for _ in range(1000)))

    async def go() -> None:
        await asyncio.gather(*(worker() for _ in range(workers)))

    asyncio.run(go())
    return spent, most


@pytest.mark.parametrize("workers", [1, 4])
def test_near_its_end_a_budget_is_overspent_by_an_episode_or_two_of_each_worker(workers):
    spent, most = spend(1000.0, workers, held=False)
    assert spent > 1000 + 20 * CALLS
    spent, most = spend(1000.0, workers, held=True)
    assert 1000 <= spent < 1000 + 3 * CALLS * workers
    assert most == 64, "far from the end nothing is held back"


def test_without_a_budget_and_with_one_that_is_spent_nobody_waits():
    async def go(left: float | None) -> None:
        end = BudgetEnd(lambda: left)
        async with asyncio.timeout(1), end.episode(), end.episode(), end.episode():
            pass

    for left in (None, 1.0, 0.0, -0.5):
        asyncio.run(go(left))


def test_what_goes_ahead_does_not_wait_and_one_alone_may_always_run():
    async def go() -> list[str]:
        left, begun, finish = [1.0], list[str](), asyncio.Event()
        end = BudgetEnd(lambda: left[0])

        async def run(name: str, *, ahead: bool = False) -> None:
            async with end.episode(ahead=ahead):
                begun.append(name)
                await finish.wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(run("first"))
            group.create_task(run("second"))
            await asyncio.sleep(0)
            left[0] = 0.01
            group.create_task(run("held"))
            group.create_task(run("ahead", ahead=True))
            await asyncio.sleep(0.01)
            assert begun == ["first", "second", "ahead"]
            finish.set()
        return begun

    assert asyncio.run(go())[-1] == "held"
