"""Episodes scored a second on one core, beside the rollouts on the other:
``python -m benchmarks.rewards [overrides]``.

Episodes of five sub-questions on problems of the embedded task, in batches of 32: nothing cached; known problems
with new sub-questions and answers, which is what a run sees; everything cached. The rate of the rollouts is that
of the embedded default held to one core, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import replace

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.episodes import rate, running, training_problems
from conf.schema.config import Config
from conf.schema.rewards import Rewards
from launch.compose import compose
from rewards.actor import score_batch
from rewards.nouns_and_vectors import TextResources
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn

BATCH = 32
SUBQUESTIONS = 5


def scored_a_second(episodes: list[Episode], resources: TextResources) -> float:
    """Episodes a second; what is read from their texts is read anew each time."""
    fresh = [
        replace(
            episode,
            initial=Attempt(episode.initial.text) if episode.initial else None,
            turns=[Turn(turn.question, turn.text) for turn in episode.turns],
            final=Attempt(episode.final.text),
        )
        for episode in episodes
    ]
    settings = Rewards.for_mode("bounded")
    started = time.perf_counter()
    for start in range(0, len(fresh), BATCH):
        score_batch(fresh[start : start + BATCH], resources, settings)
    return len(fresh) / (time.perf_counter() - started)


def episode(problem: Problem, round_number: int) -> Episode:
    """Make an episode of five sub-questions. No two problems and no two rounds share a sub-question or a reply."""
    lines = (problem.solution or "").splitlines()
    place = f"in round {round_number} of {problem.id}"
    names = [(line.split()[-4], line) for line in (lines * SUBQUESTIONS)[:SUBQUESTIONS]]
    plan = [
        f"How many {problem.meta['item']} does {name} have at {index}, {place}?"
        for index, (name, _) in enumerate(names)
    ]
    turns = [Turn(question, f"{line} That is so {place}.") for question, (_, line) in zip(plan, names, strict=True)]
    final = "\n".join(f"{line} Checked {place}." for line in lines)
    return Episode(problem, "daslam", Attempt(lines[0]), Decomposition("\n".join(plan), plan), turns, Attempt(final))


async def rollouts(config: Config, episodes: int, console: Console) -> float:
    """Episodes a second of the rollouts."""
    problems = training_problems(config, 2 * episodes)
    async with running(config, console) as (pipeline, _):
        await rate(pipeline, problems[:episodes], 0)  # warm
        found, _ = await rate(pipeline, problems[episodes:], episodes)
    return found


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=320)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. data=chained")
    options = parser.parse_args()
    console, config, this = Console(), compose(options.overrides), psutil.Process()
    first, *others = this.cpu_affinity()
    this.cpu_affinity(others[:1] or [first])
    produced = asyncio.run(rollouts(config, options.episodes, console))
    this.cpu_affinity([first])
    problems = training_problems(config, options.episodes)
    resources = TextResources()
    resources.nouns(["a pen"])
    resources.vectors(["a pen"])
    table = Table("scoring, one core", "episodes/s", "× rollouts on the other core")
    for name, number in (("nothing cached", 0), ("known problems, new texts", 1), ("everything cached", 1)):
        found = scored_a_second([episode(problem, number) for problem in problems], resources)
        table.add_row(name, f"{found:.0f}", f"{found / produced:.1f}")
    table.add_row("rollouts", f"{produced:.1f}", "1")
    console.print(table)
    console.print(f"language pipeline: {', '.join(resources.pipeline())}", highlight=False)


if __name__ == "__main__":
    main()
