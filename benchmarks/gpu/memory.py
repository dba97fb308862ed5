"""Memory: the peak of a learner's step, measured, beside the plan's arithmetic, for two lengths of sequences.

The plan (``trainer.cluster.gpu_memory``) counts tensors, and adds what an allocator's gaps and CUDA itself take.
Tensors are measured by torch's own recorders: on a GPU the allocator's statistics, on the CPU the profiler's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.learner import ON_A_GPU
from benchmarks.gpu.machine import gpus
from benchmarks.gpu.random_models import random_model, random_rows
from benchmarks.gpu.task import Task
from benchmarks.learner import FIXED, paid_at_the_end
from conf.schema.override_text import override
from launch.compose import compose
from trainer.cluster.gpu_memory import learner_memory, shape_of
from trainer.learner.learner import Learner

MIB = 2**20
# The parts of the plan that are no tensors.
NO_TENSORS = ("fragments", "overhead")
SEQUENCES = 4
# In proportion to the small model: DeepSpeed's own bucket would be most of what there is.
ON_A_CPU = ("+learner.deepspeed={zero_optimization: {reduce_bucket_size: 1000000}}",)


def measure(task: Task) -> None:
    """Measure at two lengths of the longest sequence, for which a micro-batch has just room."""
    found = gpus()
    size, lengths = ("1.5b", (2048, 8192)) if found else ("small", (512, 1024))
    for length in lengths:
        task.case(f"{length} tokens", run_case, size, task.scratch, length, needs_s=30.0 if found else 0.0)


def run_case(size: str, scratch: str, length: int) -> dict[str, Any]:
    """Return what a step takes on sequences of this length, measured and predicted, in MiB."""
    path, found = random_model(size, scratch), gpus()
    # In one minibatch, so that gradients are there when a further micro-batch comes.
    sizes = ["algorithm.minibatches=1", f"algorithm.batch_size={SEQUENCES}"]
    sizes += [f"learner.max_tokens_per_microbatch={length}"]
    config = compose([*FIXED, *(ON_A_GPU if found else ON_A_CPU), override("model.path", path), *sizes])
    # As the plan takes it: half of a sequence is the completion.
    rows = random_rows(SEQUENCES, length // 2, length // 2, 500, shortest=1.0)
    batch = [paid_at_the_end(str(index), *row, float(index % 2)) for index, row in enumerate(rows)]
    learner = Learner(config, 0)
    learner.connect(*learner.address())
    setup, step = partial(learner.setup, path, "ppo"), partial(learner.train_step, batch)
    measured = (on_a_gpu if found else on_the_cpu)(setup, step)
    parts = {part.name: part.size for part in learner_memory(shape_of(path), config.learner, None)}
    predicted = sum(size for name, size in parts.items() if name not in NO_TENSORS)
    return {
        **{f"{name} MiB": value / MIB for name, value in measured.items()},
        "predicted tensors MiB": predicted / MIB,
        "predicted whole MiB": sum(parts.values()) / MIB,
        "measured/predicted": measured["tensors"] / predicted,
        "predicted MiB": {name: size / MIB for name, size in parts.items()},
    }


def on_a_gpu(setup: Callable[[], Any], step: Callable[[], Any]) -> dict[str, float]:
    """Return the bytes at the peak of a second step: of tensors, of what the allocator holds, and of the process in
    all, where no other is on the GPU."""
    setup()
    step()
    torch.cuda.reset_peak_memory_stats()
    step()
    free, total = torch.cuda.mem_get_info()
    return {
        "tensors": float(torch.cuda.max_memory_allocated()),
        "reserved": float(torch.cuda.max_memory_reserved()),
        "whole": float(total - free),
    }


def on_the_cpu(setup: Callable[[], Any], step: Callable[[], Any]) -> dict[str, float]:
    """Return the bytes of tensors at the peak of a second step."""

    def begin() -> None:
        setup()
        step()

    held, _ = record(begin)
    _, peak = record(step)
    return {"tensors": float(held + peak)}


def record(function: Callable[[], Any]) -> tuple[int, int]:
    """Return the bytes of tensors that a call leaves, and how many more than before there are at its peak."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorder:
        function()
    assert recorder.profiler is not None
    events: Iterable[Any] = recorder.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    totals = list(accumulate((nbytes for _, nbytes in changes), initial=0))
    return totals[-1], max(totals)
