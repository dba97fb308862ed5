"""The kit's parts without a model: what they would run on each machine, and their arithmetic."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import asynchrony, job, learner, memory, people, push
from benchmarks.gpu.logprobs import gap
from benchmarks.gpu.machine import Gpu, layout
from benchmarks.gpu.random_models import SHAPES, random_rows, tied
from benchmarks.gpu.task import Skipped, Task
from benchmarks.learner import paid_at_the_end
from conf.schema.model import shipped
from launch.compose import compose
from trainer.cluster.gpu_memory import learner_memory
from trainer.cluster.placement import Node, shortage
from trainer.cluster.resource_plan import gpu_roles, over_full

COUNTS = (0, 1, 2, 4, 8)


def task(folder: Path, **given: str | None) -> Task:
    return Task("people", str(folder), str(folder), time.time() + 60, **given)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with the files of the experiment on people's text."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("gsm8k_socratic/train.jsonl", "gsm8k/test.jsonl"):
        (folder / name).parent.mkdir()
        (folder / name).write_text("{}\n")
    return folder


@pytest.mark.parametrize("count", COUNTS)
def test_what_the_parts_run_fits_the_machine_that_it_is_for(count, data):
    transports = ["object_store", *(["nccl"] if count >= 2 else [])]
    made = [push.overrides(transport, count) for transport in transports]
    made.append([*layout(count), *(job.SHORT if count else job.ON_A_CPU)])
    made.append([*layout(count), *asynchrony.COMMON, *(() if count else asynchrony.ON_A_CPU)])
    made.append(people.overrides(str(shipped("tiny_decomposer")), str(data), count))
    for overrides in made:
        config = compose([*overrides, "cluster.gpu_gib=80"])
        assert shortage(config, [Node(16, count)]) is None, overrides
        assert over_full(config, gpu_roles(config)) is None, overrides
        assert (config.learner.gpus_per_rank > 0) == (config.rollout.gpus > 0) == (count > 0)


def test_nccl_has_a_gpu_on_either_side_and_is_left_out_on_one():
    config = compose(push.overrides("nccl", 2))
    assert (config.learner.gpus_per_rank, config.rollout.gpus, config.rollout.workers) == (1, 1, 1)
    assert config.rollout.weights.transport == "nccl"


def test_a_model_that_is_not_there_is_said_to_be_missing(tmp_path):
    said = []
    for model, data in ((None, None), ("nowhere", None), (str(shipped("tiny_decomposer")), None),
                        (str(shipped("tiny_decomposer")), str(tmp_path))):  # fmt: skip
        with pytest.raises(Skipped) as reason:
            people.measure(task(tmp_path, model=model, data=data))
        said.append(str(reason.value))
    assert said[0] == "no pretrained model; give one with --model FOLDER"
    assert said[1] == "nowhere holds no model: it has no config.json"
    assert said[2] == "no data sets; give their folder with --data FOLDER or DATA_ROOT"
    assert said[3].startswith(f"data.train: '{tmp_path}/gsm8k_socratic/train.jsonl' does not exist; ")


@pytest.mark.parametrize(
    ("name", "gib", "room"),
    [
        ("0.3b", 40, True), ("1.5b", 80, True), ("1.5b", 40, False), ("7b", 80, False), ("7b", 141, False),
        ("7b with LoRA", 80, True), ("7b with LoRA", 40, False),
    ],
)  # fmt: skip
def test_a_size_that_the_card_cannot_hold_is_left_out_with_the_reason(name, gib, room):
    case = learner.CASES[name]
    config = compose([*learner.ON_A_GPU, *([learner.LORA] if case.lora else [])])
    if room:
        learner.check_room(config, case, gib)
        return
    with pytest.raises(Skipped, match=rf"^learner \d+ GiB by the plan and bare loop \d+, on a GPU of {gib} GiB$"):
        learner.check_room(config, case, gib)


def test_mfu_is_of_training_passes_alone_by_the_formulas_of_the_field(monkeypatch):
    monkeypatch.setattr(learner, "gpus", lambda: [Gpu("NVIDIA H100 80GB HBM3", 80.0)])
    config, shape = compose(["algorithm.epochs=2"]), SHAPES["1.5b"]
    batch = [paid_at_the_end("a", [3] * 500, [4] * 500, 1.0), paid_at_the_end("b", [3] * 100, [4] * 400, 0.0)]
    figures = learner.side_figures(config, learner.CASES["1.5b"], batch, [(3.0, 1.0), (2.0, 1.0), (9.0, 1.0)], 0.5)
    pairs = 1000**2 + 500**2
    flops = 2 * (6 * shape.parameters * 1500 + 12 * 28 * 1536 * pairs)
    assert figures["tflops"] == pytest.approx(flops / 0.5e12)
    assert figures["mfu"] == pytest.approx(flops / (0.5 * 989.4e12))
    assert figures["tokens_s"] == 1500 / 3
    lora = compose([learner.LORA])
    figures = learner.side_figures(lora, learner.CASES["1.5b"], batch, [(3.0, 1.0)], 0.5)
    each = 4 * shape.parameters + 6 * shape.adapters(16)
    assert figures["tflops"] * 0.5e12 == pytest.approx(each * 1500 + 12 * 28 * 1536 * pairs)


def test_on_a_device_whose_peak_nobody_knows_mfu_is_not_known():
    batch = [paid_at_the_end("a", [3] * 5, [4] * 5, 1.0)]
    assert learner.side_figures(compose([]), learner.ON_A_CPU["tiny"], batch, [(1.0, 1.0)], 1.0)["mfu"] is None


def test_random_models_have_the_sizes_that_they_are_called_by():
    assert {name: tied(shape) for name, shape in SHAPES.items()} == {
        "tiny": True, "small": True, "0.3b": True, "1.5b": True, "7b": False,
    }  # fmt: skip
    assert SHAPES["0.3b"].parameters == pytest.approx(0.3e9, rel=0.1)
    words = json.loads((shipped("tiny_decomposer") / "config.json").read_text())["vocab_size"]
    assert all(shape.vocabulary >= words for shape in SHAPES.values())


def test_random_rows_have_lengths_from_their_shortest_to_the_whole():
    rows = random_rows(50, 40, 20, 100)
    assert all(20 <= len(prompt) <= 40 and 10 <= len(completion) <= 20 for prompt, completion in rows)
    assert len({len(prompt) for prompt, _ in rows}) > 5
    assert {(len(p), len(c)) for p, c in random_rows(5, 8, 4, 100, shortest=1.0)} == {(8, 4)}
    assert rows == random_rows(50, 40, 20, 100)


def test_the_gap_is_over_all_tokens():
    assert gap([[-1.0, -2.0], [-3.0]], [[-1.0, -2.5], [-2.9]]) == pytest.approx({"mean": 0.2, "max": 0.5})


def test_the_recorder_sees_what_a_call_leaves_and_its_peak():
    kept = []

    def work() -> None:
        kept.append(torch.zeros(1000))
        first = torch.ones(5000)
        (first * 2).sum().item()

    held, peak = memory.record(work)
    assert held == pytest.approx(4000, abs=256)
    assert peak == pytest.approx(4000 + 2 * 20_000, abs=512)


@pytest.mark.parametrize(("count", "sizes"), [(0, job.ON_A_CPU), (2, job.SHORT)])
def test_the_job_has_the_layout_and_the_sizes_of_the_machine(monkeypatch, tmp_path, count, sizes):
    monkeypatch.setattr(job, "gpus", lambda: [Gpu("NVIDIA H100 80GB HBM3", 80.0)] * count)
    run = []
    monkeypatch.setattr(job, "run_job", lambda *given: run.append(given))
    own = task(tmp_path)
    job.measure(own)
    assert run == [(own, [*layout(count), *sizes])]


def test_a_run_folder_is_read_as_far_as_it_goes(tmp_path):
    assert job.run_figures(tmp_path)["run"] == {"status": "none", "steps": 0}
    (tmp_path / "summary.json").write_text(
        '{"status": "finished", "seconds": {"ppo": 3.0}, "accuracy": {"ppo": {"mean": 0.5, "low": 0.4}}}'
    )
    rows = [{"step": 1, "time/learn": 1.0, "staleness/max": 0}, {"step": 2, "time/learn": 2.0, "staleness/max": 1}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "ti')
    assert job.run_figures(tmp_path) == {
        "run": {"status": "finished", "steps": 2}, "seconds": {"ppo": 3.0}, "accuracy": {"ppo": 0.5},
        "mean": {"time/learn": 1.5}, "largest": {"staleness/max": 1},
    }  # fmt: skip


def test_figures_are_added_one_by_one(tmp_path):
    own = replace(task(tmp_path), part="p")
    own.note(part="p", state="running")
    own.add("a", {"x": 1.0})
    own.add("b", {"y": 2.0})
    own.note(state="done")
    assert json.loads(own.file.read_text()) == {
        "part": "p", "state": "done", "figures": {"a": {"x": 1.0}, "b": {"y": 2.0}},
    }  # fmt: skip
    assert Task.decoded(own.encoded()) == own


def test_the_plans_parts_that_are_no_tensors_are_the_ones_left_out():
    config = compose([])
    names = [part.name for part in learner_memory(SHAPES["small"], config.learner, None)]
    assert set(memory.NO_TENSORS) < set(names)
