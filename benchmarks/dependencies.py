"""``dependency_graph`` beside ``daslam`` with given plans: ``python -m benchmarks.dependencies``.

Where sub-questions do not depend on each other the first asks them at once, which saves waiting; where each depends on
the one before it has nothing to save, and must come to the same answers. Nothing is trained; the plans are gold ones,
and all problems are told as those of ``data=chained``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.episodes import running
from conf.schema.config import Config
from launch.compose import compose
from rewards.reward import Scored
from rollout.data import chained
from rollout.data.generated import ITEMS, NAMES
from rollout.data.graph import SUBQUESTION, Graph
from rollout.data.source import make_source
from rollout.jobs import Job
from rollout.records import Problem
from trainer.workers.pipeline import Pipeline

# Sub-questions of a problem in which none depends on another.
WIDTH = 4
ROUNDS = 5
BATCHES = (1, 16, 128)
STRATEGIES = ("daslam", "dependency_graph")
# A sub-question as ``dependency_graph`` reads it: the shipped solver reads the answers before the question.
WITH_REFERENCES = "{references} {question}"


def independent_problem(index: int) -> tuple[Problem, list[str]]:
    """Make a problem of ``WIDTH`` quantities, each told relative to another one that is given, that asks for two of
    them together; return it and its decomposition."""
    rng = random.Random(f"independent {index}")
    names, item = rng.sample(NAMES, 2 * WIDTH + 1), rng.choice(ITEMS)
    target, given, derived = names[-1], names[:WIDTH], names[WIDTH:-1]
    # Even, so that each has a half; two together stay below a hundred, as in the task.
    values = [2 * value for value in rng.sample(range(4, 16), WIDTH)]
    told = [
        (chained.MORE[0].format(x="{x}", y="{y}", k=3), lambda value: value + 3),
        (chained.FEWER[0].format(x="{x}", y="{y}", k=5), lambda value: value - 5),
        (chained.TIMES[0].format(x="{x}", y="{y}", w="twice"), lambda value: value * 2),
        (chained.HALF[0], lambda value: value // 2),
    ]
    rng.shuffle(told)
    computed = [compute(value) for (_, compute), value in zip(told, values, strict=True)]
    sentences = [chained.GIVEN.format(x=name, v=value, i=item) for name, value in zip(given, values, strict=True)]
    sentences += [form.format(x=x, y=y) for (form, _), x, y in zip(told, derived, given, strict=True)]
    sentences.append(chained.TOGETHER[0].format(x=target, y=derived[0], z=derived[1]))
    question = f"{'. '.join(sentences)}. How many {item} does {target} have?"
    plan = [SUBQUESTION.format(i=item, x=name) for name in derived]
    return Problem(f"independent-{index}", question, str(computed[0] + computed[1])), plan


def with_references(problem: Problem) -> list[str]:
    """Return a problem's gold decomposition, with in each sub-question the numbers of those whose answers it needs."""
    graph, plan = Graph(problem), list(problem.subquestions or [])
    number = {name: place for place, name in enumerate(graph.needed[:-1], 1)}
    written = []
    for question, name in zip(plan, graph.needed, strict=False):
        needed = [f"#{number[other]}" for other in graph.quantities[name].operands if other in number]
        written.append(WITH_REFERENCES.format(references=" ".join(needed), question=question) if needed else question)
    return written


async def timed(
    pipeline: Pipeline, strategy: str, pairs: Sequence[tuple[Problem, list[str]]]
) -> tuple[float, list[Scored]]:
    """Seconds for a batch of episodes in flight at once, and the episodes."""
    jobs = [
        Job(index, problem, strategy, seed=index, temperature=0.0, given=plan)
        for index, (problem, plan) in enumerate(pairs)
    ]
    started = time.perf_counter()
    scored = await pipeline.run(jobs)
    return time.perf_counter() - started, scored


def right(scored: Sequence[Scored]) -> str:
    """Return the share of right answers."""
    return f"{sum(item.reward.correct for item in scored) / len(scored):.2f}"


async def measure(config: Config, count: int, console: Console) -> None:
    """Time both on batches of several sizes, compare their answers, print the tables."""
    table = Table("episodes at once", "daslam, s", "dependency_graph, s", "ratio", "right", title="independent")
    fresh = (independent_problem(index) for index in itertools.count())
    async with running(config, console) as (pipeline, _):
        await timed(pipeline, "daslam", list(itertools.islice(fresh, max(BATCHES))))  # warm
        for size in BATCHES:
            seconds: dict[str, list[float]] = {name: [] for name in STRATEGIES}
            found: dict[str, list[Scored]] = {name: [] for name in STRATEGIES}
            for _ in range(ROUNDS):
                for name in STRATEGIES:  # each has problems of its own: the solver keeps the prefixes of prompts
                    taken, scored = await timed(pipeline, name, list(itertools.islice(fresh, size)))
                    seconds[name].append(taken)
                    found[name] += scored
            slow, fast = (median(seconds[name]) for name in STRATEGIES)
            rights = " and ".join(right(found[name]) for name in STRATEGIES)
            table.add_row(str(size), f"{slow:.3f}", f"{fast:.3f}", f"{slow / fast:.2f}", rights)
            console.print(f"{size} at once: daslam {slow:.3f} s, dependency_graph {fast:.3f} s", highlight=False)
        problems = make_source(config.data).held_out(count)
        _, one = await timed(pipeline, "daslam", [(problem, list(problem.subquestions or [])) for problem in problems])
        _, other = await timed(
            pipeline, "dependency_graph", [(problem, with_references(problem)) for problem in problems]
        )
    console.print(table)
    same = sum(a.episode.final.answer == b.episode.final.answer for a, b in zip(one, other, strict=True))
    back = sum(item.episode.note is not None for item in other)
    console.print(
        f"chained: {same} of {count} answers equal; right {right(one)} with daslam, {right(other)} with "
        f"dependency_graph; {back} answered in sequence for want of an order",
        highlight=False,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chained", type=int, default=200, help="held-out problems of chained quantities")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides")
    chosen = parser.parse_args()
    asyncio.run(measure(compose(["data=chained", *chosen.overrides]), chosen.chained, Console()))
