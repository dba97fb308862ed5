"""Learners with real DeepSpeed that go on from checkpoints, refuse files, and stop at what is not finite; and ranks
that die."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.exceptions import RayActorError, RayTaskError

from tests.ports import free_port
from tests.trainer.fakes import Actor
from tests.trainer.learner.test_learner import in_a_process, learner_for
from tests.trainer.ranks import configure, make_batch, parameters
from trainer.learner.engine_state import CheckpointMismatch, random_state, restore_random
from trainer.learner.learner import Learner
from trainer.learner.learner_group import LearnerDied, LearnerGroup
from trainer.learner.process_group import NonFiniteLoss


def interrupted(config, folder: str, port: int):
    """Parameters and metrics of a third step, taken at once and after going back to the second."""
    learner = learner_for(config, port)
    for seed in (0, 1):
        learner.train_step(make_batch(seed=seed))
    learner.checkpoint(folder)
    torch.manual_seed(5)
    ways = []
    for restore in (False, True):
        if restore:
            learner.setup(config.model.path, "ppo")
            learner.restore(folder)
        metrics = learner.train_step(make_batch(seed=2))
        optimizer = torch.cat([value.flatten() for value in _tensors(learner.engine.optimizer.state_dict())])
        ways.append((learner.version, metrics, parameters(learner), optimizer))
    (version, metrics, weights, optimizer), (version_2, metrics_2, weights_2, optimizer_2) = ways
    return {
        "version": (version, version_2),
        "weights": all(torch.equal(value, weights_2[name]) for name, value in weights.items()),
        "optimizer": torch.equal(optimizer, optimizer_2),
        "metrics": [name for name in metrics if metrics[name] != metrics_2[name] and not name.startswith(TIMED)],
        "kl_coef": metrics["policy/kl_coef"],
    }


TIMED = ("time/", "throughput/", "system/")


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value.float()
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def made_longer(config, longer, folder: str, port: int):
    """The learning rates after all steps of a linear schedule, and after going on with twice the steps."""
    learner = learner_for(config, port)
    learner.train_step(make_batch())
    learner.checkpoint(folder)
    rates = [[group["lr"] for group in learner.engine.optimizer.param_groups]]
    learner = learner_for(longer, port)
    learner.restore(folder)
    rates.append([group["lr"] for group in learner.engine.optimizer.param_groups])
    return rates


class Malice:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def refused(config, folder: str, others, port: int):
    """The errors of restoring: into another model, another number of ranks, and a file that runs something."""
    learner = learner_for(config, port)
    learner.checkpoint(folder)
    errors = []
    for name, other in others.items():
        if name == "ranks":
            learner.ranks = 2
        else:
            learner = learner_for(other, port)
        try:
            learner.restore(folder)
        except CheckpointMismatch as error:
            errors.append(str(error))
    learner = learner_for(config, port)
    before = parameters(learner)
    made = Path(folder) / "made"
    results = []
    for file in sorted((Path(folder) / "learner" / "engine").glob("*.pt")):
        good = file.read_bytes()
        torch.save({"module": {}, "more": Malice(made)}, file)
        try:
            learner.restore(folder)
            results.append("loaded")
        except pickle.UnpicklingError as error:
            results.append(str(error))
        file.write_bytes(good)
    same = all(torch.equal(value, parameters(learner)[name]) for name, value in before.items())
    learner.restore(folder)
    return errors, results, made.exists(), same


def adapters(config, folder: str, port: int):
    """The names of the module's tensors in a checkpoint, and the error of going on with another frozen weight."""
    learner = learner_for(config, port)
    learner.train_step(make_batch())
    learner.checkpoint(folder)
    (file,) = (Path(folder) / "learner" / "engine").glob("*model_states.pt")
    names = list(torch.load(file, weights_only=False)["module"])
    frozen = next(value for value in learner.model.parameters() if not value.requires_grad)
    with torch.no_grad():
        getattr(frozen, "ds_tensor", frozen).mul_(1.01)
    try:
        learner.restore(folder)
    except CheckpointMismatch as error:
        return names, str(error)
    return names, ""


ADAPTIVE = [
    f"algorithm.{setting}" for setting in ("kl_control=adaptive", "kl_target=0.001", "kl_horizon=26", "batch_size=13")
]


def broken(config, place: str, port: int):
    """What a step raises after which a loss or gradient is NaN; the weights it changed, and whether all are finite."""
    learner = learner_for(config, port)
    learner.train_step(make_batch())
    before = parameters(learner)
    batch = make_batch(seed=1)
    if place == "loss":
        batch[3].rows[0].rewards[-1] = math.nan
    else:
        for parameter in learner.model.parameters():
            parameter.register_hook(lambda gradient: gradient * math.nan)
    try:
        learner.train_step(batch)
    except NonFiniteLoss as error:
        again = pickle.loads(pickle.dumps(error))
        after = parameters(learner)
        moved = [key for key, value in before.items() if not torch.equal(value, after[key])]
        finite = all(bool(value.isfinite().all()) for value in after.values())
        return str(again), again.step, again.problems, moved, finite
    return None


