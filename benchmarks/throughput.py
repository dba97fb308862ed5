"""Whole episodes against vLLM alone and against one after another: ``python -m benchmarks.throughput``.

Four things are timed in turn, in one run on one machine, with the same two models, and medians compared.

- *Episodes*: jobs through the rollout worker, policy engine and solver engine, all in flight at once. At the end few
  are left, and the engines run half empty.
- *Kept in flight*: the same as training has it, where each finished episode is followed by another. Timed from when as
  many are finished as are in flight until as many more are.
- *vLLM offline*: every prompt of those very episodes, all given at once to ``LLM.generate``, each with the number of
  tokens that its completion had (``max_tokens`` and ``ignore_eos``, no stop texts, no log-probabilities). Nothing has
  to wait for what it depends on, so this is what the engines can do at all. Decomposer and solver run side by side in
  two processes with the engine settings of the episodes.
- *The loop*: the procedure as a plain script runs it, one episode after another and one Hugging Face ``generate`` after
  another, on all cores.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from benchmarks.episodes import running, training_problems
from benchmarks.processes import Machine
from conf.schema.config import Config
from conf.schema.model import model_path
from conf.schema.solver import VllmSolver
from launch.compose import compose
from rollout.engine.vllm_arguments import EngineSettings, engine_arguments, policy_engine, prepare_process
from rollout.episode.contracts import Reply
from rollout.episode.parse_decomposition import parse
from rollout.episode.prompts import Prompts
from rollout.jobs import Job
from rollout.records import Decomposition, Episode, Problem, opened
from rollout.solvers.vllm import solver_engine
from rollout.strategies import run_strategy
from trainer.cluster.roles import RunningRoles


@dataclass(frozen=True)
class Work:
    """What ``LLM.generate`` is given: a prompt, as text or ids, and how many tokens to write."""

    prompt: str | list[int]
    tokens: int


@ray.remote(num_cpus=0)
class Offline:
    """vLLM's own ``LLM`` with the settings of one of our engines."""

    def __init__(self, settings: EngineSettings) -> None:
        prepare_process(settings.sizes.threads)
        import torch
        from vllm import LLM

        self.llm = LLM(**engine_arguments(settings))
        if not torch.cuda.is_available():
            torch.set_num_threads(settings.sizes.threads)

    def generate(self, work: Sequence[Work], temperature: float) -> int:
        """Write it all; returns the number of tokens written."""
        from vllm import SamplingParams

        sampling = [
            SamplingParams(max_tokens=item.tokens, ignore_eos=True, temperature=temperature, seed=index)
            for index, item in enumerate(work)
        ]
        given: Any = [
            item.prompt if isinstance(item.prompt, str) else {"prompt_token_ids": item.prompt} for item in work
        ]
        outputs = self.llm.generate(given, sampling, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)


def solver_work(episode: Episode, templates: Prompts, tokenizer: Any) -> list[Work]:
    """Return the solver's prompts of an episode, with the length of each reply.

    The account of the episode holds the sum of the lengths alone: each text is tokenised again, with one token for its
    end, and the last reply has the rest of the sum.
    """
    problem, turns = episode.problem, episode.turns
    assert episode.initial is not None
    asked = [(templates.solve(problem, []), episode.initial.text)]
    asked += [
        (templates.subquestion(problem, turns[:index], turn.question), turn.text) for index, turn in enumerate(turns)
    ]
    work = [Work(prompt, len(tokenizer.encode(text)) + 1) for prompt, text in asked]
    rest = episode.solver_tokens - sum(item.tokens for item in work)
    assert rest > 0, "the lengths do not add up to the account"
    return [*work, Work(templates.solve(problem, turns), rest)]


