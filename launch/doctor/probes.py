"""Look at the machine for the doctor: each function finds facts and hands them to its check.

Libraries are imported where they are used, since an environment that lacks them is one of the things to be found.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from conf.schema.places import ROOT
from launch.doctor import checks
from launch.doctor.checks import Finding
from launch.wandb_key import find_key

if TYPE_CHECKING:
    from conf.schema.config import Config
    from conf.schema.solver import OpenAISolver as OpenAISettings
    from conf.schema.solver import SingleSolver

GIB = 2**30
WAIT_S = 3.0
ANSWER_S = 20.0
# Those that the head of a Ray cluster takes where nobody chooses others: cluster, job server, client server, agent.
HEAD_PORTS = (6379, 8265, 10001, 52365)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def python_version() -> Finding:
    """Check the interpreter."""
    return checks.python_version(sys.version_info[:2])


def lock() -> Finding:
    """Check the installed packages against the lock file that they are nearest to."""
    # The first of a name counts, as for an import: setuptools puts copies of packages at the path's end.
    found_in_order = [found for found in importlib.metadata.distributions() if found.name]
    installed = {_plain(found.name): found.version for found in reversed(found_in_order)}
    locks = {
        str(file.relative_to(ROOT)): dict(re.findall(r"^([\w.-]+)==(\S+)", file.read_text(), re.MULTILINE))
        for file in sorted((ROOT / "requirements").glob("*.lock"))
    }
    if not locks:
        return Finding(checks.OK, "packages", "the project is installed without its lock files")

    def differences(name: str) -> int:
        return sum(installed.get(package) != version for package, version in locks[name].items())

    name = min(locks, key=differences)
    return checks.lock(name, locks[name], installed)


def _plain(name: str) -> str:
    """Return a package's name as registries compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def compiler(config: Config | None) -> Finding:
    """Check the C++ compiler."""
    command = os.environ.get("CXX", "c++")
    needed = config is None or (config.cluster.address is None and config.learner.gpus_per_rank == 0)
    headers = Path(sysconfig.get_path("include"), "Python.h").is_file()
    return checks.compiler(command, shutil.which(command) is not None, headers, needed)


def memory() -> Finding:
    """Check the memory: of the machine, and of the container or job that this process is in."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    free = [int(found[1]) / 2**20] if found else []
    root, own = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
    group = re.search(r"^0::/(.*)$", own.read_text() if own.is_file() else "", re.MULTILINE)
    return checks.memory(min([*free, *left_by_groups(root, group[1] if group else "")], default=0.0))


def left_by_groups(root: Path, group: str) -> list[float]:
    """Return the GiB that a control group and those above it have left, of each that has a limit: that of a job may be
    far above the group of its step."""
    folder = root / group
    left = [left_by_group(one) for one in (folder, *folder.parents) if one.is_relative_to(root)]
    return [gib for gib in left if gib is not None]


def left_by_group(folder: Path) -> float | None:
    """Return the GiB that a control group has left, with caches of files as free; None if it has no limit."""
    limit, used = (_number(folder / name) for name in ("memory.max", "memory.current"))
    if limit is None or used is None:
        return None
    stat = folder / "memory.stat"
    cached = re.search(r"^inactive_file (\d+)$", stat.read_text() if stat.is_file() else "", re.MULTILINE)
    return (limit - used + (int(cached[1]) if cached else 0)) / GIB


def _number(file: Path) -> int | None:
    """Return the number in a file; None where there is none."""
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def shared_memory(config: Config | None) -> Finding:
    """Check /dev/shm."""
    wanted = config.cluster.object_store_gib if config else 0.5
    folder = Path("/dev/shm")
    return checks.shared_memory(shutil.disk_usage(folder).free / GIB if folder.is_dir() else None, wanted)


def disk(config: Config | None) -> Finding:
    """Check the disk where the run's folder is to be, at the nearest folder above it that is there."""
    run_dir = config.run_dir if config is not None else None
    folder = Path(run_dir or "runs").absolute()
    # Path.is_dir raises for what may not be looked at.
    there = next(path for path in (folder, *folder.parents) if os.path.isdir(path))
    return checks.disk(str(there), shutil.disk_usage(there).free / GIB, os.access(there, os.W_OK))


