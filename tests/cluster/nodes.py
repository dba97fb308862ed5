"""A real Ray cluster on this machine, on ports of its own and with token authentication, and its end."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from tests.ports import free_port

RAY = str(Path(sys.executable).parent / "ray")
STARTS = 3  # of a head: another process may take one of its ports between the question and Ray's use


@dataclass
class Cluster:
    """A head, further nodes, and the token that it wants."""

    address: str
    gcs: str
    folder: Path
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str, cpus: int, agent: int | None = None) -> subprocess.Popen[bytes]:
        """Start a node. ``--block`` makes its processes the children of one that can be ended."""
        log = self.log(len(self.nodes)).open("wb")
        command = [RAY, "start", *arguments, "--block", "--num-cpus", str(cpus), "--num-gpus", "0",
                   "--object-store-memory", str(200 * 2**20), "--disable-usage-stats",
                   # Another cluster on the machine may have the usual one, and a head without an agent takes no jobs.
                   "--dashboard-agent-listen-port", str(agent or free_port())]  # fmt: skip
        self.nodes.append(
            subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        )
        return self.nodes[-1]

    def log(self, place: int) -> Path:
        """What the node at this place of ``nodes`` printed."""
        return self.folder / f"node-{place}.log"

    def join(self, cpus: int) -> subprocess.Popen[bytes]:
        """Start one more node, with a folder of its own as on a machine of its own: a node unpacks a job's files there,
        and removes what it finds at the place."""
        return self.start("--address", self.gcs, "--temp-dir", str(self.folder / f"n{len(self.nodes)}"), cpus=cpus)

    def wait(self) -> None:
        """Return once the head knows every node that was started; until then it has fewer cores than they bring."""
        asked = urllib.request.Request(
            f"{self.address}/api/v0/nodes",
            headers={"Authorization": f"Bearer {Path(self.environment['RAY_AUTH_TOKEN_PATH']).read_text()}"},
        )

        def joined() -> bool:
            with urllib.request.urlopen(asked, timeout=10) as reply:
                found = json.load(reply)["data"]["result"]["result"]
            return sum(node["state"] == "ALIVE" for node in found) == sum(one.poll() is None for one in self.nodes)

        self.until(joined, "the nodes did not join")

    def until(self, found: Callable[[], bool], otherwise: str) -> None:
        """Ask until it is so; a refused connection is no answer. AssertionError when the head ends, or after 90 s."""
        deadline = time.monotonic() + 90
        while True:
            with suppress(OSError):
                if found():
                    return
            assert self.nodes[0].poll() is None, self.log(0).read_text()
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.3)

    def end(self, node: subprocess.Popen[bytes]) -> None:
        """Kill a node and everything on it, as a machine that loses its power."""
        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(node.pid)
            family = [process, *process.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)
        node.wait(timeout=10)


@contextmanager
def cluster(cpus: int) -> Iterator[Cluster]:
    """A head with its job server, ended with everything of it."""
    for left in reversed(range(STARTS)):
        # Ray's sockets have paths of at most 107 characters.
        with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
            made, servers = _prepare(Path(temporary))
            try:
                made.start(
                    "--head", "--node-ip-address", "127.0.0.1", "--port", made.gcs.rpartition(":")[2],
                    "--dashboard-host", "127.0.0.1", "--dashboard-port", made.address.rpartition(":")[2],
                    "--ray-client-server-port", str(servers[0]), "--temp-dir", str(made.folder / "t"),
                    cpus=cpus, agent=servers[1],
                )  # fmt: skip
                try:
                    made.wait()
                    _listening(made, servers)
                except AssertionError:
                    if not left:
                        raise
                    continue
                yield made
                return
            finally:
                for node in reversed(made.nodes):
                    made.end(node)


def _prepare(folder: Path) -> tuple[Cluster, tuple[int, int]]:
    """A cluster without nodes, and the ports of its head's client server and agent."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    token = folder / "token"
    token.write_text(secrets.token_hex(16))
    # An environment that is activated: a job's command finds its interpreter.
    path = f"{Path(RAY).parent}{os.pathsep}{environment.get('PATH', '')}"
    environment |= {"PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    made = Cluster(f"http://127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", folder, environment)
    return made, (free_port(), free_port())


def _listening(made: Cluster, ports: tuple[int, ...]) -> None:
    """Return once all of them answer. They begin seconds after the head's address does, and where the client server
    finds its port taken, the whole head ends."""

    def answers(port: int) -> bool:
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        return True

    for port in ports:
        made.until(partial(answers, port), f"nothing answers at the head's port {port}")
