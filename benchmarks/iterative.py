"""Episodes of several policy calls against vLLM alone and one decomposition: ``python -m benchmarks.iterative``.

Four things are timed in turn, in one run on one machine, over one solver, and medians compared: episodes of
``interleaved``, all in flight at once; every prompt of those very episodes given at once to ``LLM.generate``, with the
lengths that were written (as ``benchmarks.throughput`` does it); episodes of ``daslam`` on the same problems; and
episodes of ``interleaved`` of which as many are kept in flight, as training has it, by their tokens a second. Give
each form its decomposer, fine-tuned for it:

    python -m benchmarks.iterative --lines RUN_OF_INTERLEAVED/checkpoints/sft --whole RUN/checkpoints/sft
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import fmean, median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.episodes import running, training_problems
from benchmarks.processes import Machine
from benchmarks.strategies import worker_of
from benchmarks.throughput import Offline, Work, episodes_of, kept_of, solver_work, written_by
from conf.schema.config import Config
from conf.schema.override_text import override
from conf.schema.solver import VllmSolver
from launch.compose import compose
from rollout.engine.vllm_arguments import policy_engine
from rollout.episode.prompts import Prompts
from rollout.records import Episode
from rollout.solvers.vllm import solver_engine


async def measure(configs: dict[str, Config], workers: dict[str, Any], count: int, rounds: int) -> Table:
    """Time all three ``rounds`` times, after a round that is not counted; return the table."""
    from transformers import AutoTokenizer

    lines = configs["interleaved"]
    assert isinstance(lines.solver, VllmSolver)
    solver, templates = solver_engine(lines.solver, lines.seed), Prompts.of(lines)
    tokenizer = AutoTokenizer.from_pretrained(solver.path)
    offline = [Offline.remote(policy_engine(lines)), Offline.remote(solver)]  # type: ignore[attr-defined]
    problems = training_problems(lines, 4 * (rounds + 1) * count)
    seconds: dict[str, list[float]] = {"interleaved": [], "offline": [], "daslam": []}
    written: dict[str, list[float]] = {"interleaved": [], "daslam": []}
    calls: dict[str, list[float]] = {"interleaved": [], "daslam": []}
    kept_share: list[float] = []
    for number in range(rounds + 1):
        first = 4 * number * count
        mine, following = problems[first : first + count], problems[first + count : first + 4 * count]
        taken, episodes = {}, dict[str, list[Episode]]()
        for name, worker in workers.items():
            episodes[name], taken[name] = await episodes_of(worker, mine, first, name)
        work = [work for episode in episodes["interleaved"] for work in solver_work(episode, templates, tokenizer)]
        taken["offline"] = await _offline(offline, episodes["interleaved"], work)
        if number:
            kept, kept_s = await kept_of(workers["interleaved"], following, first + count, "interleaved")
            rate = written_by(episodes["interleaved"]) / taken["offline"]
            kept_share.append(written_by(kept) / kept_s / rate)
            for name, one_s in taken.items():
                seconds[name].append(one_s)
            for name, found in episodes.items():
                written[name].append(written_by(found))
                calls[name].append(fmean(len(one.calls) for one in found))
    table = Table("medians of the rounds", "s a batch", "tokens a batch", "policy calls an episode", "ratio")
    table.add_row("vLLM offline, all prompts of interleaved at once", f"{median(seconds['offline']):.1f}", "", "", "1")
    for name, other, what in (("interleaved", "offline", "of vLLM offline's rate"), ("daslam", "interleaved", "")):
        ratio = median(a / b for a, b in zip(seconds[other], seconds[name], strict=True))
        said = f"{ratio:.2f} {what}" if what else f"interleaved takes {ratio:.2f} times as long"
        table.add_row(
            f"episodes of {name}",
            f"{median(seconds[name]):.1f}",
            f"{median(written[name]):.0f}",
            f"{median(calls[name]):.1f}",
            said,
        )
        if name == "interleaved":
            said = f"{median(kept_share):.2f} of vLLM offline's rate"
            table.add_row(f"the same with {count} kept in flight", "", "", "", said)
    return table


async def _offline(engines: Sequence[Any], episodes: Sequence[Episode], replies: list[Work]) -> float:
    """Return the seconds in which two engines write all texts of the episodes at once, side by side."""
    policy = [Work(call.prompt_ids, len(call.token_ids)) for episode in episodes for call in episode.calls]
    started = time.perf_counter()
    counts = await asyncio.gather(engines[0].generate.remote(policy, 1.0), engines[1].generate.remote(replies, 0.0))
    seconds = time.perf_counter() - started
    assert sum(counts) == sum(work.tokens for work in (*policy, *replies)), counts
    return seconds


async def run(chosen: argparse.Namespace, console: Console) -> None:
    """Start the actors, measure, print the table."""
    given = {"daslam": chosen.whole, "interleaved": chosen.lines}
    configs = {
        name: compose([*chosen.overrides, f"strategy={name}", override("start_from", folder), "stages=[evaluate]"])
        for name, folder in given.items()
    }
    async with AsyncExitStack() as stack:
        _, roles = await stack.enter_async_context(
            running(configs["daslam"], console, collect=False, roles=("solver", "reward"))
        )
        workers = {
            name: await stack.enter_async_context(worker_of(config, roles, index))
            for index, (name, config) in enumerate(configs.items())
        }
        machine = Machine()
        table = await measure(configs, workers, chosen.episodes, chosen.rounds)
        quiet = machine.line()
    console.print(table, quiet, sep="\n", highlight=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", required=True, help="the decomposer of interleaved, fine-tuned line by line")
    parser.add_argument("--whole", required=True, help="the decomposer of daslam")
    parser.add_argument("--episodes", type=int, default=400, help="in flight at once, a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. solver=second")
    asyncio.run(run(parser.parse_args(), Console()))
