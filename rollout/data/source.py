"""Where problems come from: the embedded generator or files, each with a train and a held-out split."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rollout.data import chained
from rollout.records import Problem, RecordError


class Source(Protocol):
    """A data set with two splits that share no question."""

    def train(self, seed: int) -> Iterator[Problem]:
        """Training problems in an order that the seed fixes, without end."""
        ...

    def held_out(self, count: int) -> list[Problem]:
        """The first ``count`` held-out problems; always the same ones."""
        ...

    def imperfect_plan(
        self, problem: Problem, rng: random.Random, drop: float, swap: float, redundant: float
    ) -> list[str]:
        """A plan as an automatic teacher might write it."""
        ...


class Chained:
    """The embedded task. ``steps`` and ``eval_steps`` weigh the number of reasoning steps."""

    def __init__(self, steps: dict[int, float], eval_steps: dict[int, float]) -> None:
        self._steps, self._eval_steps = steps, eval_steps

    def train(self, seed: int) -> Iterator[Problem]:
        """Fresh problems, none twice."""
        return chained.generate(seed + 1_000, "train", self._steps)

    def held_out(self, count: int) -> list[Problem]:
        """The evaluation set is one, whatever the run's seed."""
        return list(itertools.islice(chained.generate(0, "held_out", self._eval_steps), count))

    def imperfect_plan(
        self, problem: Problem, rng: random.Random, drop: float, swap: float, redundant: float
    ) -> list[str]:
        """See ``chained.imperfect_plan``."""
        return chained.imperfect_plan(problem, rng, drop, swap, redundant)


class Files:
    """Two JSON-lines files of problems. Rows that are no problems are refused by line number; held-out
    questions are taken out of the training rows."""

    def __init__(self, train: Path, held_out: Path, limit: int | None = None) -> None:
        self._held_out = read_problems(held_out)
        unseen = {problem.question for problem in self._held_out}
        self._train = [problem for problem in read_problems(train) if problem.question not in unseen][:limit]
        if not self._train:
            raise RecordError(f"{train} holds no problem that is not held out")

    def train(self, seed: int) -> Iterator[Problem]:
        """All rows, shuffled anew every epoch."""
        for epoch in itertools.count():
            rows = list(self._train)
            random.Random(f"files {seed} {epoch}").shuffle(rows)
            yield from rows

    def held_out(self, count: int) -> list[Problem]:
        """The first rows of the held-out file."""
        return self._held_out[:count]

    def imperfect_plan(
        self, problem: Problem, rng: random.Random, drop: float, swap: float, redundant: float
    ) -> list[str]:
        """The row's sub-questions, some dropped, perhaps in random order, perhaps one of them twice."""
        plan = [question for question in problem.subquestions or [] if rng.random() >= drop]
        if rng.random() < swap:
            rng.shuffle(plan)
        if plan and rng.random() < redundant:
            plan.insert(rng.randint(0, len(plan)), rng.choice(plan))
        return plan or list(problem.subquestions or [])[:1]


def read_problems(path: Path) -> list[Problem]:
    """Read one problem a line; raises RecordError that names file and line."""
    problems = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                problems.append(Problem.from_json(json.loads(line)))
            except ValueError as error:
                raise RecordError(f"{path}, line {number}: {error}") from None
    if not problems:
        raise RecordError(f"{path} holds no problems")
    return problems
