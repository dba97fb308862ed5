"""The parts that start no actors, measured for real in tiny sizes on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from conf.schema.places import ROOT


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("kit")
    command = [sys.executable, "-m", "benchmarks.gpu", "--minutes", "30", "--out", str(folder)]
    done = subprocess.run(
        [*command, "--parts", "logprobs,learner,memory,people"], cwd=ROOT, capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    logs = {path.name: path.read_text(errors="replace")[-3000:] for path in folder.glob("*.log")}
    assert done.returncode == 0, (done.stdout, done.stderr, logs)
    assert "1/4 logprobs: done" in done.stdout
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}


def test_all_parts_ran_or_said_why_not(results):
    assert {name: one["state"] for name, one in results.items() if name != "machine"} == {
        "logprobs": "done", "learner": "done", "memory": "done", "people": "skipped",
    }  # fmt: skip
    assert results["machine"]["gpus"] == []
    assert results["machine"]["torch"]


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
