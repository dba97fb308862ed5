"""The frozen solver on vLLM: an engine of the actor's process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from conf.schema.model import model_path
from conf.schema.solver import VllmSolver
from rollout.engine.prompt_tokens import encode_completion
from rollout.engine.sampling import Sampling
from rollout.engine.transformers_engine import PlainEngine
from rollout.engine.vllm_arguments import EngineSettings
from rollout.engine.vllm_engine import Engine, EngineError, PromptTooLong
from rollout.episode.contracts import Likelihood, Reply, SolverFailure
from rollout.solvers.base import Backend, SolverBroken
from rollout.solvers.calculator import calculated_reply

Result = TypeVar("Result")


def solver_engine(solver: VllmSolver, seed: int) -> EngineSettings:
    """Return what the solver's engines are started with."""
    return EngineSettings(
        model_path(solver.path),
        solver,
        solver.dtype,
        seed,
        prefix_caching=True,
        quantization=solver.quantization,
        frozen=True,
    )


class EngineSolver(Backend):
    """A solver over an engine of this process; the constructor blocks until the model is loaded."""

    name = "vllm"
    engine_of: type[Engine] | type[PlainEngine] = Engine
    settings: VllmSolver

    def __init__(self, settings: VllmSolver, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.engine = self.engine_of(solver_engine(settings, seed))
        self.engine.start()

    @property
    def identity(self) -> dict[str, Any]:
        """Path, type, context and files of the model: a folder may be written anew under the same name."""
        path = model_path(self.settings.path)
        files = sorted(Path(path).glob("*")) if Path(path).is_dir() else []
        stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        state = hashlib.sha256(repr(stamps).encode()).hexdigest()
        found: dict[str, Any] = {"backend": self.name, "model": path, "dtype": self.settings.dtype, "files": state}
        found["max_model_len"] = self.settings.max_model_len  # where a reply is cut, and a prompt is too long
        # Only where they are given, so that what an older cache holds is found again.
        names = ("quantization", "engine_arguments", "calculator")
        own = {name: getattr(self.settings, name) for name in names}
        return found | {name: value for name, value in own.items() if value}

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt; raises SolverFailure, and SolverBroken once the engine stopped."""
        reply = await self._answered(self._reply(prompt, self.sampling(prompt, purpose, sample)))
        self.usage.count(reply)
        return reply

    async def log_likelihood(self, prompt: str, completion: str) -> Likelihood:
        """Return the log-probability of a text after a prompt, at temperature 1; raises as ``ask`` does."""
        before, after = encode_completion(self.engine.tokenizer, prompt, completion)
        logprobs = await self._answered(self.engine.logprobs(before, after))
        found = Likelihood(sum(logprobs), len(before) + len(after))
        self.usage.count(Reply("", 0, found.prompt_tokens))
        return found

    async def _answered(self, work: Awaitable[Result]) -> Result:
        """Wait for the engine; raises SolverFailure, and SolverBroken once the engine stopped."""
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                return await work
        except PromptTooLong as error:
            raise SolverFailure("prompt_too_long", str(error)) from None
        except TimeoutError:
            raise SolverFailure("solver_timeout", f"no reply in {self.settings.timeout_s:g} s") from None
        except EngineError as error:
            raise SolverBroken(str(error)) from error

    async def _reply(self, prompt: str, sampling: Sampling) -> Reply:
        if self.settings.calculator:
            return await calculated_reply(self.engine, prompt, sampling)
        done = await self.engine.generate(prompt, sampling)
        return Reply(done.text.strip(), len(done.token_ids), len(done.prompt_ids), cut=done.finish_reason == "length")


class PlainSolver(EngineSolver):
    """The same without vLLM, for a few replies."""

    name = "transformers"
    engine_of = PlainEngine
