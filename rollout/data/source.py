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
from conf.schema.strategy import UNTRAINED
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


def check_source(config: Config, source: Source) -> None:
    """Raise ConfigError for what a run needs of its data set and does not find there."""
    check_held_out(config, source)
    check_solutions(config, source)
    check_given_subquestions(config, source)


def check_held_out(config: Config, source: Source) -> None:
    """Raise ConfigError if a run is to be evaluated and its data set has nothing held out to evaluate it on."""
    data = config.data
    if not _evaluated(config) or source.held_out(1):
        return
    if data.source != "files":
        raise ConfigError(f"data.source: '{data.source}' holds no problem out; allowed with it: no stage evaluate")
    raise ConfigError(
        f"data.held_out_share: none of {len(source.rows)} rows is held out with {data.held_out_share:g}, and stage "
        "evaluate or evaluation.every needs some; allowed: a larger share, more rows, files in data.held_out, or "
        "evaluation.every=0 without stage evaluate"
    )


def _evaluated(config: Config) -> int:
    """Return how many held-out problems a run is to be evaluated on at most."""
    evaluation = config.evaluation
    in_ppo = _runs_ppo(config) and 0 < evaluation.every <= config.algorithm.steps
    return max("evaluate" in config.stages and evaluation.problems, in_ppo and evaluation.subset)


def _runs_ppo(config: Config) -> bool:
    """Return whether training problems are run in stage 2."""
    return "ppo" in config.stages and not config.rollout.replay


def check_given_subquestions(config: Config, source: Source) -> None:
    """Raise ConfigError if the policy is to answer the data's sub-questions, and no training row has any, or not every
    problem that it is evaluated on: those would be answered without. A problem of one step has an empty list."""
    policy = config.policy
    if policy.plays != "solver" or policy.decomposer != "gold" or config.strategy.name in UNTRAINED:
        return
    found = "policy.decomposer: 'gold' has the policy answer the data's sub-questions, and"
    instead = "allowed: a data set that has them, as data=gsm8k_socratic, or policy.decomposer=solver"
    if _runs_ppo(config) and source.rows and all(problem.subquestions is None for problem in source.rows):
        raise ConfigError(f"{found} none of {len(source.rows):,} training rows has any; {instead}")
    problems = source.held_out(count) if (count := _evaluated(config)) else []
    if lacking := sum(problem.subquestions is None for problem in problems):
        raise ConfigError(
            f"{found} {lacking:,} of {len(problems):,} held-out problems that it is evaluated on have none; {instead}, "
            "or evaluation.every=0 without stage evaluate"
        )


def check_solutions(config: Config, source: Source) -> None:
    """Raise ConfigError if a run is to be paid for the gold solution's log-probability and no problem has one."""
    paid = config.rewards.pays_likelihood and _runs_ppo(config)
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