def ports(config: Config | None) -> Finding:
    """Check that sockets can listen, and that the cluster answers, if the configuration names one."""
    address = config.cluster.address if config else None
    taken = [port for port in HEAD_PORTS if _answers("127.0.0.1", port)]
    found = _found_by_ray() if address == "auto" else address
    host, _, port = (found or "").rpartition(":")
    answers = address is None or (bool(host) and port.isdigit() and _answers(host.strip("[]"), int(port)))
    shown = f"auto ({found or 'Ray finds no cluster here'})" if address == "auto" else address
    return checks.ports(_listens(), taken, shown, answers)


def _found_by_ray() -> str | None:
    """Return the address that Ray takes for ``auto``, of RAY_ADDRESS or of the cluster on this machine; None if there
    is none."""
    from ray._private.services import get_ray_address_from_environment

    try:
        found: str = get_ray_address_from_environment("auto", None)
    except ConnectionError:
        return None
    return found


def _listens() -> bool:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            probe.listen()
    except OSError:
        return False
    return True


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=WAIT_S).close()
    except OSError:
        return False
    return True


def temporary_folder() -> Finding:
    """Check the folder of Ray's sockets."""
    from trainer.cluster.ray_cluster import SOCKET_BYTES, SOCKET_NAME

    room = SOCKET_BYTES - len(SOCKET_NAME.format(os.getpid()))
    chosen = os.environ.get("TMPDIR") or tempfile.gettempdir()
    return checks.temporary_folder(chosen, os.environ.get("RAY_TMPDIR"), room, os.access(chosen, os.W_OK))


def proxies(config: Config | None) -> Finding:
    """Check the proxies that the environment names; no user name or password of them is kept."""
    found = {}
    for variable in PROXY_VARIABLES:
        for name in (variable, variable.upper()):
            if (value := os.environ.get(name)) is not None and value.strip():
                host, port = _place(value)
                found[name] = (f"{host}:{port}", bool(host) and _answers(host, port))
    urls = (
        [url for role in config.frozen.values() if (url := getattr(role, "base_url", None))] if config and found else []
    )
    if not urls:
        return checks.proxies(found, None, True)
    from rollout.solvers.proxies import proxy_to

    # The first that is gone through: solver and verifier seldom differ in it.
    proxy = next((one for url in urls if (one := proxy_to(url)) is not None), None)
    socks = proxy is not None and proxy.address.lower().startswith("socks")
    return checks.proxies(
        found, proxy.variable if proxy else None, not socks or importlib.util.find_spec("socksio") is not None
    )


def _place(address: str) -> tuple[str, int]:
    """Return host and port of a proxy; an empty host if the address cannot be read."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        return parts.hostname or "", parts.port or {"https": 443}.get(
            parts.scheme, 1080 if "socks" in parts.scheme else 80
        )
    except ValueError:
        return "", 0


def gpus(config: Config | None) -> Finding:
    """Check GPUs, driver and torch's build, without loading torch."""
    wanted = 0.0
    if config is not None and config.cluster.address is None:
        from trainer.cluster.placement import bundles
        from trainer.cluster.resource_plan import without_gpu

        if (wrong := without_gpu(config)) is not None:
            return Finding(checks.FAILURE, "GPUs", wrong)
        wanted = sum(bundle.gpus for bundle in bundles(config))
    said = _nvidia_smi("--query-gpu=name", "--format=csv,noheader").splitlines()
    names = [line.strip() for line in said if line.strip()]
    newest = re.search(r"CUDA (?:UMD )?Version: *(\d+)\.(\d+)", _nvidia_smi() if names else "")
    driver = (int(newest[1]), int(newest[2])) if newest else (0, 0)
    seen = names[: _visible_gpus(len(names))]
    finding = checks.gpus(wanted, seen, driver, _torch_cuda())
    hidden = len(names) - len(seen)
    more = f" (CUDA_VISIBLE_DEVICES hides {hidden})" if hidden and finding.level == checks.FAILURE else ""
    return replace(finding, text=f"{finding.text}{more}")


