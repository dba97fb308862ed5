"""Where problems come from: the embedded generator or files, each with a train and a held-out split.

Invariant: no training question is held out. Of files that is checked by normalised text, and what was found is told.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from rewards.answers import score
from rollout.data import chained
from rollout.records import Problem, RecordError

# Of a file that is wrong from its first row to its last, so many rows are named.
BAD_ROWS_NAMED = 50


class Source(Protocol):
    """A data set with two splits that share no question. ``report`` counts what was read and what was left out."""

    report: dict[str, int]

    def train(self, seed: int) -> Iterator[Problem]:
        """Training problems in an order that the seed fixes, without end."""
        ...

    def held_out(self, count: int) -> list[Problem]:
        """``count`` held-out problems, or all if there are fewer; always the same ones."""
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
        self.report: dict[str, int] = {}

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
    """Problems from JSON-lines files, several to a split if need be.

    Without ``held_out`` files a fixed ``held_out_share`` of the rows is held out, by a hash of the question. Bad rows
    of all files end the reading with one RecordError that names each, or are left out and counted (``skip_bad``).
    Training rows whose question is held out are left out and counted, or refused (``refuse_overlap``).
    """

    def __init__(
        self,
        train: Sequence[Path],
        held_out: Sequence[Path],
        limit: int | None = None,
        *,
        held_out_share: float = 0.0,
        skip_bad: bool = False,
        refuse_overlap: bool = False,
    ) -> None:
        bad: list[str] = []
        rows, self._held_out = read_all(train, bad), read_all(held_out, bad)
        if bad and not skip_bad:
            raise RecordError(_named(bad))
        if not held_out:
            shares = [(_share(problem.question), problem) for problem in rows]
            self._held_out = [problem for share, problem in shares if share < held_out_share]
            rows = [problem for share, problem in shares if share >= held_out_share]
        unseen = {normalised(problem.question): problem.id for problem in self._held_out}
        overlap = [problem for problem in rows if normalised(problem.question) in unseen]
        if overlap and refuse_overlap:
            pairs = ", ".join(f"{problem.id} = {unseen[normalised(problem.question)]}" for problem in overlap[:10])
            raise RecordError(
                f"{len(overlap)} training questions are held out too ({pairs}{', …' if len(overlap) > 10 else ''}); "
                "data.on_overlap=drop leaves them out of training"
            )
        self._train = [problem for problem in rows if normalised(problem.question) not in unseen][:limit]
        for files, found, name in ((train, self._train, "training"), (held_out, self._held_out, "held-out")):
            if files and not found:
                raise RecordError(f"{', '.join(map(str, files))}: no {name} problem is left")
        self.report = {
            "train": len(self._train),
            "held_out": len(self._held_out),
            "bad_rows_skipped": len(bad),
            "overlap_dropped": len(overlap),
            "held_out_repeats": len(self._held_out) - len(unseen),
        }

    def train(self, seed: int) -> Iterator[Problem]:
        """All rows, shuffled anew every epoch. Raises RecordError if there are none."""
        if not self._train:
            raise RecordError("the data set has no training rows; allowed with it: stages=[evaluate]")
        for epoch in itertools.count():
            rows = list(self._train)
            random.Random(f"files {seed} {epoch}").shuffle(rows)
            yield from rows

    def held_out(self, count: int) -> list[Problem]:
        """A fixed draw: files are often sorted by subject, so that their first rows would stand for one of them."""
        rows = list(self._held_out)
        random.Random("files held out").shuffle(rows)
        return rows[:count]

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


def normalised(question: str) -> str:
    """What two copies of a question have in common: letters in lower case, without spaces, quotes, dollar signs and
    the punctuation of sentences. Signs and decimal points stay: x + 2 is not x - 2."""
    text = unicodedata.normalize("NFKC", question).casefold().replace("’", "'")
    return re.sub(r"[.,;:!?]+(?=\s|$)|[\"“”„$]|\s+", "", text)


def _share(question: str) -> float:
    """A number in [0, 1) that the question's text fixes."""
    return int.from_bytes(hashlib.sha256(normalised(question).encode()).digest()[:4], "big") / 2**32


def read_all(paths: Sequence[Path], bad: list[str]) -> list[Problem]:
    """The problems of several files; what is wrong with a row is added to ``bad``, under file, line and field."""
    problems: list[Problem] = []
    lines: dict[str, str] = {}
    for path in paths:
        found = 0
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                found += 1
                place = f"{path}, line {number}"
                try:
                    problem = _usable(Problem.from_json(_decoded(line)))
                    if problem.id in lines:
                        raise RecordError(f"field 'id' is {problem.id!r}, which {lines[problem.id]} has")
                except ValueError as error:
                    bad.append(f"{place}: {error}")
                    continue
                lines[problem.id] = place
                problems.append(problem)
        if not found:
            bad.append(f"{path} holds no rows")
    return problems


def _decoded(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8").rstrip())
    except json.JSONDecodeError as error:
        raise RecordError(f"no JSON: {error.msg} at column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise RecordError(f"no UTF-8: byte {error.start + 1}") from None
    except RecursionError:
        raise RecordError("nested too deeply") from None


def _usable(problem: Problem) -> Problem:
    """The problem, if its gold answer would be marked right; raises RecordError: nobody could ever solve it."""
    if score(problem, problem.answer) != 1.0:
        raise RecordError(
            f"field 'answer' is {problem.answer!r}, which can be no answer of type '{problem.answer_type}'"
            + (f" with {len(problem.choices)} choices" if problem.choices else "")
        )
    return problem


def _named(bad: Sequence[str]) -> str:
    named = [f"  {row}" for row in bad[:BAD_ROWS_NAMED]]
    if len(bad) > BAD_ROWS_NAMED:
        named.append(f"  and {len(bad) - BAD_ROWS_NAMED} more")
    return "\n".join([f"{len(bad)} bad rows (data.on_bad_row=skip leaves them out and counts them):", *named])
