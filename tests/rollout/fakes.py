"""A solver that follows a script, a decomposer with one plan, an episode of theirs, and a worker without an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from launch.compose import compose
from rollout.engine.sampling import Sampling
from rollout.engine.vllm_engine import Generation, PromptTooLong
from rollout.episode.contracts import Likelihood, Reply
from rollout.jobs import Job
from rollout.records import Decomposition, Episode, PolicyCall, Problem
from rollout.run_episode import run_episode
from rollout.strategies import run_strategy
from rollout.worker import RolloutWorker, _Progress
from tests.settings import prompts

PROBLEM = Problem("p", "Ann has 3 pens. Bob has twice as many. How many do they have?", "9")
SOLVE = (
    "Ann has 3 pens. Bob has twice as many. How many do they have?{}\nQ: Solve step by step: How many do they have?\nA:"
)
SUB = "Ann has 3 pens. Bob has twice as many. How many do they have?{}\nQ: {}\nA:"
PLAN = ["How many has Ann?", "How many has Bob?"]


class Scripted:
    """A solver that replies as told and writes down what it was asked. A reply's tokens are its words, a prompt's its
    lines. With ``wait_for`` every call waits until so many are in flight at once."""

    def __init__(self, reply: Callable[[str, int], str], wait_for: int = 1) -> None:
        self.reply = reply
        self.asked: list[tuple[str, str, int]] = []
        self.tokens = self.prompt_tokens = self.in_flight = self.most_in_flight = self.cancelled = 0
        self.barrier = asyncio.Barrier(wait_for)

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        self.asked.append((prompt, purpose, sample))
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            async with asyncio.timeout(5):
                await self.barrier.wait()
            text = self.reply(prompt, sample)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        reply = Reply(text, len(text.split()), prompt.count("\n"))
        self.tokens += reply.tokens
        self.prompt_tokens += reply.prompt_tokens
        return reply


class Telling(Scripted):
    """A scripted solver that also tells log-probabilities: ``told`` returns one for a prompt. It notes what it was
    asked to tell, apart from what it was asked to answer. It reads a token a line."""

    spent, left = False, 1.0

    def __init__(self, reply: Callable[[str, int], str], told: Callable[[str], float]) -> None:
        super().__init__(reply)
        self.told = told
        self.scored: list[tuple[str, str]] = []
        self.scored_tokens = 0

    async def log_likelihood(self, prompt: str, completion: str) -> Likelihood:
        self.scored.append((prompt, completion))
        await asyncio.sleep(0)
        found = Likelihood(self.told(prompt), prompt.count("\n"))
        self.scored_tokens += found.prompt_tokens
        return found


class Planner:
    """A decomposer with one plan; remembers the attempts it was shown."""

    def __init__(self, plan: list[str]) -> None:
        self.plan = plan
        self.attempts: list[str] = []

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicyCall | None]:
        self.attempts.append(attempt)
        sample = PolicyCall("decompose", [1, 2], [3, 4, 5], [-1.0] * 3, [0] * 3)
        return Decomposition("\n".join(self.plan), list(self.plan)), sample


def by_question(prompt: str, sample: int) -> str:
    """What a solver would say that knows Ann and Bob."""
    last = prompt.rsplit("\nQ: ", 1)[1]
    if "Solve" in last:
        return "3 + 6 = 9. The answer is 9." if "has Bob" in prompt else "The answer is 5."
    return "Ann has 3 pens." if "Ann" in last else "Bob has 6 pens."


def run(
    name: str,
    solver: Scripted | Callable[[str, int], str] = by_question,
    plan: list[str] | None = None,
    problem: Problem = PROBLEM,
    decomposer: Planner | None = None,
    settings: dict[str, Any] | None = None,
) -> tuple[Episode, Scripted]:
    """An episode and its solver; ``settings`` are keys of the group ``strategy``."""

    async def episode() -> tuple[Episode, Scripted]:
        fake = solver if isinstance(solver, Scripted) else Scripted(solver)
        planner = decomposer or Planner(PLAN if plan is None else plan)
        done = await run_strategy(name, problem, planner, fake, prompts(**settings or {}))
        assert asyncio.all_tasks() == {asyncio.current_task()}, "work was left behind"
        return done, fake

    return asyncio.run(episode())


def worker_without_engine(client: Any, overrides: Sequence[str] = (), concurrency: int = 1, engine: Any = None) -> Any:
    """A rollout worker in this process, for jobs with given plans or a stand-in for the engine."""
    kind = RolloutWorker.__ray_metadata__.modified_class
    worker = kind.__new__(kind)
    worker.engine, worker.config = engine or SimpleNamespace(version=4), compose(["strategy.max_tokens=8", *overrides])
    worker._solvers, worker._limit, worker._progress = {None: client}, asyncio.Semaphore(concurrency), _Progress()
    worker._ends = {}
    return worker


class Characters:
    """A tokenizer whose tokens are characters. ``encoded`` are the texts that it was given."""

    eos_token_id, eos_token = 0, "\0"

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        self.encoded.append(text)
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return "".join(chr(one) for one in ids if one or not skip_special_tokens)


class CharacterEngine:
    """A policy engine that says what ``reply`` returns for a prompt's text and the number of the call. Its completion
    ends with the first stop text, as vLLM's does: that is among the tokens and not in the text."""

    version = 7

    def __init__(
        self, reply: Callable[[str, int], str], context: int = 10_000, finish_reason: str = "stop"
    ) -> None:  # fmt: skip
        self.reply, self.context, self.finish_reason = reply, context, finish_reason
        self.tokenizer = Characters()
        self.asked: list[tuple[str | list[int], Sampling]] = []

    @property
    def prompts(self) -> list[str]:
        """What it was asked, as texts."""
        return [one if isinstance(one, str) else self.tokenizer.decode(one) for one, _ in self.asked]

    async def generate(self, prompt: str | list[int], sampling: Sampling) -> Generation:
        number = len(self.asked)
        self.asked.append((prompt, sampling))
        ids = [ord(character) for character in prompt] if isinstance(prompt, str) else list(prompt)
        if len(ids) > self.context:
            raise PromptTooLong(f"prompt of {len(ids)} tokens")
        await asyncio.sleep(0)
        text = self.reply(self.prompts[number], number)
        tokens = [ord(character) for character in text + "".join(sampling.stop[:1])]
        logprobs, versions = [-0.1 * (number + 1)] * len(tokens), [self.version] * len(tokens)
        return Generation(ids, tokens, text, logprobs, versions, self.finish_reason)


def episode_of(
    engine: CharacterEngine,
    overrides: Sequence[str],
    solver: Any = None,
    verifier: Any = None,
    problem: Problem = PROBLEM,
    given: list[str] | None = None,
    temperature: float = 1.0,
    gold_logprobs: bool = False,
) -> Episode:
    """An episode of a configured strategy, through ``run_episode``."""
    config = compose([*overrides, "stages=[evaluate]"])
    name = config.strategy.name
    job = Job(0, problem, name, seed=11, temperature=temperature, given=given, gold_logprobs=gold_logprobs)
    frozen = solver or Scripted(by_question)
    return asyncio.run(run_episode(job, engine, frozen, config, verifier))
