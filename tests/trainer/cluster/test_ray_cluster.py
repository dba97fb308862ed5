"""The folder of Ray's sockets, whose names Linux limits, what an actor sees of the GPUs, and what is noted of a run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from ray._private.utils import set_visible_accelerator_ids

from conf.schema.base import ConfigError
from conf.schema.places import ROOT
from launch.compose import compose
from trainer.cluster import ray_cluster
from trainer.cluster.ray_cluster import (
    HIDE_GPUS,
    SOCKET_BYTES,
    SOCKET_NAME,
    _answers,
    available,
    choose_folder,
    start_ray,
)

LONG = "/scratch/" + "x" * 71


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "")  # so that it is as before when the test is over
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", "/tmp")


@pytest.mark.parametrize("folder", [LONG, "/ä" * 40])
def test_where_tmpdir_is_too_long_for_sockets_ray_has_another_folder(monkeypatch, folder):
    monkeypatch.setenv("TMPDIR", folder)
    choose_folder()
    assert os.environ["RAY_TMPDIR"] == "/tmp"
    assert os.environ["TMPDIR"] == folder


def test_where_tmpdir_is_short_enough_nothing_is_chosen():
    choose_folder()
    assert "RAY_TMPDIR" not in os.environ
    assert len("/tmp" + SOCKET_NAME.format(os.getpid())) <= SOCKET_BYTES


def test_a_folder_that_was_chosen_is_kept_or_refused_before_anything_starts(monkeypatch):
    monkeypatch.setenv("TMPDIR", LONG)
    monkeypatch.setenv("RAY_TMPDIR", "/dev/shm")
    choose_folder()
    assert os.environ["RAY_TMPDIR"] == "/dev/shm"
    monkeypatch.setenv("RAY_TMPDIR", LONG)
    with pytest.raises(ConfigError, match=r"^RAY_TMPDIR: .* is too long .*RAY_TMPDIR=/tmp$"):
        available(compose([]))


def test_a_run_of_ones_own_joins_no_cluster_that_is_there_already(monkeypatch):
    given = {}
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.setattr(ray_cluster.ray, "init", lambda **arguments: given.update(arguments))
    ray_cluster.start_ray(compose([]))
    assert given["address"] == "local"


def test_an_actor_that_reserves_no_gpu_sees_none(monkeypatch):
    """Ray shows it all of them unless its processes have this variable, which those of a run do."""
    started = []
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **arguments: started.append(arguments))
    start_ray(compose(["cluster.num_cpus=1"]))
    variables = started[0]["runtime_env"]["env_vars"]
    assert variables[HIDE_GPUS] == "1"

    reserved = SimpleNamespace(get_accelerator_ids=lambda: {"GPU": []})
    monkeypatch.setattr("ray.get_runtime_context", lambda: reserved)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv(HIDE_GPUS, variables[HIDE_GPUS])
    set_visible_accelerator_ids()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_process_that_ends_while_it_is_noted_is_left_out(monkeypatch):
    ended = subprocess.Popen(["true"])
    process = psutil.Process(ended.pid)
    ended.wait()
    monkeypatch.setattr(psutil.Process, "children", lambda self, recursive: [process])
    monkeypatch.setattr(ray_cluster, "_SEEN", seen := set())
    ray_cluster.note_processes(compose([]))
    assert seen == set()


# An actor that is killed while it compiles: its compiler is in a process group of its own, as those of ninja are.
STOPPED_RUN = """
import subprocess, sys
from types import SimpleNamespace
import psutil
from trainer.cluster import ray_cluster
ray_cluster.ENDS_WITHIN_S = 0.3
ray_cluster.adopt_orphans()
compiling = "import subprocess; print(subprocess.Popen(['sleep', '60'], process_group=0).pid, flush=True); input()"
actor = subprocess.Popen([sys.executable, "-c", compiling], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
compiler = psutil.Process(int(actor.stdout.readline()))
actor.kill()
actor.wait()
for address in ("auto", None):
    ray_cluster.stop_ray(SimpleNamespace(cluster=SimpleNamespace(address=address)))
    print(address, compiler.is_running())
"""


def test_a_compiler_whose_actor_was_killed_ends_with_the_cluster_that_the_run_started():
    done = subprocess.run([sys.executable, "-c", STOPPED_RUN], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "auto True\nNone False\n"


def test_an_address_of_ipv6_is_asked_without_its_brackets():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        _answers(f"[::1]:{server.getsockname()[1]}")
