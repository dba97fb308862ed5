"""Stand-ins for actors: the same methods behind ``.remote``, in this process. tests/end_to_end has the real ones."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from ray.exceptions import ActorUnavailableError, RayActorError

from conf.schema.rewards import PARTS
from rewards.reward import Reward
from rollout.engine.weight_update import Loaded, Update
from rollout.jobs import BUDGET, Outcome
from rollout.records import Attempt, Decomposition, Episode, PolicyCall
from trainer.algorithm.rows import Row


class Actor:
    """``actor.method.remote(...)`` runs ``target.method(...)`` as a task."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)

        class Method:
            @staticmethod
            def remote(*arguments: Any) -> Any:
                return asyncio.ensure_future(method(*arguments))

        return Method


class Worker:
    """A rollout worker whose episodes take a random moment, of which a share fails, one of the first among them, and
    which dies when told to.

    After ``budget`` episodes the solver's budget is spent. An episode has so many policy ``calls``.
    """

    def __init__(
        self, seed: int = 0, fail: float = 0.0, delay: float = 0.01, budget: float = float("inf"), calls: int = 1
    ) -> None:
        self.budget, self.calls = budget, calls
        self.rng = random.Random(seed)
        self.fail, self.delay = fail, delay
        self.owed = 0.9 if fail else 0.0
        self.version = 0
        self.done: asyncio.Queue[Outcome] = asyncio.Queue()
        self.dead = False
        self.restarts = 0
        self.seen: list[int] = []
        self.loaded: list[int] = []
        self.life = 0
        self.absent = 0

    def die(self) -> None:
        self.dead = True
        self.life += 1
        self.absent = 2
        self.version = 0
        self.done = asyncio.Queue()

    async def ready(self, solvers: list[Any]) -> int:
        if self.absent:
            self.absent -= 1
            raise ActorUnavailableError("its new process is not there yet", bytes(16))
        self.dead = False
        self.restarts += 1
        return 1

    async def submit(self, jobs: list[Any]) -> None:
        if self.dead:
            raise RayActorError
        for job in jobs:
            self.seen.append(job.id)
            asyncio.ensure_future(self._run(job, self.life))  # noqa: RUF006

    async def _run(self, job: Any, life: int) -> None:
        if self.budget <= 0:
            self.done.put_nowait(Outcome(job, Episode(job.problem, "daslam", outcome=BUDGET)))
            return
        self.budget -= 1
        first = self.version
        await asyncio.sleep(self.delay * self.rng.random())
        if life != self.life:
            return
        self.owed += self.fail
        if self.owed >= 1:
            self.owed -= 1
            self.done.put_nowait(Outcome(job, None, "ConnectionError: gone"))
            return
        # The weights may change in the first call, and the later ones be of newer weights whole.
        calls = [
            PolicyCall("next", [1, 2], [3, job.seed], [-0.5, -0.5], [self.version if later else first, self.version])
            for later in range(self.calls)
        ]
        episode = Episode(job.problem, "daslam", Attempt("?"), Decomposition("a?", ["a?"]), calls=calls)
        self.done.put_nowait(Outcome(job, episode))

    async def collect(self, wait_s: float) -> list[Outcome]:
        if self.dead:
            raise RayActorError
        done = self.done
        try:
            async with asyncio.timeout(0.05):
                outcomes = [await done.get()]
        except TimeoutError:
            return []
        while not done.empty():
            outcomes.append(done.get_nowait())
        if done is not self.done:
            raise RayActorError
        return outcomes

    async def load_weights(self, update: Update, probe: Any = (), expected: Any = ()) -> Loaded:
        if self.dead:
            raise RayActorError
        await asyncio.sleep(self.delay / 4)
        self.version = update.version
        self.loaded.append(update.version)
        return Loaded(update.version, 0.0)


class Rewarder:
    """Pays 1 for every second problem, whatever the sample, but for one whose id holds "varied" something of its
    own for every sample; cannot score a problem whose id holds "poison"."""

    async def score(self, episodes: list[Episode]) -> list[tuple[Episode, Reward]]:
        return [(episode, self._reward(episode)) for episode in episodes]

    def _reward(self, episode: Episode) -> Reward:
        if "poison" in episode.problem.id:
            return Reward({}, float("nan"), {}, [], 0.0, None, error="ValueError: poison")
        right = float(int(episode.problem.id.split("-")[-1]) % 2)
        if "varied" in episode.problem.id and episode.calls:
            right = episode.calls[0].token_ids[1] / 2**31
        return Reward(dict.fromkeys(PARTS, right), right, {}, [0.0], right, 0.0)


def write_checkpoint(folder: str, ranks: int = 1) -> None:
    """Write files by the names that a learner's checkpoint has."""
    (Path(folder) / "learner").mkdir()
    for name in ("config.json", "model.safetensors", *(f"learner/rank-{rank}.json" for rank in range(ranks))):
        (Path(folder) / name).write_text("{}")


def oldest(row: Row) -> int:
    """The oldest version that sampled a token of a row."""
    return min(version for version, kept in zip(row.versions, row.mask, strict=True) if kept)


class Group:
    """A learner that only looks at what it is given."""

    def __init__(self, delay: float = 0.01) -> None:
        self.delay = delay
        self.version = 0
        self.batches: list[list[Any]] = []
        self.staleness: list[int] = []

    async def train_step(self, batch: list[Any]) -> dict[str, float]:
        await asyncio.sleep(self.delay)
        self.batches.append(list(batch))
        ages = [self.version - min(map(oldest, item.rows)) for item in batch]
        assert min(ages) >= 0, "a sample is newer than the weights"
        self.staleness.append(max(ages))
        self.version += 1
        speed = {"throughput/learner_tokens_s": 1.0, "time/learn": 1.0}
        return speed | {"staleness/max": max(ages), "staleness/mean": sum(ages) / len(ages)}

    async def save(self, folder: str) -> None:
        version = self.version
        await asyncio.sleep(self.delay)
        Path(folder).mkdir()
        (Path(folder) / "version").write_text(str(version))

    async def weights(self, batch: Any = ()) -> tuple[Update, Any, Any]:
        return Update(self.version), [], []
