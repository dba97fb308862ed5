"""Ports of this machine for the servers that tests start."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port that nothing listens on, below those that the system gives to outgoing connections (32768 on Linux): one
    of those can be gone by the time that a server, seconds later, binds it."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