class Loop:
    """The two models behind Hugging Face ``generate``, one prompt at a time, as solver and decomposer."""

    def __init__(self, config: Config) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(os.cpu_count() or 1)
        assert isinstance(config.solver, VllmSolver)
        self.prompts, self.solver = Prompts.of(config), config.solver
        self.paths = (config.decomposer_path, model_path(config.solver.path))
        self.models = {
            path: (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), AutoTokenizer.from_pretrained(path))
            for path in self.paths
        }

    def _write(self, path: str, prompt: str, **options: Any) -> tuple[str, int]:
        model, tokenizer = self.models[path]
        given = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        ids = model.generate(**given, tokenizer=tokenizer, pad_token_id=tokenizer.eos_token_id, **options)
        written = ids[0, given["input_ids"].shape[1] :]
        return tokenizer.decode(written, skip_special_tokens=True).strip(), len(written)

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """See ``rollout.episode.contracts.Solver``."""
        return Reply(
            *self._write(
                self.paths[1],
                prompt,
                do_sample=False,
                max_new_tokens=getattr(self.solver, f"max_tokens_{purpose}"),
                stop_strings=getattr(self.solver, f"stop_{purpose}"),
            )
        )

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, None]:
        """See ``rollout.episode.contracts.Decomposer``."""
        settings = self.prompts.strategy
        prompt = self.prompts.decompose(problem, attempt)
        text, _ = self._write(
            self.paths[0], prompt, do_sample=True, temperature=1.0, max_new_tokens=settings.max_tokens
        )
        parsed = parse(text, settings)
        return Decomposition(text, parsed.subquestions, parsed.invalid), None

    async def run(self, problems: Sequence[Problem]) -> float:
        """Episodes a second."""
        started = time.perf_counter()
        for problem in problems:
            await run_strategy("daslam", problem, self, self, self.prompts)
        return len(problems) / (time.perf_counter() - started)


async def episodes_of(
    worker: Any, problems: Sequence[Problem], first_id: int, strategy: str = "daslam"
) -> tuple[list[Episode], float]:
    """Episodes on these problems, all in flight at once, and the seconds they took."""
    jobs = [Job(first_id + index, problem, strategy, seed=index) for index, problem in enumerate(problems)]
    started = time.perf_counter()
    await worker.submit.remote(jobs)
    episodes: list[Episode] = []
    while len(episodes) < len(jobs):
        for outcome in await worker.collect.remote(60.0):
            assert outcome.episode is not None, outcome.error
            episodes.append(opened(outcome.episode))
    return episodes, time.perf_counter() - started


async def kept_of(
    worker: Any, problems: Sequence[Problem], first_id: int, strategy: str = "daslam"
) -> tuple[list[Episode], float]:
    """Episodes finished while a third of these problems is always in flight: those after the first third that finished
    up to the second, and the seconds between."""
    count = len(problems) // 3
    jobs = [Job(first_id + index, problem, strategy, seed=index) for index, problem in enumerate(problems)]
    await worker.submit.remote(jobs[:count])
    given, finished, times = count, list[Episode](), list[float]()
    while len(finished) < len(jobs):
        for outcome in await worker.collect.remote(60.0):
            assert outcome.episode is not None, outcome.error
            finished.append(opened(outcome.episode))
            times.append(time.perf_counter())
        following = jobs[given : len(finished) + count]
        if following:
            await worker.submit.remote(following)
            given += len(following)
    return finished[count : 2 * count], times[2 * count - 1] - times[count - 1]


def written_by(episodes: Sequence[Episode]) -> int:
    """Tokens that decomposer and solver wrote in these episodes."""
    return sum(one.solver_tokens + one.policy_tokens for one in episodes)


