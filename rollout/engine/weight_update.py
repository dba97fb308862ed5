"""What travels when weights are pushed: tensors in buckets of bounded size, their digests, a version.

Nothing here knows of Ray, vLLM or DeepSpeed: learner and worker both import it.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

LORA_A, LORA_B = ".lora_A", ".lora_B"


class WeightMismatch(RuntimeError):
    """What a worker received or loaded is not what the learner sent."""


@dataclass(frozen=True)
class Entry:
    """A tensor's name and form; ``digest`` is empty unless asked for."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str = ""


@dataclass(frozen=True)
class Bucket:
    """Tensors as bytes (uint8), one array an entry. The object store takes each with one copy and hands it out with
    none."""

    data: tuple[np.ndarray[Any, Any], ...]
    entries: tuple[Entry, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of all its tensors."""
        return sum(array.nbytes for array in self.data)


@dataclass(frozen=True)
class Update:
    """The weights of a version.

    ``buckets`` are references to what changed. With an adapter that is its tensors, to be merged with ``scales`` into
    the tensors of ``base``. ``sent``: everything went another way already, and ``proofs`` are its tensors' digests.
    ``verify``: digests are in the buckets too, and are to be compared.
    """

    version: int
    buckets: tuple[Any, ...] = ()
    base: tuple[Any, ...] = ()
    scales: Mapping[str, float] = field(default_factory=dict)
    verify: bool = False
    sent: bool = False
    proofs: tuple[Entry, ...] = ()
    nbytes: int = 0


def bucketed(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Return indices in order, cut so that each group's sizes add up to at most ``limit``; a larger one goes alone."""
    groups: list[list[int]] = []
    room = 0
    for index, size in enumerate(sizes):
        if not groups or size > room:
            groups.append([])
            room = limit
        groups[-1].append(index)
        room -= size
    return groups


def digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes, the one of vLLM's own checksums."""
    return hashlib.sha256(_bytes(tensor).data).hexdigest()


def make_bucket(named: Sequence[tuple[str, Tensor]], *, digests: bool = False) -> Bucket:
    """Return a bucket of tensors of any device. Those that lie in the CPU's memory, in order, are not copied: put the
    bucket into the object store before they change."""
    data, entries = [], []
    for name, tensor in named:
        data.append(_bytes(tensor))
        dtype = str(tensor.dtype).removeprefix("torch.")
        entries.append(Entry(name, dtype, tuple(tensor.shape), digest(tensor) if digests else ""))
    return Bucket(tuple(data), tuple(entries))


def bucket_tensors(bucket: Bucket) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors by name, in place: they are read only and live as long as they are held."""
    for data, entry in zip(bucket.data, bucket.entries, strict=True):
        yield entry.name, _tensor(data, entry)


def check(buckets: Sequence[Bucket]) -> None:
    """Raise WeightMismatch, naming tensor and bucket, if a tensor's bytes do not have its digest."""
    for number, bucket in enumerate(buckets):
        for data, entry in zip(bucket.data, bucket.entries, strict=True):
            if hashlib.sha256(data.data).hexdigest() != entry.digest:
                raise WeightMismatch(f"{entry.name} in bucket {number + 1} of {len(buckets)} arrived with other bytes")


def merged(
    adapter: Iterable[tuple[str, Tensor]], base: Mapping[str, Tensor], scales: Mapping[str, float]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights that an adapter changes, W + scale · B A, made one at a time as they are asked for.

    Half precision is multiplied out in float32 and added in its own, as PEFT does on the CPU.
    """
    parts = dict(adapter)
    for name, scale in scales.items():
        first, second = parts[name + LORA_A], parts[name + LORA_B]
        weight = base[name]
        yield name, weight + ((second.float() @ first.float()) * scale).to(weight.dtype)


def _bytes(tensor: Tensor) -> np.ndarray[Any, Any]:
    flat = tensor.detach().cpu().contiguous().view(-1)
    array: np.ndarray[Any, Any] = flat.view(torch.uint8).numpy()
    return array


def _tensor(data: np.ndarray[Any, Any], entry: Entry) -> Tensor:
    dtype: torch.dtype = getattr(torch, entry.dtype)
    if not data.size:
        return torch.empty(entry.shape, dtype=dtype)
    with warnings.catch_warnings():
        # The object store's memory cannot be written to, and nobody does.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        flat = torch.from_numpy(data)
    return flat.view(dtype).view(entry.shape)


@dataclass(frozen=True)
class Gap:
    """The difference between the log-probabilities of an engine and of the learner, in nats: over the tokens of probe
    sequences the largest, and the mean."""

    largest: float
    mean: float


@dataclass(frozen=True)
class Loaded:
    """The result of a load: the version, -1 if it is not there; the largest gap between expected log-probabilities
    and the engine's, where it is known at once; bytes received; the seconds in which nothing was generated, and what
    the rest took."""

    version: int
    gap: float = 0.0
    nbytes: int = 0
    pause_s: float = 0.0
    fetched_s: float = 0.0
    staged_s: float = 0.0
    waited_s: float = 0.0
    reset_s: float = 0.0
