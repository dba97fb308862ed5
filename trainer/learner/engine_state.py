"""The state of a learner rank beside the policy's folder, to go on bitwise where it was.

DeepSpeed writes the engine (what is trained of model and critic, optimiser, schedule) in its own files, one set a rank.
Frozen weights are not repeated: they are those of the model that a stage begins with. The files are pickles, and are
read by torch's unpickler for weights, which builds nothing but tensors, plain containers and the three plain classes
that DeepSpeed itself puts there. The rest is JSON, one file a rank.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR

TAG = "engine"


class CheckpointMismatch(RuntimeError):
    """A checkpoint is of another model or of another number of ranks; the message says which."""


def save_state(engine: Any, folder: Path, rank: int, ranks: int, own: dict[str, Any]) -> None:
    """Write the engine's state, this process's random states and ``own``, which is JSON; to be called on every rank."""
    folder.mkdir(parents=True, exist_ok=True)
    with without_frozen(engine.module):
        engine.save_checkpoint(str(folder), tag=TAG, save_latest=False, exclude_frozen_parameters=True)
    known = {"ranks": ranks, "parameters": shapes(engine.module), "frozen": frozen_sum(engine.module, rank)}
    state = own | known | {"random": random_state()}
    _file(folder, rank).write_text(json.dumps(state) + "\n", encoding="utf-8")


def restore_state(engine: Any, folder: Path, rank: int, ranks: int) -> dict[str, Any]:
    """Go on from what ``save_state`` wrote; return ``own``. To be called on every rank. Raises CheckpointMismatch, and
    pickle.UnpicklingError for files that hold anything else than DeepSpeed writes."""
    state: dict[str, Any] = json.loads(_file(folder, 0).read_text(encoding="utf-8"))
    if state["ranks"] != ranks:
        raise CheckpointMismatch(f"learner.ranks: {ranks} is not allowed: {folder} was written by {state['ranks']}")
    have = shapes(engine.module)
    for name in {**state["parameters"], **have}:
        then, now = state["parameters"].get(name), have.get(name)
        if then != now:
            raise CheckpointMismatch(
                f"{folder} is of another model: parameter {name} has shape {then} there and {now} here"
            )
    state = json.loads(_file(folder, rank).read_text(encoding="utf-8"))
    if not math.isclose(frozen_sum(engine.module, rank), state["frozen"], rel_tol=1e-6):
        raise CheckpointMismatch(
            f"{folder} was trained beside other frozen weights than those of the model that was loaded"
        )
    with weights_only():
        # Frozen parameters are not in it; that all others are was seen by their shapes.
        engine.load_checkpoint(str(folder), tag=TAG, load_module_strict=False)
    _renew_rates(engine.lr_scheduler)
    restore_random(state["random"])
    return state


def _renew_rates(schedule: LambdaLR | None) -> None:
    """Set the learning rates that a schedule has at its step. A checkpoint holds those of the schedule it was written
    with, which is another one if the run was made longer."""
    if schedule is None:
        return
    for group, base, factor in zip(
        schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
    ):
        group["lr"] = base * factor(schedule.last_epoch)


def _file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.json"


def shapes(module: torch.nn.Module) -> dict[str, list[int]]:
    """Return every parameter's shape by its name; the whole one of a parameter that ZeRO 3 shares out."""
    return {name: list(getattr(value, "ds_shape", value.shape)) for name, value in module.named_parameters()}


@torch.no_grad()
def frozen_sum(module: torch.nn.Module, rank: int) -> float:
    """Return a sum over the frozen parameters, or over this rank's share of them, that tells other weights apart."""
    frozen = [value for value in module.parameters() if not value.requires_grad]
    return sum(float(_own_share(value, rank).abs().sum(dtype=torch.float64)) for value in frozen)


def _own_share(value: Any, rank: int) -> torch.Tensor:
    """Return what this rank holds of a parameter; the last share is filled up with what was in memory."""
    if not hasattr(value, "ds_tensor"):
        return torch.as_tensor(value)
    share: torch.Tensor = value.ds_tensor
    return share[: max(0, value.ds_numel - rank * share.numel())]


@contextmanager
def without_frozen(module: torch.nn.Module) -> Iterator[None]:
    """Have a module's state leave out its frozen parameters under all of their names: DeepSpeed leaves a tied one in
    under its second."""

    def drop(_: torch.nn.Module, state: dict[str, Any], *__: Any) -> None:
        for name, value in module.named_parameters(remove_duplicate=False):
            if not value.requires_grad:
                state.pop(name, None)

    hook = module.register_state_dict_post_hook(drop)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def weights_only() -> Iterator[None]:
    """Have torch refuse every pickle that is more than weights, whatever its caller asks for."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's generators in this process, as JSON."""
    name, keys, *rest = np.random.get_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": random.getstate(),
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "torch": _hex(torch.get_rng_state()),
        "cuda": [_hex(state) for state in devices],
    }


def restore_random(state: dict[str, Any]) -> None:
    """Put the generators back."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(_bytes(state["torch"]))
    if state["cuda"]:
        torch.cuda.set_rng_state_all([_bytes(text) for text in state["cuda"]])


def _hex(state: torch.Tensor) -> str:
    return bytes(state.tolist()).hex()


def _bytes(text: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)
