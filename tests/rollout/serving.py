"""The misbehaving server on a thread of its own, for programs that ask it from elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.rollout.server import Plan, Server


@contextmanager
def serving(plan: Plan, **options: Any) -> Iterator[Server]:
    """Have the server for the block; ``options`` are those of ``Server``."""
    server, ready, stop = Server(plan, **{"retry_after": "0.2"} | options), threading.Event(), threading.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            while not stop.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield server
    finally:
        stop.set()
        thread.join(10)
