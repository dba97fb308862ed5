"""People: the experiment on people's text with a pretrained model, for a few steps; left out where there is none."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gpu.job import run_job
from benchmarks.gpu.machine import gpus, layout
from benchmarks.gpu.task import Skipped, Task
from conf.schema.base import ConfigError
from conf.schema.override_text import override
from launch.compose import compose

SHORT = ("sft.problems=96", "algorithm.steps=4", "evaluation.problems=16")
# With a GPU the experiment has the sizes of the layout, not those that it chose for a CPU.
ON_A_GPU = (
    "algorithm.batch_size=64", "learner.threads=1", "learner.max_tokens_per_microbatch=8192",
    "rollout.concurrency=256", "rollout.max_num_seqs=256", "rollout.max_num_batched_tokens=8192",
)  # fmt: skip


def measure(task: Task) -> None:
    """Run the experiment on the model and the data set that were given."""
    model, data = task.model, task.data
    if model is None:
        raise Skipped("no pretrained model; give one with --model FOLDER")
    if not (Path(model) / "config.json").is_file():
        raise Skipped(f"{model} holds no model: it has no config.json")
    if data is None:
        raise Skipped("no data sets; give their folder with --data FOLDER or DATA_ROOT")
    chosen = overrides(model, data, len(gpus()))
    try:
        compose(chosen)
    except ConfigError as error:  # a data set that is not in the folder, above all
        raise Skipped(str(error)) from None
    run_job(task, chosen)


def overrides(model: str, data: str, count: int) -> list[str]:
    """Return what ``launch.train`` is given, the same model as decomposer and as solver."""
    given = {"model.path": model, "solver.path": model, "data.root": data}
    paths = [override(key, value) for key, value in given.items()]
    return [*layout(count), "experiment=gsm8k_gemma270m", *paths, *SHORT, *(ON_A_GPU if count else ())]
