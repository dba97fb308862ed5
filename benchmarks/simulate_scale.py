"""How the controller bears many rollout workers: ``python -m benchmarks.simulate_scale [--workers 8 64 256]
[--write]``.

Real are the controller, its buffer, the pipeline, its relays, the learner group, Ray and its actor calls; simulated, by
timers, are what the workers, the reward actors and the learner do. Workers share a few actor processes (``--hosts``),
but each is called on its own, as often as a real one. Their episodes take times from the distribution measured on the
chained task, stretched to ``--seconds``. Everything runs on this machine: where its cores are busy, rates are lower
than a controller's with a core of its own, so the controller's processor time an episode is shown too, and what one
core would bear.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import re
import resource
import tempfile
import time
from collections import deque
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
import ray

from benchmarks.processes import Machine
from conf.schema.places import ROOT
from conf.schema.rewards import PARTS
from launch.compose import compose
from rewards.reward import MEASURES, Reward, Sample
from rollout.engine.weight_update import Loaded, Update
from rollout.jobs import Job, Outcome
from rollout.records import Attempt, Decomposition, Episode, PackedEpisode, PolicyCall, Problem, Turn, opened
from trainer.cluster.ray_cluster import ray_session
from trainer.learner.learner_group import LearnerGroup
from trainer.reports.tables import markdown
from trainer.stages.ppo import Controller
from trainer.workers.pipeline import TRAINING, Pipeline
from trainer.workers.relay import Relay, relay_count
from trainer.workers.relayed_pipeline import RelayedPipeline

# Durations of 260 episodes of a run of data=chained on two cores, every twentieth part, over their mean of 6.0 s.
DURATIONS = (0.49, 0.60, 0.64, 0.70, 0.75, 0.82, 0.86, 0.91, 0.94, 0.96, 0.99, 1.02, 1.06, 1.09, 1.15, 1.22, 1.25,
             1.26, 1.34, 1.42, 1.61)  # fmt: skip
SUBQUESTION = "How many pens does Amy have after Tom gives her two of his?"
SAMPLE_TOKENS = 60
ENDED = "ended"
LEARN_S = 0.5
LOAD_S = 0.04
PAGE = ROOT / "docs" / "scaling.md"


class SimulatedWorker:
    """One rollout worker: ``concurrency`` episodes at once, each a timer."""

    def __init__(self, seed: int, concurrency: int, seconds: float) -> None:
        self.rng = random.Random(seed)
        self.free, self.seconds = concurrency, seconds
        self.waiting: deque[Job] = deque()
        self.done: asyncio.Queue[Outcome] = asyncio.Queue()
        self.version = 0

    def submit(self, jobs: list[Job]) -> None:
        """Start jobs, as many at once as may be."""
        self.waiting.extend(jobs)
        self._begin()

    def _begin(self) -> None:
        while self.waiting and self.free:
            self.free -= 1
            duration = self.seconds * self.rng.choice(DURATIONS)
            asyncio.get_running_loop().call_later(duration, self._end, self.waiting.popleft(), self.version)

    def _end(self, job: Job, version: int) -> None:
        self.free += 1
        turns = [Turn(SUBQUESTION, "Amy has 3 + 2 = 5 pens.", "5") for _ in range(4)]
        versions = [version] * (SAMPLE_TOKENS // 2) + [self.version] * (SAMPLE_TOKENS // 2)
        sample = PolicyCall("decompose", list(range(80)), list(range(SAMPLE_TOKENS)), [-0.5] * SAMPLE_TOKENS, versions)
        plan = Decomposition(SUBQUESTION * 4, [SUBQUESTION] * 4)
        episode = Episode(job.problem, job.strategy, Attempt("?"), plan, turns, Attempt("5", "5"), calls=[sample])
        episode.seconds = time.time()  # of its end, to see how long it travels
        self.done.put_nowait(Outcome(job, episode))
        self._begin()

    async def collect(self, wait_s: float) -> list[Outcome]:
        """As ``RolloutWorker.collect``."""
        try:
            async with asyncio.timeout(wait_s):
                outcomes = [await self.done.get()]
        except TimeoutError:
            return []
        await asyncio.sleep(0.02)
        while not self.done.empty():
            outcomes.append(self.done.get_nowait())
        return outcomes


class Host:
    """Several simulated workers in one process; every call names the worker that it is for."""

    def __init__(self, indices: list[int], concurrency: int, seconds: float) -> None:
        self.workers = {index: SimulatedWorker(index, concurrency, seconds) for index in indices}

    async def ready(self, *_: Any) -> None:
        """Return once the process is there."""

    async def submit(self, index: int, jobs: list[Job]) -> None:
        """Start jobs."""
        self.workers[index].submit(jobs)

    async def collect(self, index: int, wait_s: float) -> list[Outcome]:
        """Finished episodes."""
        return await self.workers[index].collect(wait_s)

    async def load_weights(self, index: int, update: Update, *_: Any) -> Loaded:
        """Take as long as an engine does."""
        await asyncio.sleep(LOAD_S)
        self.workers[index].version = update.version
        return Loaded(update.version, 0.0, pause_s=LOAD_S)


class Handle:
    """A worker as the pipeline sees it: a method's ``remote`` calls the host with the worker's index."""

    def __init__(self, host: Any, index: int) -> None:
        self._host, self._index = host, index

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what pickle looks for
            raise AttributeError(name)
        return _Method(getattr(self._host, name), self._index)


class _Method:
    def __init__(self, method: Any, index: int) -> None:
        self._method, self._index = method, index

    def remote(self, *arguments: Any) -> Any:
        return self._method.remote(self._index, *arguments)


class SimulatedRewards:
    """Pays every episode at once: real scoring is parallel over reward actors and not what is asked here."""

    async def ready(self) -> None:
        """Return once the process is there."""

    async def score(self, episodes: list[Episode | PackedEpisode]) -> list[tuple[Episode | PackedEpisode, Reward]]:
        """Each episode, opened and packed as the real ones are, with a reward that says when it ended."""
        found: list[tuple[Episode | PackedEpisode, Reward]] = []
        for episode in map(opened, episodes):
            measures = {**dict.fromkeys(MEASURES, 0.0), ENDED: episode.seconds}
            shares = {part: [0.1] * 4 for part in PARTS}
            reward = Reward(dict.fromkeys(PARTS, 0.5), 1.0, {}, [0.2] * 4, 1.0, 0.0, measures=measures, shares=shares)
            found.append((episode.packed(), reward))
        return found


class SimulatedRank:
    """A learner rank that takes a batch and the time for it."""

    def __init__(self) -> None:
        self.version = 0

    async def ready(self) -> None:
        """Return once the process is there."""

    async def train_step(self, batch: list[Any]) -> dict[str, float]:
        """Wait; the staleness of what was given."""
        rows = [row for item in batch for row in item.open().rows]
        await asyncio.sleep(LEARN_S)
        ages = [self.version - min(row.versions) for row in rows]
        self.version += 1
        tokens = sum(len(row.token_ids) for row in rows)
        speed = {"throughput/learner_tokens_s": tokens / LEARN_S, "time/learn": LEARN_S}
        return speed | {"staleness/max": max(ages), "staleness/mean": sum(ages) / len(ages), "tokens/policy": tokens}

    async def gather(self, whole: bool) -> Update:
        """Nothing that is large: a push's size is the object store's matter."""
        return Update(self.version)

    async def probe(self, batch: list[Any]) -> tuple[list[Any], list[Any]]:
        """No sequences."""
        return [], []


def noting_travel(pipeline: Pipeline) -> list[float]:
    """Return a list to which the pipeline adds how long each episode was under way from its end to the controller."""
    travelled: list[float] = []
    as_it_is = pipeline.next

    async def timed(lane: int = TRAINING) -> list[Sample]:
        items = await as_it_is(lane)
        now = time.time()
        travelled.extend(now - item.reward.measures[ENDED] for item in items)
        return items

    pipeline.next = timed  # type: ignore[method-assign]
    return travelled


async def simulate(
    workers: int, hosts: int, steps: int, concurrency: int, seconds: float, logs: Path
) -> dict[str, float]:
    """Run PPO's loop over simulated roles; what was seen."""
    batch = max(1, workers * concurrency // 2)
    config = compose(
        [f"algorithm.batch_size={batch}", f"algorithm.steps={steps}", "algorithm.minibatches=1", "stages=[ppo]"]
    )
    places = [list(range(host, workers, hosts)) for host in range(min(hosts, workers))]
    actors = [
        ray.remote(Host).options(num_cpus=0, max_concurrency=100_000).remote(place, concurrency, seconds)
        for place in places
    ]
    handles = [Handle(actors[index % len(actors)], index) for index in range(workers)]
    rewards = [ray.remote(SimulatedRewards).options(num_cpus=0, max_concurrency=1000).remote() for _ in range(hosts)]
    learner = LearnerGroup(lambda: [ray.remote(SimulatedRank).options(num_cpus=0).remote()])
    await asyncio.gather(*(actor.ready.remote() for actor in [*actors, *rewards, *learner.ranks]))
    relays = [
        ray.remote(Relay).options(num_cpus=0).remote(index, count, str(logs), 300.0, 300.0, 60.0)
        for count in [relay_count(workers, len(rewards))]
        for index in range(count)
    ]
    await asyncio.gather(*(relay.ready.remote(rewards) for relay in relays))
    settings = (handles, list[Any](), rewards, logs, 300.0, 3, 60.0)
    pipeline = RelayedPipeline(*settings, relays=relays) if relays else Pipeline(*settings)
    travelled = noting_travel(pipeline)
    problems = (Problem(str(number), "How many pens does Amy have?" * 5, "5") for number in itertools.count())
    me = psutil.Process()
    lags: list[float] = []
    began: list[float] = []

    async def on_step(step: int, metrics: dict[str, float], batch: list[Sample]) -> None:
        if step == 1:  # what comes before is start-up
            began[:] = [time.perf_counter(), cpu_seconds(), me.memory_info().rss]
            travelled.clear()
            lags.clear()

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.05)
            lags.append(time.perf_counter() - before - 0.05)

    pipeline.start()
    watching = asyncio.create_task(watch())
    await Controller(config, pipeline, learner, problems, on_step).run()
    wall, cpu = time.perf_counter() - began[0], cpu_seconds() - began[1]
    episodes = len(travelled)
    watching.cancel()
    await pipeline.stop()
    for actor in [*actors, *rewards, *learner.ranks, *relays]:
        ray.kill(actor)
    travel = quantiles(travelled, n=20)
    return {
        "workers": workers,
        "in flight": workers * concurrency,
        "offered": workers * concurrency / seconds,
        "taken": episodes / wall,
        "ms": 1000 * cpu / episodes,
        "bears": episodes / cpu,
        "median": travel[9],
        "p95": travel[18],
        "lag": quantiles(lags, n=20)[18],
        "rss": me.memory_info().rss / 2**20,
        "growth": (me.memory_info().rss - began[2]) / 2**20,
    }