def broken_in_stage_1(config, folder: str, port: int):
    """Return what steps of stage 1 raise, after one that went on from a checkpoint: of a loss and of a gradient."""
    rows, errors = [("Q: How many?\n", "How many pens?")], []
    learner = Learner(config, 0)
    learner.connect("127.0.0.1", port)
    learner.setup(config.model.path, "sft")
    learner.sft_step(rows, 1.0)
    learner.checkpoint(folder)
    for place in ("loss", "gradient"):
        learner.setup(config.model.path, "sft")
        learner.restore(folder)
        learner.sft_step(rows, 1.0)
        if place == "loss":
            with torch.no_grad():
                next(learner.model.parameters()).fill_(math.nan)
        else:
            for parameter in learner.model.parameters():
                parameter.register_hook(lambda gradient: gradient * math.nan)
        try:
            learner.sft_step(rows, 1.0)
        except NonFiniteLoss as error:
            again = pickle.loads(pickle.dumps(error))
            errors.append((str(again), again.step, again.problems, again.found))
    return errors


def every_case(cases):
    """One process for all, to import once."""
    port = free_port()
    return {name: function(*arguments, port) for name, (function, *arguments) in cases.items()}


@pytest.fixture(scope="module")
def learners(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    others = {"model": configure(tiny_model, "learner.critic=separate"), "ranks": None}
    zero = [configure(tiny_model, f"learner.zero_stage={stage}", "algorithm.whiten=false") for stage in range(4)]
    lora = [configure(tiny_model, f"learner.zero_stage={stage}", "+model.lora={rank: 2}") for stage in (0, 2, 3)]
    separate = configure(tiny_model, "learner.zero_stage=3", *ADAPTIVE, "learner.critic=separate")
    steps = ["algorithm.minibatches=1", "algorithm.epochs=1", "learner.lr_schedule=linear"]
    one, two = (configure(tiny_model, *steps, f"algorithm.steps={count}") for count in (1, 2))
    return in_a_process(
        every_case,
        {
            "on": (interrupted, zero[0], str(folder / "on")),
            "on, separate": (interrupted, separate, str(folder / "separate")),
            **{f"on, lora {stage}": (interrupted, lora[stage], str(folder / f"lora{stage}")) for stage in range(3)},
            **{f"adapters {stage}": (adapters, lora[stage], str(folder / f"a{stage}")) for stage in range(3)},
            "made longer": (made_longer, one, two, str(folder / "longer")),
            "refused": (refused, zero[1], str(folder / "refused"), others),
            **{f"loss {stage}": (broken, zero[stage], "loss") for stage in (0, 2)},
            **{f"gradient {stage}": (broken, zero[stage], "gradient") for stage in range(4)},
            **{f"stage 1, {stage}": (broken_in_stage_1, zero[stage], str(folder / f"sft{stage}")) for stage in (0, 2)},
        },
    )


@pytest.mark.parametrize("name", ["on", "on, separate", "on, lora 0", "on, lora 1", "on, lora 2"])
def test_a_learner_goes_on_bitwise_from_its_checkpoint(learners, name):
    found = dict(learners[name])
    coef = found.pop("kl_coef")
    assert found == {"version": (3, 3), "weights": True, "optimizer": True, "metrics": []}
    assert (coef != 0.02) == (name == "on, separate")


@pytest.mark.parametrize("stage", range(3))
def test_with_lora_a_checkpoint_has_the_adapters_alone_and_goes_with_their_model(learners, stage):
    names, error = learners[f"adapters {stage}"]
    assert {"lora_A" in name or "lora_B" in name or name.startswith("value_head.") for name in names} == {True}
    assert "beside other frozen weights" in error


def test_a_checkpoint_of_another_model_or_that_runs_something_is_refused(learners):
    errors, results, made, same = learners["refused"]
    assert "is of another model: parameter critic_trunk." in errors[0]
    assert "learner.ranks: 2 is not allowed" in errors[1]
    assert len(results) == 2
    assert all("weights" in result.lower() and result != "loaded" for result in results)
    assert not made
    assert same


def test_what_is_not_finite_is_not_applied_and_names_its_problems(learners):
    for name, found in learners.items():
        place, _, stage = name.partition(" ")
        if place not in ("loss", "gradient"):
            continue
        message, step, named, moved, finite = found
        assert message.startswith(f"{place} of a minibatch of step 2 (weights of version 1) is NaN or infinite"), name
        inputs = "advantages, returns" if place == "loss" else "none of what goes into it"
        assert message.endswith(f"; not finite on rank 0: {inputs}"), name
        assert (step, finite) == (2, True), name
        assert 3 <= len(named) <= 4
        # A gradient is broken in the first of the minibatches already.
        assert ("p3" in named) if place == "loss" else moved == [], (name, stage)


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_what_is_not_finite_in_stage_1_names_the_step_of_that_stage(learners, zero_stage):
    (loss, *of_loss, weights), (gradient, *of_gradient, none) = learners[f"stage 1, {zero_stage}"]
    assert of_loss == of_gradient == [3, []]
    text = "of step 3 of stage 1 is NaN or infinite: its optimiser step was not taken; not finite on rank 0:"
    assert loss == f"loss {text} {', '.join(weights)}"
    assert weights
    assert (gradient, none) == (f"gradient {text} none of what goes into it", [])


def test_a_run_that_is_made_longer_goes_on_at_the_rate_of_the_longer_schedule(learners):
    """A checkpoint at the end of a linear schedule holds a rate of 0, with which a step would change nothing."""
    ended, longer = learners["made longer"]
    assert (set(ended), longer) == ({0.0}, pytest.approx([5e-4, 5e-4]))


def test_random_states_survive_json():
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    state = json.loads(json.dumps(random_state()))
    first = random.random(), random.gauss(0, 1), np.random.rand(), torch.rand(1).item()
    restore_random(state)
    assert (random.random(), random.gauss(0, 1), np.random.rand(), torch.rand(1).item()) == first


class Ranks:
    """A rank that dies, fails or works when it is told to train."""

    def __init__(self, end: str) -> None:
        self.end = end

    async def train_step(self, batch):
        if self.end == "dies":
            await asyncio.sleep(0.05)
            raise RayActorError
        if self.end == "fails":
            raise ValueError("connection closed by peer")
        if self.end.endswith("found"):
            error = NonFiniteLoss(self.end, 3, [], ["advantages"] if self.end == "found" else [])
            raise RayTaskError("train_step", "Traceback ...", error).as_instanceof_cause()
        if self.end == "waits":
            await asyncio.sleep(60)
        return {"loss": 1.0}


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        (["dies"], LearnerDied), (["fails", "dies"], LearnerDied), (["dies", "waits"], LearnerDied),
        (["works", "fails"], ValueError), (["works", "works"], None),
    ],
)  # fmt: skip
def test_a_rank_that_died_is_told_from_one_that_failed(monkeypatch, ends, error):
    monkeypatch.setattr("trainer.learner.learner_group.ray.put", lambda value: value)
    monkeypatch.setattr("trainer.learner.learner_group.GRACE_S", 0.2)
    group = LearnerGroup(lambda: [Actor(Ranks(end)) for end in ends])
    if error is None:
        assert asyncio.run(group.train_step([])) == {"loss": 1.0}
        return
    with pytest.raises(error):
        asyncio.run(group.train_step([]))


