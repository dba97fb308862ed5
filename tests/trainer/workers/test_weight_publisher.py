"""Every worker gets the newest version, whatever it missed; and what NCCL is told, without a GPU."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from ray.exceptions import OwnerDiedError, RayActorError, RayTaskError

from conf.schema.model import Lora
from launch.compose import compose
from rollout.engine.weight_update import Gap, Loaded, Update, WeightMismatch
from tests.trainer.fakes import Actor
from trainer.learner.actor_critic import ActorCritic
from trainer.learner.learner_group import LearnerDied
from trainer.workers.errors import WaitTimeout
from trainer.workers.weight_publisher import Publisher


class Receiver:
    """A worker that loads when it is let, and keeps what it loaded."""

    def __init__(self, slow: bool = False) -> None:
        self.let = asyncio.Event()
        if not slow:
            self.let.set()
        self.loaded: list[int] = []
        self.busy = 0
        self.error: Exception | None = None
        # Versions whose buckets Ray has no more, as those of a learner that died.
        self.lost: set[int] = set()

    async def load_weights(self, update, probe=(), expected=()):
        assert not self.busy, "one load at a time"
        self.busy += 1
        try:
            await self.let.wait()
            if self.error is not None:
                raise self.error
            if update.version in self.lost:
                error = OwnerDiedError("00" * 28, None, "")
                raise RayTaskError("load_weights", "Traceback ...", error).as_instanceof_cause()
            # What went another way is there only if it came while this process lived.
            if update.sent and update.version not in self.loaded:
                return Loaded(-1, 0.0)
            self.loaded.append(update.version)
            return Loaded(update.version, 0.25, 2**20, pause_s=0.5)
        finally:
            self.busy -= 1


def publisher(*receivers, timeout_s=5.0, folder=None):
    return Publisher([Actor(receiver) for receiver in receivers], folder, timeout_s)


def test_a_push_is_over_when_every_worker_has_it():
    async def go():
        workers = Receiver(), Receiver()
        found = publisher(*workers)
        push = await found.publish(Update(3))
        return [worker.loaded for worker in workers], found.versions, push

    loaded, versions, push = asyncio.run(go())
    assert loaded == [[3], [3]]
    assert versions == [3, 3]
    assert (push.version, push.gap, push.pause, push.mib, len(push.loads)) == (3, 0.25, 0.5, 1.0, 2)


def test_a_slow_worker_skips_what_was_overtaken_and_holds_no_other_up():
    async def go():
        fast, slow = Receiver(), Receiver(slow=True)
        found = publisher(fast, slow)
        pushes = []
        for version in range(1, 5):
            pushes.append(asyncio.create_task(found.publish(Update(version))))
            await asyncio.sleep(0.01)
        before = list(fast.loaded), list(found.versions)
        slow.let.set()
        return before, slow.loaded, [push.version for push in await asyncio.gather(*pushes)], found.versions

    before, loaded, pushed, versions = asyncio.run(go())
    assert before == ([1, 2, 3, 4], [4, 0])
    assert loaded == [1, 4]
    assert pushed == [1, 2, 3, 4]
    assert versions == [4, 4]


def test_a_worker_that_died_gets_the_newest_when_it_is_back():
    async def go():
        worker = Receiver()
        found = publisher(worker)
        assert not await found.catch_up(0)
        await found.publish(Update(1))
        worker.error = RayActorError()
        await found.publish(Update(2))
        before = list(found.versions)
        worker.error, worker.loaded = None, []
        assert await found.catch_up(0)
        return before, worker.loaded, found.versions

    assert asyncio.run(go()) == ([1], [2], [2])


def test_weights_that_went_another_way_are_asked_for_again_by_a_worker_that_is_back():
    async def go():
        worker, asked = Receiver(), []

        async def refill():
            asked.append(1)
            return Update(6)  # the learner went on in the meantime

        found = publisher(worker)
        found.refill = refill
        worker.loaded = [5]
        await found.publish(Update(5, sent=True))
        assert not asked
        worker.loaded = []
        await found.catch_up(0)
        return asked, worker.loaded, found.versions

    assert asyncio.run(go()) == ([1], [6], [6])


async def lose_version_5(back, refill):
    """Push version 5, which one worker gets and one cannot fetch: at the push, or when it is ``back`` after a crash."""
    workers = Receiver(), Receiver()
    found = publisher(*workers)
    found.refill = refill
    workers[1].lost = {5}
    if back:
        workers[1].error = RayActorError()
    await found.publish(Update(5))
    if back:
        workers[1].error = None
        await found.catch_up(1)
    return [worker.loaded for worker in workers], found.versions


@pytest.mark.parametrize("back", [False, True])
def test_weights_that_a_learner_took_with_it_when_it_died_are_reported_as_its_death(back):
    async def refill():
        raise LearnerDied("learner-0 ended")

    with pytest.raises(LearnerDied):
        asyncio.run(lose_version_5(back, refill))


@pytest.mark.parametrize("back", [False, True])
def test_weights_that_are_lost_are_asked_of_a_learner_that_lives(back):
    async def refill():
        return Update(6)

    assert asyncio.run(lose_version_5(back, refill)) == ([[5], [6]], [5, 6])


def test_weights_that_went_another_way_and_died_with_the_learner_on_their_second_way_are_its_death_too():
    async def go():
        worker, answers = Receiver(), [Update(6)]

        async def refill():
            if not answers:
                raise LearnerDied("learner-0 ended")
            return answers.pop()

        found = publisher(worker)
        found.refill = refill
        worker.lost = {6}
        await found.publish(Update(5, sent=True))

    with pytest.raises(LearnerDied):
        asyncio.run(go())


def test_weights_that_are_lost_again_and_again_end_a_push():
    async def go():
        worker, asked = Receiver(), []

        async def refill():
            asked.append(1)
            return Update(6)

        found = publisher(worker)
        found.refill = refill
        worker.lost = {5, 6}
        with pytest.raises(OwnerDiedError):
            await found.publish(Update(5))
        return len(asked)

    assert asyncio.run(go()) == 2


@pytest.mark.parametrize("lost", [False, True])
def test_what_a_worker_answers_after_its_push_is_forgotten_counts_for_nothing(lost):
    async def go():
        broken, slow = workers = Receiver(), Receiver()
        found, asked = publisher(*workers), []

        async def refill():
            asked.append(1)
            return Update(50)

        found.refill = refill
        for version in range(35, 40):
            await found.publish(Update(version))
        broken.error, slow.lost = WeightMismatch("damaged"), {40} if lost else set()
        slow.let.clear()
        for version in (40, 41):
            with pytest.raises(WeightMismatch):
                await found.publish(Update(version))
        found.forget()
        slow.let.set()
        await asyncio.sleep(0.01)
        forgotten, broken.error = list(found.versions), None
        await found.publish(Update(30))
        return forgotten, slow.loaded, found.versions, asked

    forgotten, loaded, versions, asked = asyncio.run(go())
    assert forgotten == [0, 0]
    # Version 41 waited for its turn, and is not loaded any more.
    assert loaded == [35, 36, 37, 38, 39, *([] if lost else [40]), 30]
    assert versions == [30, 30]
    assert not asked


def test_damaged_weights_and_silence_end_a_push(tmp_path):
    async def damaged():
        worker = Receiver()
        worker.error = WeightMismatch("model.norm.weight in bucket 2 of 3 arrived with other bytes")
        await publisher(worker).publish(Update(1))

    async def silent():
        (tmp_path / "rollout-0.log").write_text("the last words")
        await publisher(Receiver(slow=True), timeout_s=0.05, folder=tmp_path).publish(Update(7))

    with pytest.raises(WeightMismatch, match="bucket 2 of 3"):
        asyncio.run(damaged())
    with pytest.raises(WaitTimeout, match=r"rollout-0 did not load version 7 in 0\.05 s[^$]*the last words"):
        asyncio.run(silent())


class Busy(Receiver):
    """A worker whose engine scores probes only when it is let."""

    def __init__(self, gap):
        super().__init__()
        self.gap, self.free = gap, asyncio.Event()

    async def proof(self, version):
        await self.free.wait()
        if isinstance(self.gap, Exception):
            raise self.gap
        return self.gap


@pytest.mark.parametrize(
    ("gaps", "proven"),
    [
        ([Gap(0.5, 0.1), Gap(0.2, 0.2)], Gap(0.5, 0.15)), ([None, Gap(0.2, 0.1)], Gap(0.2, 0.1)),
        ([None, None], None), ([RayActorError(), Gap(0.2, 0.1)], Gap(0.2, 0.1)),
    ],
)  # fmt: skip
def test_a_push_is_acknowledged_when_it_is_loaded_and_proven_later(gaps, proven):
    async def go():
        workers = [Busy(gap) for gap in gaps]
        found = publisher(*workers)
        push = await found.publish(Update(1), [([1], [2])], [[-0.5]])
        versions = list(found.versions)
        for worker in workers:
            worker.free.set()
        return versions, await push.proven()

    versions, gap = asyncio.run(go())
    assert versions == [1, 1]
    assert (gap is None) == (proven is None)
    assert gap is None or (gap.largest, gap.mean) == pytest.approx((proven.largest, proven.mean))


def test_a_proof_that_does_not_come_ends_nothing(tmp_path):
    async def go():
        found = publisher(Busy(None), timeout_s=0.05, folder=tmp_path)
        return await (await found.publish(Update(1), [([1], [2])], [[-0.5]])).proven()

    assert asyncio.run(go()) is None


# -- NCCL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, Lora(rank=2)])
def test_nccl_is_told_of_exactly_the_tensors_that_it_is_then_given(tiny_model, lora):
    from trainer.learner.gpu_channel import Policy

    model = ActorCritic(str(tiny_model), torch.float32, lora)
    asked = []

    def gathered(parameters):
        asked.append(sum(value.nbytes for value in parameters))
        return nullcontext()

    source = Policy(SimpleNamespace(model=model, gathered=gathered), 50_000)
    for _ in range(2):  # a pass begins anew
        given = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in source]
        assert given == [(meta.name, meta.dtype, meta.shape) for meta in source.metadata()]
    assert len(asked) > 4
    weights = dict(model.weights())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in source)


def test_every_worker_has_a_place_of_its_own_in_the_nccl_group(monkeypatch):
    from trainer.learner import gpu_channel

    calls = []

    def actor(index):
        return SimpleNamespace(
            transfer=SimpleNamespace(remote=lambda step, value: calls.append((index, step, value)) or index)
        )

    waited, got = [], []

    def wait(given, timeout):
        waited.append(timeout)
        return given[:1], given[1:]

    monkeypatch.setattr(gpu_channel.ray, "wait", wait)
    monkeypatch.setattr(gpu_channel.ray, "get", got.append)
    workers = gpu_channel.Workers([actor(0), actor(1)], tensor_parallel=2, timeout_s=9.0, version=4)
    workers.init_weight_transfer_engine({"rank_offset": 1, "world_size": 5})
    workers.start_weight_update()
    workers.update_weights({"names": ["a"]})
    workers.finish_weight_update()
    assert calls[:2] == [
        (0, "init", {"rank_offset": 1, "world_size": 5}),
        (1, "init", {"rank_offset": 3, "world_size": 5}),
    ]
    assert calls[2:] == [
        (index, *call) for call in (("start", None), ("update", {"names": ["a"]}), ("finish", 4)) for index in (0, 1)
    ]
    assert got == [0, 1] * 4
    assert waited == pytest.approx([9.0 + gpu_channel.LATE_S] * 8, abs=1.0)


def test_workers_that_share_the_learners_gpus_have_no_place_in_a_group(monkeypatch):
    from trainer.learner import gpu_channel

    calls = []
    remote = lambda step, value: calls.append((step, value)) or len(calls)  # noqa: E731
    actor = SimpleNamespace(transfer=SimpleNamespace(remote=remote))
    monkeypatch.setattr(gpu_channel.ray, "wait", lambda given, timeout: (given[:1], given[1:]))
    monkeypatch.setattr(gpu_channel.ray, "get", lambda call: None)
    gpu_channel.Workers([actor, actor], tensor_parallel=0, timeout_s=9.0).init_weight_transfer_engine({"packed": True})
    assert calls == [("init", {"packed": True})] * 2


@pytest.mark.parametrize(("transport", "backend"), [("nccl", "nccl"), ("ipc", "ipc")])
def test_a_channel_is_vllms_own_trainer_of_its_transport(monkeypatch, transport, backend):
    from trainer.learner import gpu_channel

    made = []
    trainer = SimpleNamespace(trainer_init=lambda given, **others: made.append((given, others)))
    monkeypatch.setattr(gpu_channel, "WeightTransferTrainerFactory", trainer)
    sizes = [SimpleNamespace(nbytes=nbytes) for nbytes in (10, 3 * 2**20)]
    model = SimpleNamespace(exported=lambda: sizes)
    learner = SimpleNamespace(config=compose(["rollout.weights.bucket_mib=2"]), rank=1, model=model)
    gpu_channel.Channel(learner, ["a", "b"], transport, "10.0.0.1", 99)
    ((given, others),) = made
    # Over IPC vLLM has one buffer, and refuses a tensor that is larger.
    size = (2 if transport == "nccl" else 3) * 2**20
    assert (given.backend, given.rank, given.packed_buffer_size_bytes) == (backend, 1, size)
    assert others["client"].tensor_parallel == (1 if transport == "nccl" else 0)
    if transport == "nccl":
        assert (given.master_address, given.master_port, given.world_size) == ("10.0.0.1", 99, 3)
    else:
        assert given.packed
