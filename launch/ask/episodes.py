"""Questions of a person's own: one episode each, by the workers and strategies that training has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from conf.schema.config import Config
from conf.schema.solver import solver_role
from conf.schema.strategy import UNTRAINED
from rewards.total import fill_answers
from rollout.engine.transformers_engine import PlainEngine
from rollout.engine.vllm_arguments import policy_engine
from rollout.episode.contracts import Reply
from rollout.jobs import BUDGET, Job, solver_of
from rollout.records import Episode, Problem, opened
from rollout.run_episode import run_episode
from rollout.solvers import make_solver, make_verifier
from rollout.solvers.base import Backend, SolverMisconfigured, SolverUnavailable, Usage, for_role
from rollout.solvers.pool import UsageFile
from trainer.cluster.ray_cluster import ray_session
from trainer.cluster.roles import StartError, for_actors, running_roles
from trainer.workers.errors import WaitTimeout, reason
from trainer.workers.solver_account import SolverAccount

# Up to so many questions are answered one after another sooner than Ray and vLLM start.
FEW = 8
Say = Callable[[str], object]


class AskError(RuntimeError):
    """A question whose episode could not be run; the message says why."""


def jobs(questions: Sequence[str], answer_type: str, strategy: str) -> list[Job]:
    """Return greedy episodes of problems without a gold answer."""
    return [
        Job(index, Problem(f"question {index + 1}", question, "", answer_type), strategy, 0, temperature=0.0)
        for index, question in enumerate(questions)
    ]


def ask(config: Config, work: Sequence[Job], logs: Path, say: Say = lambda line: None) -> AsyncIterator[Episode]:
    """Yield the episodes in the order of their jobs, each as soon as it and those before it are done; ``say`` is told
    what is begun, and what a long wait is for.

    What they need is started for it and ended with it: for a few jobs on this machine's CPU the models alone, else Ray,
    the solver's workers and one for the decomposer. Raises StartError, WaitTimeout, AskError.
    """
    rollout = config.rollout
    gpus = rollout.gpus or any(getattr(frozen, "gpus", 0) for frozen in config.frozen.values())
    here = config.cluster.address is None and not gpus and rollout.tensor_parallel_size == 1
    return (_here if here and len(work) <= FEW else _with_ray)(config, work, logs, say)


async def _here(config: Config, work: Sequence[Job], logs: Path, say: Say) -> AsyncIterator[Episode]:
    config = for_actors(config)
    engine = PlainEngine(policy_engine(config))
    try:
        if config.strategy.name not in UNTRAINED or config.policy.solves:
            say(f"loading {config.model.path} …")
            engine.start()
        asked = [name for name in config.frozen if name == "verifier" or config.policy.asks_frozen_solver]
        if asked:
            say(f"starting the {' and the '.join(asked)} …")
        solvers = {name: await _solver(config, name) for name in config.solver_names}
        verifier = None if config.verifier is None else await _started(make_verifier, config, "verifier")
    except Exception as error:
        raise StartError(reason(error)) from error
    limit = config.controller.wait_timeout_s
    for job in work:
        say(f"asking {job.problem.id} …")
        name = solver_of(config, job)
        if solvers[name].spent or (verifier is not None and verifier.spent):
            used = {solver_role(one): solver.usage for one, solver in solvers.items()}
            if verifier is not None:
                UsageFile(logs / "verifier-0.usage.json", verifier.usage).write(now=True)
            raise _too_dear(job, SolverAccount(config, logs, used))
        try:
            async with asyncio.timeout(limit):
                episode = await run_episode(job, engine, solvers[name], config.of_solver(name), verifier)
                episode.solver = name
        except TimeoutError:
            raise _too_late(job, limit) from None
        except Exception as error:
            raise AskError(f"{job.problem.id}: {reason(error)}") from error
        fill_answers(episode)
        yield episode


async def _solver(config: Config, name: str | None) -> _Frozen | _Nobody:
    one, role = config.of_solver(name), solver_role(name)
    return await _started(make_solver, one, role) if config.policy.asks_frozen_solver else _Nobody()


async def _started(make: Callable[..., Backend], config: Config, role: str) -> _Frozen:
    """Return a frozen backend that answers. A vllm one is asked through transformers, which is there sooner."""
    settings = config.verifier if make is make_verifier else config.solver
    with _named_as(role):
        backend = make(config, "transformers" if getattr(settings, "backend", "") == "vllm" else None)
        await backend.start()
    return _Frozen(backend, role)


@contextmanager
def _named_as(role: str) -> Iterator[None]:
    """Name the keys of a backend's own role in what it raises."""
    try:
        yield
    except (SolverMisconfigured, SolverUnavailable) as error:
        kind = SolverMisconfigured if isinstance(error, SolverMisconfigured) else SolverUnavailable
        raise kind(for_role(str(error), role)) from None


class _Frozen:
    """A backend in the role of this dotted key."""

    def __init__(self, backend: Backend, role: str) -> None:
        self._backend, self._role = backend, role
        self.usage = backend.usage

    @property
    def spent(self) -> bool:
        return self._backend.spent

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt; raises what the backend raises."""
        with _named_as(self._role):
            return await self._backend.ask(prompt, purpose=purpose, sample=sample)


class _Nobody:
    """In place of a frozen solver whose role the policy plays."""

    spent, usage = False, Usage()

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Raise an error: nobody is to be asked."""
        raise RuntimeError(f"the policy plays the solver, and a frozen one was asked for {purpose}")


async def _with_ray(config: Config, work: Sequence[Job], logs: Path, say: Say) -> AsyncIterator[Episode]:
    one = config.model_copy(update={"rollout": config.rollout.model_copy(update={"workers": 1})})
    limit = config.controller.wait_timeout_s
    say("starting Ray and its actors …")
    with ray_session(config):
        frozen = ("solver",) if config.verifier is None else ("solver", "verifier")
        async with running_roles(one, logs, (*frozen, "rollout"), say=say) as roles:
            (worker,) = roles.workers
            say(f"asking {len(work)} questions …" if len(work) > 1 else f"asking {work[0].problem.id} …")
            await worker.submit.remote(list(work))
            found: dict[int, Episode] = {}
            for job in work:
                try:
                    async with asyncio.timeout(limit):
                        while job.id not in found:
                            for outcome in await worker.collect.remote(5.0):
                                if outcome.episode is None:
                                    failed = next(one for one in work if one.key == outcome.job.key)
                                    raise AskError(f"{failed.problem.id}: {outcome.error}")
                                found[outcome.job.id] = opened(outcome.episode)
                except TimeoutError:
                    raise _too_late(job, limit) from None
                episode = found.pop(job.id)
                if episode.outcome == BUDGET:
                    account = SolverAccount(config, logs, Usage())
                    await account.close(roles.pipeline(one))
                    raise _too_dear(job, account)
                fill_answers(episode)
                yield episode


def _too_dear(job: Job, account: SolverAccount) -> AskError:
    more = " ".join(f"--set {text}" for text in account.larger_budget())
    return AskError(f"{job.problem.id} was not asked: {account.spent_line()}; to go on with a larger budget: {more}")


def _too_late(job: Job, limit: float) -> WaitTimeout:
    return WaitTimeout(f"{job.problem.id} was not answered in {limit:g} s (controller.wait_timeout_s)")
