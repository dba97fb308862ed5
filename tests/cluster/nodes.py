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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

RAY = str(Path(sys.executable).parent / "ray")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Cluster:
    """A head, further nodes, and the token that it wants."""

    address: str
    gcs: str
    folder: Path
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str, cpus: int) -> subprocess.Popen[bytes]:
        """Start a node. ``--block`` makes its processes the children of one that can be ended."""
        log = (self.folder / f"node-{len(self.nodes)}.log").open("wb")
        command = [RAY, "start", *arguments, "--block", "--num-cpus", str(cpus), "--num-gpus", "0",
                   "--object-store-memory", str(200 * 2**20), "--disable-usage-stats",
                   # Another cluster on the machine may have the usual one, and a head without an agent takes no jobs.
                   "--dashboard-agent-listen-port", str(free_port())]  # fmt: skip
        self.nodes.append(
            subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, start_new_session=True)
        )
        return self.nodes[-1]

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
        deadline = time.monotonic() + 90
        while True:
            with suppress(OSError), urllib.request.urlopen(asked, timeout=10) as reply:
                found = json.load(reply)["data"]["result"]["result"]
                if sum(node["state"] == "ALIVE" for node in found) == sum(one.poll() is None for one in self.nodes):
                    return
            assert self.nodes[0].poll() is None, (self.folder / "node-0.log").read_text()
            assert time.monotonic() < deadline, "the nodes did not join"
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
    # Ray's sockets have paths of at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        token = folder / "token"
        token.write_text(secrets.token_hex(16))
        # An environment that is activated: a job's command finds its interpreter.
        path = f"{Path(RAY).parent}{os.pathsep}{environment.get('PATH', '')}"
        environment |= {"PATH": path, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        port, dashboard = free_port(), free_port()
        made = Cluster(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{port}", folder, environment)
        try:
            made.start(
                "--head", "--node-ip-address", "127.0.0.1", "--port", str(port), "--dashboard-host", "127.0.0.1",
                "--dashboard-port", str(dashboard), "--ray-client-server-port", str(free_port()),
                "--temp-dir", str(folder / "t"), cpus=cpus,
            )  # fmt: skip
            made.wait()
            yield made
        finally:
            for node in reversed(made.nodes):
                made.end(node)
