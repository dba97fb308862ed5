"""The doctor's judgements: pure functions of what was found. The standard library is enough for them, so that the
doctor works in a broken environment too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launch.wandb_key import fault

OK, WARNING, FAILURE = "OK", "warning", "failure"
PYTHON = (3, 11)
# What a run of the embedded default takes, and what leaves room beside it.
RESIDENT_GIB, COMFORTABLE_GIB = 5.0, 8.0
# A run's folder of the embedded default, and a few of them with checkpoints.
FOLDER_GIB, FOLDERS_GIB = 1.0, 5.0
# Their builds in registries are for CUDA, and break transformers beside a CPU torch.
NOT_IN_LOCK = ("torchaudio", "torchcodec", "torchvision")
NAMED = 5
# Layouts for the GPUs of one machine, each with as many as it takes.
LAYOUTS = {8: "gpu8", 2: "gpu2", 1: "gpu1"}


@dataclass(frozen=True)
class Finding:
    """What one check found: its level, the fact, and what to do about it."""

    level: str
    name: str
    text: str
    remedy: str = ""

    def line(self) -> str:
        """Return the finding as one line."""
        text = f"{self.text}; {self.remedy}" if self.remedy else self.text
        return f"{self.level:<8} {self.name:<14} {' '.join(text.split())}"


def python_version(found: tuple[int, int]) -> Finding:
    """Judge the interpreter's version."""
    text = f"{found[0]}.{found[1]}"
    if found == PYTHON:
        return Finding(OK, "Python", text)
    return Finding(FAILURE, "Python", f"{text}, not 3.11", "install Python 3.11, then: make clean-env setup")


def lock(name: str, wanted: Mapping[str, str], installed: Mapping[str, str]) -> Finding:
    """Compare what a lock file names with what is installed, by package and version."""
    wrong = [
        f"{package} {installed[package]} instead of {version}"
        if package in installed
        else f"{package} {version} is missing"
        for package, version in sorted(wanted.items())
        if installed.get(package) != version
    ]
    wrong += [
        f"{package}, which breaks it" for package in NOT_IN_LOCK if package in installed and package not in wanted
    ]
    if not wrong:
        return Finding(OK, "packages", f"all {len(wanted)} as in {name}")
    more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return Finding(FAILURE, "packages", f"not as in {name}: {', '.join(wrong[:NAMED])}{more}", "make clean-env setup")


def compiler(command: str, found: bool, headers: bool, needed: bool) -> Finding:
    """Judge the C++ compiler and Python's headers, with which DeepSpeed builds its CPU communication at first use."""
    if found and headers:
        return Finding(OK, "compiler", command)
    level = FAILURE if needed else WARNING
    if not found:
        remedy = "install one (Debian, Ubuntu: apt install g++) or name one in CXX"
        return Finding(level, "compiler", f"'{command}' is not on this machine", remedy)
    return Finding(
        level, "compiler", "Python.h is missing", "install Python's headers (Debian, Ubuntu: python3.11-dev)"
    )


def memory(free_gib: float) -> Finding:
    """Judge the memory that is free, or that this process's control group leaves it."""
    text = f"{free_gib:.1f} GiB free, a run of the embedded default takes {RESIDENT_GIB:g}"
    if free_gib >= COMFORTABLE_GIB:
        return Finding(OK, "memory", text)
    level = FAILURE if free_gib < RESIDENT_GIB else WARNING
    return Finding(level, "memory", text, "end other programs, or give the container or job more")


def shared_memory(free_gib: float | None, wanted_gib: float) -> Finding:
    """Compare /dev/shm, None where there is none, with the object store that Ray puts there."""
    if free_gib is not None and free_gib >= wanted_gib:
        return Finding(
            OK, "shared memory", f"/dev/shm has {free_gib:.1f} GiB for cluster.object_store_gib {wanted_gib:g}"
        )
    found = "/dev/shm is missing" if free_gib is None else f"/dev/shm has {free_gib:.2f} GiB"
    return Finding(
        WARNING, "shared memory", f"{found} for cluster.object_store_gib {wanted_gib:g}, so Ray would use /tmp, slowly",
        f"docker run --shm-size={wanted_gib * 1.25:.1f}g, a larger /dev/shm, or a smaller cluster.object_store_gib",
    )  # fmt: skip