def cpu_seconds() -> float:
    """Processor time of this process, Ray's threads in it included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


COLUMNS = {
    "workers": "workers", "in flight": "in flight", "offered": "offered 1/s", "taken": "taken 1/s",
    "ms": "CPU ms an episode", "bears": "a core bears 1/s", "median": "travel median s", "p95": "travel 95 % s",
    "lag": "loop lag 95 % s", "rss": "resident MiB", "growth": "grown MiB",
}  # fmt: skip


def page(text: str, table: str, conditions: str) -> str:
    """Return the page on scaling with a new table and a new line under it."""
    changed, count = re.subn(r"^\| workers \|.*?\n\n.*?\n\n", f"{table}\n\n{conditions}\n\n", text, flags=re.M | re.S)
    if count != 1:
        raise ValueError(f"{PAGE} must hold one table of workers, found {count}")
    return changed


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="benchmarks.simulate_scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--hosts", type=int, default=4, help="actor processes that the workers share")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--concurrency", type=int, default=64, help="episodes in flight a worker")
    parser.add_argument("--seconds", type=float, default=4.0, help="mean duration of an episode")
    parser.add_argument("--write", action="store_true", help="put the table into docs/scaling.md")
    options = parser.parse_args()
    machine = Machine()
    config = compose(["cluster.num_cpus=4", "cluster.object_store_gib=1"])
    rows = []
    # What still runs when its folder goes writes to a file without a name.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as logs, ray_session(config):
        for workers in options.workers:
            settings = (workers, options.hosts, options.steps, options.concurrency, options.seconds)
            row = asyncio.run(simulate(*settings, Path(logs)))
            rows.append(
                {COLUMNS[name]: f"{value:.3g}" if value < 10 else f"{value:,.0f}" for name, value in row.items()}
            )
            print(markdown(list(COLUMNS.values()), rows[-1:]), flush=True)
    table = markdown(list(COLUMNS.values()), rows)
    conditions = (
        f"{options.steps} learner steps a row, {options.concurrency} episodes in flight a worker, {options.seconds:g} s"
        f" each in the mean; {machine.line()}."
    )
    print(f"\n{table}\n\n{conditions}")
    if options.write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), table, conditions), encoding="utf-8")


if __name__ == "__main__":
    main()
