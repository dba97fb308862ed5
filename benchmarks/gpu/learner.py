"""Learner: its tokens a second and MFU beside a bare PyTorch loop's, for several sizes of model on one GPU.

Both take the same PPO steps on the same random sequences, by turns (``benchmarks.learner``). MFU counts forward and
backward passes only, by the formulas of ``trainer.algorithm.utilization``; the reference's and the take-up's passes are
in the tokens a second alone. What the plan says does not fit the card is left out.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks.gpu.machine import gpus
from benchmarks.gpu.random_models import SHAPES, random_model, random_rows
from benchmarks.gpu.task import Skipped, Task
from benchmarks.learner import FIXED, Bare, paid_at_the_end
from benchmarks.timing import PassTimer, take_turns
from conf.schema.config import Config
from conf.schema.override_text import override
from launch.compose import compose
from trainer.algorithm.experience import Experience
from trainer.algorithm.utilization import mfu, peak_flops, training_flops
from trainer.cluster.gpu_memory import gib, learner_memory
from trainer.learner.learner import Learner

LORA = "model.lora={rank: 16, alpha: 32, targets: all-linear}"
# The settings of a learner rank in the documented layouts, but with the whole of a GPU.
ON_A_GPU = ("cluster=gpu1", "learner.gpus_per_rank=1", "cluster.beside=[]")
# The bare loop keeps every logit of a micro-batch, which the learner does not.
ROOM_FOR_BARE_GIB = 16.0


@dataclass(frozen=True)
class Case:
    """A size of model, trained whole or by adapters, and so many sequences a step of up to so many tokens for prompt
    and completion each. ``needs_s``: what it takes on a GPU, making the model included."""

    size: str
    lora: bool
    sequences: int
    tokens: int = 512
    rounds: int = 3
    needs_s: float = 0.0


# Large enough for the matrices of a GPU, small enough for a minute.
CASES = {
    "0.3b": Case("0.3b", False, 128, needs_s=25),
    "1.5b": Case("1.5b", False, 64, needs_s=40),
    "7b with LoRA": Case("7b", True, 16, needs_s=70),
    "7b": Case("7b", False, 16, needs_s=90),
}
ON_A_CPU = {
    "tiny": Case("tiny", False, 8, tokens=32, rounds=2),
    "tiny with LoRA": Case("tiny", True, 8, tokens=32, rounds=2),
}


def measure(task: Task) -> None:
    """Measure every case that there is time and memory for."""
    found = gpus()
    for name, case in (CASES if found else ON_A_CPU).items():
        task.case(name, run_case, case, task.scratch, found[0].gib if found else None, needs_s=case.needs_s)


def run_case(case: Case, scratch: str, gpu_gib: float | None) -> dict[str, Any]:
    """Return a case's figures; raises Skipped if the GPU cannot hold it."""
    shape = SHAPES[case.size]
    settings = [*FIXED, "algorithm.minibatches=2", f"algorithm.batch_size={case.sequences}"]
    settings += [*(ON_A_GPU if gpu_gib is not None else ()), *([LORA] if case.lora else [])]
    check_room(compose(settings), case, gpu_gib)
    path = random_model(case.size, scratch)
    config = compose([*settings, override("model.path", path)])
    rows = random_rows(case.sequences, case.tokens, case.tokens, min(500, shape.vocabulary))
    batch = [paid_at_the_end(str(i), *row, float(i % 2)) for i, row in enumerate(rows)]
    learner = Learner(config, 0)
    learner.connect(*learner.address())
    learner.setup(path, "ppo")
    bare = Bare(config, batch)
    passes = PassTimer()

    def step() -> None:
        learner.train_step(batch)
        passes.seconds += learner.passes.seconds

    sides = {"learner": step, "bare": bare.step}
    take_turns(sides, 1)
    timers = {"learner": passes, "bare": bare.passes}
    for timer in timers.values():
        timer.seconds = 0.0
    seconds = take_turns(sides, case.rounds)
    figures: dict[str, Any] = {
        name: side_figures(config, case, batch, seconds[name], timers[name].seconds / case.rounds) for name in sides
    }
    ratio = figures["learner"]["tokens_s"] / figures["bare"]["tokens_s"]
    return {"parameters": shape.parameters, "tokens a step": sum(map(len, batch)), "learner/bare": ratio, **figures}


def check_room(config: Config, case: Case, gpu_gib: float | None) -> None:
    """Raise Skipped if a GPU of that size cannot hold the learner, by the plan, or the bare loop beside it."""
    if gpu_gib is None:
        return
    shape, rank = SHAPES[case.size], config.model.lora.rank if config.model.lora is not None else None
    parts = learner_memory(shape, config.learner, rank)
    # The bare loop has the same weights, reference and gradients, and Adam's two states in bfloat16.
    trained = shape.adapters(rank) if rank is not None else shape.parameters
    bare = (2 * shape.parameters * (1 if case.lora else 2) + 6 * trained) / 2**30 + ROOM_FOR_BARE_GIB
    if gib(parts) + bare > gpu_gib:
        raise Skipped(
            f"learner {gib(parts):.0f} GiB by the plan and bare loop {bare:.0f}, on a GPU of {gpu_gib:.0f} GiB"
        )


def side_figures(
    config: Config, case: Case, batch: list[Experience], seconds: list[tuple[float, float]], passes_s: float
) -> dict[str, Any]:
    """Return the rate and the MFU of one side, whose passes took ``passes_s`` a step."""
    shape, found, epochs = SHAPES[case.size], gpus(), config.algorithm.epochs
    step_s = statistics.median(wall for wall, _ in seconds)
    flops = epochs * training_flops(
        shape.parameters,
        [len(experience) for experience in batch],
        layers=shape.layers,
        attention=shape.heads * shape.head_dim,
        adapters=shape.adapters(config.model.lora.rank) if config.model.lora is not None else None,
    )
    peak = peak_flops(found[0].name) if found else None
    return {
        "tokens_s": sum(map(len, batch)) / step_s,
        "mfu": mfu(flops, passes_s, max(1, len(found[:1])), peak),
        "tflops": flops / passes_s / 1e12,
        "step_s": step_s,
        "passes_s": passes_s,
    }