def disk(folder: str, free_gib: float, writable: bool) -> Finding:
    """Judge the disk where the run's folder is to be."""
    if not writable:
        return Finding(FAILURE, "disk", f"'{folder}' cannot be written", "run_dir=FOLDER, where you may write")
    text = f"{free_gib:.1f} GiB free at '{folder}'"
    if free_gib >= FOLDERS_GIB:
        return Finding(OK, "disk", text)
    return Finding(
        FAILURE if free_gib < FOLDER_GIB else WARNING, "disk", text, "make room, or run_dir=FOLDER elsewhere"
    )


def ports(listens: bool, taken: Sequence[int], address: str | None, answers: bool) -> Finding:
    """Judge whether sockets can listen here, whether another Ray holds the ports of a head (``taken``), and whether
    something answers at the ``address`` of a cluster that is to be joined."""
    if not listens:
        return Finding(FAILURE, "ports", "no socket can listen on 127.0.0.1", "allow that: Ray's processes talk so")
    if address is not None and not answers:
        remedy = "start one there: ray start --head (cluster.address has port 6379, not the job server's 8265)"
        return Finding(FAILURE, "ports", f"cluster.address: nothing answers at {address}", remedy)
    if taken and address is None:
        text = f"{', '.join(map(str, taken))} taken, probably by another Ray here"
        return Finding(WARNING, "ports", text, "it also takes memory and cores; 'ray stop' ends it if it is yours")
    return Finding(OK, "ports", "sockets can listen" if address is None else f"cluster.address {address}")


def temporary_folder(tmpdir: str, ray_tmpdir: str | None, room: int, writable: bool) -> Finding:
    """Judge the folder of Ray's sockets, whose names may have ``room`` bytes before what Ray adds."""
    if not writable:
        return Finding(FAILURE, "TMPDIR", f"'{tmpdir}' cannot be written", "TMPDIR=/tmp")
    if ray_tmpdir is not None and len(ray_tmpdir.encode(errors="surrogateescape")) > room:
        text = f"RAY_TMPDIR: '{ray_tmpdir}' is too long for the names of Ray's sockets ({room} bytes)"
        return Finding(FAILURE, "TMPDIR", text, "RAY_TMPDIR=/tmp")
    if ray_tmpdir is None and len(tmpdir.encode(errors="surrogateescape")) > room:
        return Finding(OK, "TMPDIR", f"'{tmpdir}' is too long for Ray's sockets, which go to /tmp")
    return Finding(OK, "TMPDIR", ray_tmpdir or tmpdir)


def proxies(found: Mapping[str, tuple[str, bool]], for_solver: str | None, socks_possible: bool) -> Finding:
    """Judge the proxies by variable: place, which never holds a password, and whether something answers there.
    ``for_solver`` is the variable that the solver's server is reached through."""
    if not found:
        return Finding(OK, "proxies", "none")
    if for_solver is not None and not socks_possible:
        remedy = "pip install socksio, an HTTP proxy, or the server's host in NO_PROXY"
        return Finding(FAILURE, "proxies", f"{for_solver} names a SOCKS proxy, which the client cannot use", remedy)
    silent = [f"{variable} ({place})" for variable, (place, answers) in found.items() if not answers]
    if silent:
        level = FAILURE if for_solver is not None and not found.get(for_solver, ("", True))[1] else WARNING
        remedy = "unset it, or put the hosts that need no proxy into NO_PROXY"
        return Finding(level, "proxies", f"nothing answers at the proxy of {', '.join(silent)}", remedy)
    return Finding(OK, "proxies", ", ".join(f"{variable} ({place})" for variable, (place, _) in found.items()))


