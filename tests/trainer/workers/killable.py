"""Actors that are killed in the middle of their work; every process of theirs imports this module, which therefore
imports little."""

from __future__ import annotations

import asyncio
import os

import ray

from rewards.reward import Reward
from rollout.jobs import NotReady, Outcome
from rollout.records import Episode, PolicyCall, opened

COUNT = 40


def stalls() -> bool:
    """Return whether this process is to be killed, in the middle of its work; the next one does all of it."""
    return not ray.get_runtime_context().was_current_actor_reconstructed


class Runs:
    """A rollout worker whose episodes take a moment each, one after the other, and which notes those it has run."""

    def __init__(self, notes: str, killed: bool) -> None:
        self.notes, self.done, self.running = notes, None, set()
        # Where it is the relay that dies, what did not arrive is run twice.
        self.runs = COUNT // 2 if killed and stalls() else 2 * COUNT

    async def ready(self, solvers):
        self.done = asyncio.Queue()
        return os.getpid()

    async def process(self):
        return os.getpid()

    async def submit(self, jobs):
        if self.done is None:
            raise NotReady("not yet")
        task = asyncio.create_task(self._run(jobs, self.done))
        self.running.add(task)

    async def _run(self, jobs, done):
        for job in jobs:
            if self.runs == 0:
                await asyncio.Event().wait()
            self.runs -= 1
            await asyncio.sleep(0.05)
            with open(self.notes, "a") as notes:
                notes.write(f"{job.id}\n")
            sample = PolicyCall("decompose", [1], [job.id], [-0.5], [0])
            done.put_nowait(Outcome(job, Episode(job.problem, "daslam", calls=[sample])))

    async def collect(self, wait_s):
        if self.done is None:
            raise NotReady("not yet")
        outcomes = [await self.done.get()]
        while not self.done.empty():
            outcomes.append(self.done.get_nowait())
        return outcomes


class Scores:
    """A reward actor that takes a moment for a batch."""

    def __init__(self, killed: bool) -> None:
        self.scores = COUNT // 2 if killed and stalls() else 2 * COUNT

    async def ready(self):
        return os.getpid()

    process = ready

    async def score(self, episodes):
        if self.scores <= 0:
            await asyncio.Event().wait()
        self.scores -= len(episodes)
        await asyncio.sleep(0.1)
        return [(opened(one).packed(), Reward({}, 1.0, {}, [], 1.0, None)) for one in episodes]


class Owns:
    """A learner's rank, with which its weights die."""

    def process(self):
        return os.getpid()

    def gather(self, whole):
        from rollout.engine.weight_update import Update

        return Update(1, (ray.put(bytes(1_000_000)),))


class Fetches:
    """A rollout worker that fetches weights and does nothing with them."""

    async def load_weights(self, update, probe=(), expected=()):
        from rollout.engine.weight_update import Loaded

        (bucket,) = await asyncio.gather(*update.buckets)
        return Loaded(update.version, nbytes=len(bucket))