def test_of_losses_that_are_not_finite_that_of_a_rank_which_found_why_is_told(monkeypatch):
    monkeypatch.setattr("trainer.learner.learner_group.ray.put", lambda value: value)
    group = LearnerGroup(lambda: [Actor(Ranks(end)) for end in ("none found", "found", "none found")])
    with pytest.raises(NonFiniteLoss) as error:
        asyncio.run(group.train_step([]))
    assert error.value.cause.found == ["advantages"]


class Loaded:
    """A rank that notes the stages for which it was set up."""

    def __init__(self, made: list[list[str]]) -> None:
        self.stages: list[str] = []
        made.append(self.stages)

    async def setup(self, path, stage):
        self.stages.append(stage)

    async def address(self):
        return "127.0.0.1", 1

    async def check_folder(self, mark):
        return None

    async def connect(self, host, port):
        return 1


@pytest.mark.parametrize(("anew", "stages"), [(False, [["sft", "ppo", "ppo"]]), (True, [["sft"], ["ppo"], ["ppo"]])])
def test_a_stage_has_processes_of_its_own_where_it_would_keep_the_other_ones_memory(
    tmp_path, monkeypatch, anew, stages
):
    monkeypatch.setattr("trainer.learner.learner_group.ray.kill", lambda actor: None)
    made: list[list[str]] = []
    group = LearnerGroup(lambda: [Actor(Loaded(made))], log_folder=tmp_path, anew=anew)

    async def go():
        for stage in ("sft", "ppo", "ppo"):
            await group.setup("model", stage)

    asyncio.run(go())
    assert made == stages
