"""The parts that start no actors, measured for real in tiny sizes on the CPU, each part in one process.

The kit gives every case a process of its own too, which tests/benchmarks/gpu/test_driver.py and
tests/end_to_end/test_gpu_kit.py show; here most of the time would be their imports.
"""

from __future__ import annotations

import gc
import json
import time
from pathlib import Path

import pytest

from benchmarks.gpu import run_part, task
from benchmarks.gpu.task import Task
from tests.trainer.learner.test_learner import in_a_process

PARTS = ("logprobs", "learner", "memory")
LIMIT_S = 450

# The first test waits for all parts.
pytestmark = pytest.mark.timeout(3 * LIMIT_S)


def measured(name: str, folder: str) -> int:
    """The exit status of a part whose cases run in its own process."""

    def here(function, *arguments):
        found = function(*arguments)
        gc.collect()  # what is freed while the memory of the next case is recorded would be missing there
        return found

    task.in_new_process = here
    own = Task(name, folder, folder, time.time() + LIMIT_S)
    return run_part.main([f"benchmarks.gpu.{name}:measure", own.encoded()])


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    folder: Path = tmp_path_factory.mktemp("kit")
    status = [in_a_process(measured, name, str(folder), limit_s=LIMIT_S) for name in PARTS]
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in PARTS}
    assert status == [0] * len(PARTS), found
    return found


def test_all_parts_ran(results):
    assert {name: one["state"] for name, one in results.items()} == dict.fromkeys(PARTS, "done")


def test_engine_and_learner_agree_and_labels_are_those_of_the_weights(results):
    figures = results["logprobs"]["figures"]
    assert figures["float32"]["engine to learner"]["max"] < 1e-4
    assert figures["bfloat16"]["engine to learner"]["mean"] < 0.02
    for dtype, near in (("float32", 1e-4), ("bfloat16", 0.02)):
        labels = figures[dtype]["labels"]
        assert labels["versions seen"] == 3
        assert labels["completions of several"] > 0
        assert labels["in order"]
        assert labels["gap to the label's"]["mean"] < near < labels["gap to the next one's"]["mean"]
        assert figures[dtype]["engine to learner after loads"]["mean"] < near


def test_the_learner_and_the_bare_loop_are_measured_whole_and_with_lora(results):
    for name in ("tiny", "tiny with LoRA"):
        figures = results["learner"]["figures"][name]
        assert figures["learner"]["tokens_s"] > 0
        assert figures["bare"]["tokens_s"] > 0
        for side in ("learner", "bare"):
            assert 0 < figures[side]["passes_s"] < figures[side]["step_s"]
            assert figures[side]["mfu"] is None


def test_measured_memory_is_near_the_plans(results):
    figures = results["memory"]["figures"]
    assert list(figures) == ["512 tokens", "1024 tokens"]
    for one in figures.values():
        assert one["measured/predicted"] == pytest.approx(1, abs=0.1), one
