"""The sources of problems: an embedded generator or files, each with a train and a held-out split.

Invariant: no training question is held out. Of files that is checked by normalised text, and what was found is told.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Protocol

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.data import Data
from conf.schema.own_parts import is_own, make_part
from rollout.data import branched, chained
from rollout.data.bad_rows import misspelt, other_fields
from rollout.data.files import Files
from rollout.data.generated import Generate, Generated
from rollout.records import Problem

# Of a question, where a row is shown in a line.
SHOWN_CHARS = 100
# Of a source.
MEMBERS = ("report", "rows", "train", "held_out", "is_held_out", "imperfect_decomposition")
GENERATE: dict[str, Generate] = {"chained": chained.generate, "branched": branched.generate}


class Source(Protocol):
    """A data set with two splits that share no question. ``report`` counts what was read and what was left out;
    ``rows`` are its training problems where those are a list, none of a generator."""

    report: dict[str, int]
    rows: Sequence[Problem]

    def train(self, seed: int) -> Iterator[Problem]:
        """Yield training problems in an order that the seed fixes, without end."""
        ...

    def held_out(self, count: int) -> list[Problem]:
        """Return ``count`` held-out problems, or all if there are fewer; always the same ones."""
        ...

    def is_held_out(self, question: str) -> bool:
        """Return whether a question is never to be trained on."""
        ...

    def imperfect_decomposition(
        self, problem: Problem, rng: random.Random, drop: float, swap: float, redundant: float
    ) -> list[str]:
        """Return a decomposition as an automatic teacher might write it."""
        ...


def check_held_out(config: Config, source: Source) -> None:
    """Raise ConfigError if a run is to be evaluated and its data set has nothing held out to evaluate it on."""
    data = config.data
    in_ppo = "ppo" in config.stages and not config.rollout.replay
    evaluated = "evaluate" in config.stages or (in_ppo and 0 < config.evaluation.every <= config.algorithm.steps)
    if not evaluated or source.held_out(1):
        return
    if data.source != "files":
        raise ConfigError(f"data.source: '{data.source}' holds no problem out; allowed with it: no stage evaluate")
    raise ConfigError(
        f"data.held_out_share: none of {len(source.rows)} rows is held out with {data.held_out_share:g}, and stage "
        "evaluate or evaluation.every needs some; allowed: a larger share, more rows, files in data.held_out, or "
        "evaluation.every=0 without stage evaluate"
    )


def check_solutions(config: Config, source: Source) -> None:
    """Raise ConfigError if a run is to be paid for the gold solution's log-probability and no problem has one."""
    paid = config.rewards.pays_likelihood and "ppo" in config.stages and not config.rollout.replay
    if not paid or "{solution}" not in config.strategy.gold_template or not source.rows:
        return
    if not any(problem.solution for problem in source.rows):
        raise ConfigError(
            f"strategy.gold_template: rewards.weights.solver_likelihood pays for '{config.strategy.gold_template}', "
            f"and none of {len(source.rows)} rows has a solution; allowed: some with one, or rewards=solver_likelihood"
        )


def what_was_read(source: Source, rows: int = 2) -> list[str]:
    """Return lines about a data set that was read: the counts of its report, and its first training problems as they
    were read, or held-out ones where there are no others, repeated questions, and fields that may be misspelt; nothing
    about one that was made."""
    if not source.report:
        return []
    counts = ", ".join(f"{name} {count:,}" for name, count in source.report.items())
    lines = [f"problems: {counts}", *map(row_in_words, source.rows[:rows] or source.held_out(rows))]
    lines += source.repeated if isinstance(source, Files) else []
    unread = misspelt(other_fields(source.rows))
    return [*lines, f"  not read: {', '.join(unread)}"] if unread else lines


def row_in_words(problem: Problem) -> str:
    """Return a problem as it was read, in a line: id, question, answer with its type, and what else it has."""
    question = " ".join(problem.question.split())
    shown = question if len(question) <= SHOWN_CHARS else f"{question[:SHOWN_CHARS].rstrip()}…"
    having = [f"{len(problem.subquestions)} sub-questions"] if problem.subquestions else []
    having += [f"{len(problem.choices)} choices"] if problem.choices else []
    having += ["a solution"] if problem.solution else []
    return f"  {problem.id}: {shown} → {problem.answer} ({', '.join([problem.answer_type, *having])})"


def make_source(data: Data) -> Source:
    """Build the configured data set. Raises RecordError for rows that are no problems, ConfigError for a class of the
    user's own that does not take its options."""
    if is_own(data.source):
        own: Source = make_part("data.options" if data.options else "data.source", data.source, MEMBERS, **data.options)
        return own
    if data.source in GENERATE:
        return Generated(GENERATE[data.source], dict(data.steps), dict(data.eval_steps))
    return Files(data)