async def measure(config: Config, roles: RunningRoles, count: int, rounds: int, alone: int, console: Console) -> Table:
    """Time all ``rounds`` times, after a round that is not counted."""
    from transformers import AutoTokenizer

    assert isinstance(config.solver, VllmSolver)
    solver = solver_engine(config.solver, config.seed)
    tokenizer = AutoTokenizer.from_pretrained(solver.path)
    offline = [Offline.remote(policy_engine(config)), Offline.remote(solver)]  # type: ignore[attr-defined]
    loop, templates = Loop(config), Prompts.of(config)
    problems = training_problems(config, (rounds + 1) * (4 * count + alone))
    seconds: dict[str, list[float]] = {"episodes": [], "offline": []}
    rates: dict[str, list[float]] = {"episodes": [], "kept": [], "offline": [], "loop": []}
    for number in range(rounds + 1):
        first = number * (4 * count + alone)
        mine, following = problems[first : first + count], problems[first + count : first + 4 * count]
        episodes, taken = await episodes_of(roles.workers[0], mine, first)
        kept, kept_s = await kept_of(roles.workers[0], following, first + count) if number else ([], math.nan)
        calls = [call for episode in episodes for call in episode.calls]
        assert all(episode.outcome == "ok" for episode in episodes)
        policy = [Work(call.prompt_ids, len(call.token_ids)) for call in calls]
        replies = [work for episode in episodes for work in solver_work(episode, templates, tokenizer)]
        tokens = sum(work.tokens for work in (*policy, *replies))
        started = time.perf_counter()
        written = await asyncio.gather(
            offline[0].generate.remote(policy, 1.0), offline[1].generate.remote(replies, 0.0)
        )
        at_once = time.perf_counter() - started
        assert sum(written) == tokens, (sum(written), tokens)
        one_by_one = await loop.run(problems[first + 4 * count : first + 4 * count + alone])
        kept_rate = written_by(kept) / kept_s
        console.print(
            f"round {number} of {rounds}{'' if number else ', not counted'}: {count} episodes, {len(replies)} solver "
            f"replies, {tokens} tokens ({sum(work.tokens for work in policy)} of the policy); episodes {taken:.2f} s, "
            f"kept in flight {kept_rate:.0f} tokens/s, offline {at_once:.2f} s, loop {one_by_one:.2f} episodes/s",
            highlight=False,
        )
        if number:
            seconds["episodes"].append(taken)
            seconds["offline"].append(at_once)
            rates["episodes"].append(tokens / taken)
            rates["kept"].append(kept_rate)
            rates["offline"].append(tokens / at_once)
            rates["loop"].append(one_by_one)
    a_second = count / median(seconds["episodes"])
    table = Table("medians of the rounds", "generated tokens/s", "episodes/s", "ratio")
    table.add_row("vLLM offline, all prompts at once", f"{median(rates['offline']):.0f}", "", "1")
    ratio = median(a / b for a, b in zip(seconds["offline"], seconds["episodes"], strict=True))
    table.add_row(
        "episodes through the rollout worker",
        f"{median(rates['episodes']):.0f}",
        f"{a_second:.1f}",
        f"{ratio:.2f} × vLLM offline",
    )
    ratio = median(a / b for a, b in zip(rates["kept"], rates["offline"], strict=True))
    table.add_row(
        f"the same with {count} kept in flight", f"{median(rates['kept']):.0f}", "", f"{ratio:.2f} × vLLM offline"
    )
    single = median(rates["loop"])
    table.add_row(
        "loop over Hugging Face generate", "", f"{single:.2f}", f"1 / {a_second / single:.0f} of the episodes"
    )
    return table


async def run(config: Config, count: int, rounds: int, alone: int, console: Console) -> None:
    """Start the actors, measure, print the table."""
    async with running(config, console, collect=False) as (_, roles):
        machine = Machine()
        table = await measure(config, roles, count, rounds, alone, console)
        quiet = machine.line()
    console.print(table, quiet, sep="\n", highlight=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=400, help="in flight at once, a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", type=int, default=20, help="episodes of the loop, a round")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. start_from=RUN_DIR/checkpoints/ppo")
    chosen = parser.parse_args()
    asyncio.run(run(compose(chosen.overrides), chosen.episodes, chosen.rounds, chosen.alone, Console()))
