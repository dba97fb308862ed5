"""Start, join and leave a Ray cluster."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import signal
import socket
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import ray

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.places import CHECKOUT, ROOT
from conf.schema.role_sizes import role_sizes
from rollout.signals import Stopped
from trainer.cluster.placement import Node, shortage

# Set by Ray for the process of a submitted job.
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# With it an actor that reserves no GPU sees none; without it Ray shows it all of them.
HIDE_GPUS = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"
CONNECT_TIMEOUT_S = 10
# What Ray adds to its folder, and to that a process's id, for the longest name of a socket, for which Linux has 107
# bytes.
SOCKET_NAME = "/ray/session_2026-01-01_00-00-00_000000_{}/sockets/plasma_store"
SOCKET_BYTES = 107
SHORT_FOLDER = "/tmp"
# Linux's option that makes a process the parent of those below it that lose theirs.
SUBREAPER = 36
# For processes to end by themselves, and then when they are told to.
ENDS_WITHIN_S = 3.0
# The processes of the cluster that was started here.
_SEEN: set[psutil.Process] = set()


def start_ray(config: Config) -> None:
    """Start Ray here, or join the configured cluster, unless that was done; workers import the project from its root.

    Call it on the main thread: Linux ends Ray's own processes when the thread that started them does, and a thread of
    a pool does so with its event loop. Raises ConnectionError if there is no cluster to join.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = config.cluster
    if cluster.address is not None:
        _answers(cluster.address)
        arguments: dict[str, Any] = {"address": cluster.address}
    else:
        choose_folder()
        adopt_orphans()
        # Ray would start a process a core beforehand, without the environment that all actors have, so none can use it.
        os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
        if not cluster.dashboard:
            # Ray would remember the last 100,000 calls, in 150 MiB, which only a dashboard shows. So few are there
            # before a run is long.
            os.environ.setdefault("RAY_task_events_max_num_task_in_gcs", "500")
        # Ray would otherwise join a cluster that somebody else started on this machine.
        arguments = {"address": "local", "num_cpus": cluster.num_cpus or os.cpu_count()}
        arguments |= {"include_dashboard": cluster.dashboard}
        arguments |= {"object_store_memory": int(cluster.object_store_gib * 2**30)}
        arguments |= {"dashboard_host": cluster.dashboard_host}
    # A job's workers have the copy of the project that came with it, and what the job's environment names.
    in_job = cluster.address is not None and JOB_VARIABLE in os.environ
    folders = "" if in_job else import_folders()
    variables = {"PYTHONPATH": folders} if folders else {}
    environment = {"env_vars": variables | {HIDE_GPUS: "1"}}
    # Ray sets a handler of its own, which would end the process at once whenever the signal comes.
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**arguments, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)
    except SystemExit as stopped:
        stop_ray(config)
        raise (stopped if isinstance(stopped, Stopped) else Stopped(signal.SIGTERM)) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    note_processes(config)


def adopt_orphans() -> None:
    """Keep all processes that this one's start below it, so that ``stop_ray`` finds them: a compiler that an actor
    started outlives the actor, in a process group of its own, and would otherwise belong to the system."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def choose_folder() -> None:
    """Have Ray put its sockets where their names are not too long: into /tmp, where TMPDIR is too long and nobody chose
    another folder. Raises ConfigError if somebody did and that is too long."""
    room = SOCKET_BYTES - len(SOCKET_NAME.format(os.getpid()))
    chosen = os.environ.get("RAY_TMPDIR")
    if chosen is not None and len(os.fsencode(chosen)) > room:
        raise ConfigError(
            f"RAY_TMPDIR: '{chosen}' is too long for the names of Ray's sockets; allowed: up to {room} bytes, as "
            f"RAY_TMPDIR={SHORT_FOLDER}"
        )
    if chosen is None and len(os.fsencode(os.environ.get("TMPDIR", ""))) > room:
        os.environ["RAY_TMPDIR"] = SHORT_FOLDER


def import_folders() -> str:
    """Return a PYTHONPATH with which an actor imports what this process does: the project, unless it is installed, and
    the user's own folders; what the interpreter brings is left out."""
    installed = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    found = [os.path.abspath(path) for path in ([str(ROOT)] if CHECKOUT else []) + sys.path]
    own = (path for path in found if os.path.isdir(path) and not path.startswith(installed))
    return os.pathsep.join(dict.fromkeys(own))


def _answers(address: str) -> None:
    """Raise ConnectionError if nothing answers at HOST:PORT, for which Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise ConnectionError(f"nothing answers there ({error.strerror or error})") from None


def available(config: Config) -> list[Node]:
    """Return the nodes that a run would have: this machine, or those of the cluster, which is joined to see them.

    Raises ConnectionError if there is no cluster to join, ConfigError if none can be started here.
    """
    if config.cluster.address is not None:
        start_ray(config)
        return cluster_nodes()
    choose_folder()
    gpus = 0
    if any(role.gpus for role in role_sizes(config)):
        import torch

        gpus = torch.cuda.device_count()
    return [Node(config.cluster.num_cpus or os.cpu_count() or 1, gpus)]


def room(configs: Sequence[Config], most: int) -> tuple[int, str | None]:
    """Return how many runs with any of these configurations have room at once, from 1 to ``most``, and if it is fewer
    than that, in one line what there is too little of. A cluster that cannot be joined is left for the runs to say."""
    if most == 1:
        return 1, None
    local = configs[0].cluster.address is None
    try:
        nodes = available(configs[0])
    except (ConnectionError, ray.exceptions.RayError, RuntimeError):
        return most, None
    finally:
        if not local:
            ray.shutdown()
    if local:  # a cluster for several runs offers as many cores as they reserve
        nodes = [Node(math.inf, node.gpus) for node in nodes]
    where = "this machine" if local else "the cluster"

    def lacking(count: int) -> str | None:
        return next((said for one in configs if (said := shortage(one, nodes, where, at_once=count))), None)

    found = next((count for count in range(most, 1, -1) if lacking(count) is None), 1)
    return found, lacking(most) if found < most else None


def cluster_nodes() -> list[Node]:
    """Return the CPUs and GPUs of every live node of the joined cluster."""
    totals = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(total.get("CPU", 0), total.get("GPU", 0)) for total in totals]


def note_processes(config: Config) -> None:
    """Remember the present processes of a cluster that was started here, for ``stop_ray``; none of one that was
    joined."""
    if config.cluster.address is None:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has ended since
                if "wandb" not in process.name():
                    _SEEN.add(process)


def stop_ray(config: Config) -> None:
    """Leave the cluster; one that was started here ends with all that its processes started: Ray itself lets its agents
    linger, and whatever an actor had running."""
    note_processes(config)
    ray.shutdown()
    for end in (psutil.Process.terminate, psutil.Process.kill):
        note_processes(config)
        _, alive = psutil.wait_procs(_SEEN, timeout=ENDS_WITHIN_S)
        _SEEN.intersection_update(alive)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                end(process)
    _SEEN.clear()


@contextmanager
def ray_session(config: Config) -> Iterator[None]:
    """Have Ray for the block: see ``start_ray`` and ``stop_ray``."""
    try:
        start_ray(config)
        yield
    finally:
        stop_ray(config)