def _visible_gpus(there: int) -> int:
    """Return how many GPUs CUDA_VISIBLE_DEVICES leaves of those that are there."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return there if named is None else sum(one.strip() not in ("", "-1", "NoDevFiles") for one in named.split(","))


def _nvidia_smi(*arguments: str) -> str:
    """Return what the driver's tool says; nothing where it is missing or fails."""
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _torch_cuda() -> tuple[int, int] | None:
    """Return the version of CUDA that torch was built for; None for a CPU build."""
    found = importlib.util.find_spec("torch")
    file = Path(found.origin).with_name("version.py") if found and found.origin else None
    text = file.read_text() if file is not None and file.is_file() else ""
    version = re.search(r"^cuda\b[^\n=]*= *['\"](\d+)\.(\d+)", text, re.MULTILINE)
    return (int(version[1]), int(version[2])) if version else None


def models(config: Config) -> Finding:
    """Check the models as a run would before it starts."""
    from conf.schema.model import model_path
    from conf.schema.rewards import BUNDLED_VECTORS
    from conf.schema.solver import VllmSolver
    from launch.check_models import check_models

    paths = [config.decomposer_path]
    paths += [model_path(role.path) for role in config.frozen.values() if isinstance(role, VllmSolver)]
    paths += [config.rewards.vectors] if config.rewards.vectors != BUNDLED_VECTORS else []
    from_hub = [path for path in dict.fromkeys(paths) if not Path(path).is_dir()]
    problem = None
    try:
        check_models(config)
    except (OSError, ValueError) as error:  # a ConfigError is a ValueError
        problem = str(error).partition("\n")[0]
    joins = config.cluster.address is not None
    return checks.models(from_hub, os.environ.get("HF_HUB_OFFLINE") == "1", problem, joins)


def solver(config: Config) -> Finding:
    """Check that the solver's server, if it is one, answers a question, or those of a mixture."""
    return _served("solver", config.solvers)


def verifier(config: Config) -> Finding:
    """Check the same of the verifier's."""
    return _served("verifier", {} if config.verifier is None else {"verifier": config.verifier})


def _served(name: str, roles: dict[str, SingleSolver]) -> Finding:
    from conf.schema.solver import OpenAISolver

    servers = {role: one for role, one in roles.items() if isinstance(one, OpenAISolver)}
    refused = (said for role, one in servers.items() if (said := _refusal(role, one)) is not None)
    addresses = ", ".join(dict.fromkeys(one.base_url for one in servers.values()))
    return checks.served(name, addresses or None, next(refused, None))


def _refusal(role: str, settings: OpenAISettings) -> str | None:
    """Ask the server of a role one short question; return what went wrong, in one line that holds no key."""
    from launch.check_solver import ask_server
    from rollout.episode.contracts import SolverFailure
    from rollout.solvers.base import SolverMisconfigured, SolverUnavailable, for_role

    quick = {"max_retries": 0, "request_timeout_s": ANSWER_S, "timeout_s": ANSWER_S}
    try:
        ask_server(settings.model_copy(update=quick))
    except (SolverMisconfigured, SolverUnavailable, SolverFailure) as error:
        return for_role(str(error), role)
    return None


def wandb_key(config: Config) -> Finding:
    """Check the form of W&B's key, from its variable or else from ~/.netrc."""
    return checks.wandb_key(config.tracking.wandb == "online", *find_key())