def gpus(
    wanted: float, found: Sequence[str], driver_cuda: tuple[int, int], torch_cuda: tuple[int, int] | None
) -> Finding:
    """Compare the GPUs that the configuration wants with those here, and the newest CUDA of the driver with that of
    torch, None for a CPU build."""
    if not wanted:
        if not found:
            return Finding(OK, "GPUs", "none here, none wanted")
        layout = next(name for count, name in LAYOUTS.items() if count <= len(found))
        remedy = f"to use it: cluster={layout}, in an environment from requirements/cuda.lock"
        return Finding(WARNING if torch_cuda else OK, "GPUs", f"{len(found)} here ({found[0]}), none wanted", remedy)
    if not found:
        remedy = "install the driver (nvidia-smi must list them), docker run --gpus all, or learner=cpu rollout=cpu"
        return Finding(FAILURE, "GPUs", f"none here, {wanted:g} wanted", remedy)
    if len(found) < wanted:
        return Finding(
            FAILURE, "GPUs", f"{len(found)} here, {wanted:g} wanted", "fewer ranks or workers, or a share of one"
        )
    if torch_cuda is None:
        remedy = "make clean-env setup LOCK=requirements/cuda.lock"
        return Finding(FAILURE, "GPUs", f"{len(found)} here, but torch is built for the CPU", remedy)
    # Within a major version, CUDA's libraries run with an older driver.
    if driver_cuda[0] < torch_cuda[0]:
        text = f"the driver is for CUDA {_version(driver_cuda)}, torch for {_version(torch_cuda)}"
        return Finding(FAILURE, "GPUs", text, "install a newer NVIDIA driver")
    return Finding(OK, "GPUs", f"{len(found)} × {found[0]}, CUDA {_version(torch_cuda)}")


def _version(numbers: tuple[int, int]) -> str:
    return f"{numbers[0]}.{numbers[1]}"


def models(from_hub: Sequence[str], offline: bool, problem: str | None, joins: bool = False) -> Finding:
    """Judge the models: ``from_hub`` are those that are no folders here, ``problem`` is what a run would refuse. On a
    cluster that it ``joins``, its nodes look for them."""
    if problem is not None:
        remedy = (
            "fetch it where there is a network (hf download NAME), and copy ~/.cache/huggingface or the folder here"
        )
        return Finding(FAILURE, "models", problem, remedy if from_hub else "")
    if not from_hub:
        return Finding(OK, "models", "all are folders here; the hub is not needed")
    if joins:
        return Finding(OK, "models", f"{', '.join(from_hub)}: not looked for, as the cluster's nodes fetch them")
    return Finding(OK, "models", f"{', '.join(from_hub)}: {'fetched before' if offline else 'here, or on the hub'}")


def served(role: str, server: str | None, problem: str | None) -> Finding:
    """Judge the reply of the server of a ``role``, solver or verifier; None where no server plays it."""
    if server is None:
        return Finding(OK, role, "no server is needed")
    if problem is None:
        return Finding(OK, role, f"{server} answers one short question, for which a paid server charges")
    return Finding(FAILURE, role, problem, "" if "allowed" in problem else "see docs/solvers.md")


def wandb_key(online: bool, key: str | None, source: str) -> Finding:
    """Judge the form of W&B's key, None where there is none. The text never holds a part of it."""
    if not online:
        return Finding(OK, "W&B", "no key is needed: tracking is not online")
    if not key or not key.strip():
        remedy = "WANDB_API_KEY=KEY, 'wandb login', or tracking=offline"
        return Finding(FAILURE, "W&B", "no key was found, and tracking is online", remedy)
    if (wrong := fault(key, source)) is not None:
        return Finding(FAILURE, "W&B", *wrong)
    return Finding(OK, "W&B", f"the key of {source} has the right form")
