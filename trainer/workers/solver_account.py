"""What a run's solver was asked and what that cost: one account for all processes of a run, whenever it is resumed.

Invariant: ``logs/solver-N.usage.json`` is the account, and the summary says its sum. A solver goes on from its file, so
a budget is that of the run and not of a process.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, astuple
from pathlib import Path

from ray.exceptions import RayError

from conf.schema.config import Config
from conf.schema.solver import OpenAISolver
from rollout.json_lines import write_whole
from rollout.solvers.base import Usage
from trainer.workers.errors import WaitTimeout
from trainer.workers.pipeline import Pipeline

FILES = "solver-*.usage.json"
VERIFIER_FILES = "verifier-*.usage.json"
USAGE_S = 10.0


def read_account(logs: Path, files: str = FILES) -> Usage | None:
    """Return what the solvers, or others, were asked as their files say it; None if there is no file."""
    found = [Usage(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(logs.glob(files))]
    return sum(found, Usage()) if found else None


class SolverAccount:
    """The account of a run. ``usage`` is what was known last; ``saved`` what the checkpoint says that the run goes on
    from; ``asked`` what was used before the start."""

    def __init__(self, config: Config, logs: Path, asked: Usage) -> None:
        self.config, self.logs = config, logs
        self.asked, self.saved, self.usage = asked, Usage(), asked

    def open(self) -> Usage:
        """Return what the run has used before its solvers start, and have the first of them go on from that.

        What the checkpoint says counts where files were lost. The first file has the sum: fewer solvers than before
        lose nothing.
        """
        pairs = zip(astuple(read_account(self.logs) or Usage()), astuple(self.saved), strict=True)
        self.usage = Usage(*map(max, pairs)) + self.asked
        if self.usage != Usage():
            first = self.logs / FILES.replace("*", "0")
            write_whole(first, json.dumps(asdict(self.usage)))
            for file in set(self.logs.glob(FILES)) - {first}:
                file.unlink()
        return self.usage

    async def ask(self, pipeline: Pipeline) -> Usage:
        """Return what the solvers say. Raises WaitTimeout, RayError."""
        if pipeline.solvers:
            self.usage = await pipeline.solver_usage()
        return self.usage

    async def close(self, pipeline: Pipeline) -> Usage:
        """Return what the solvers say at the end, or where they no longer answer, what was known last."""
        with suppress(TimeoutError, WaitTimeout, RayError):
            async with asyncio.timeout(USAGE_S):
                return await self.ask(pipeline)
        return self.usage

    def settle(self) -> bool:
        """Take over what the files say, once the solvers have ended; return whether that is something else."""
        before, self.usage = self.usage, read_account(self.logs) or self.usage
        return self.usage != before

    def verifier(self) -> Usage | None:
        """Return what the verifiers were asked, as their files say; None where there are none."""
        return None if self.config.verifier is None else read_account(self.logs, VERIFIER_FILES)

    def summary(self, usage: Usage | None = None) -> dict[str, dict[str, float]]:
        """Return what the summary says of the solvers, or of a newer ``usage``, and of any verifiers."""
        verifier = self.verifier()
        found = {"solver": asdict(usage or self.usage)}
        return found if verifier is None else found | {"verifier": asdict(verifier)}

    def line(self) -> str | None:
        """Return requests, tokens and cost in a line for each role; None if there was none."""
        lines = [account_line(self.usage, self.config)] if self._asked_solver() else []
        if (verifier := self.verifier()) is not None:
            lines.append(account_line(verifier, self.config, "verifier"))
        return "\n".join(lines) or None

    def _asked_solver(self) -> bool:
        return self.usage != Usage() or not self.config.rollout.replay

    def spent_line(self) -> str:
        """Return whose budget is spent, with what was used of it."""
        role = next((text.partition(".")[0] for text in self.larger_budget()), "solver")
        usage = (self.verifier() if role == "verifier" else None) or self.usage
        settings, tokens = getattr(self.config, role), usage.prompt_tokens + usage.completion_tokens
        cost = f"cost {usage.cost:.4g}{_limit(settings, role, 'budget_cost')}"
        return f"the {role}'s budget is spent ({cost}, {tokens:,} tokens{_limit(settings, role, 'budget_tokens')})"

    def larger_budget(self) -> list[str]:
        """Return the overrides that double what is spent, which counts all that the run used so far."""
        roles = (("solver", self.config.solver, self.usage), ("verifier", self.config.verifier, self.verifier()))
        more = []
        for role, settings, usage in roles:
            if not isinstance(settings, OpenAISolver) or usage is None:
                continue
            tokens = usage.prompt_tokens + usage.completion_tokens
            if settings.budget_cost is not None and usage.cost >= settings.budget_cost:
                more.append(f"{role}.budget_cost={2 * max(settings.budget_cost, usage.cost):g}")
            if settings.budget_tokens is not None and tokens >= settings.budget_tokens:
                more.append(f"{role}.budget_tokens={2 * max(settings.budget_tokens, tokens)}")
        return more


def account_line(usage: Usage, config: Config, role: str = "solver") -> str:
    """Return what a role was asked, in a line: requests, tokens, and the cost where prices are configured."""
    solver = getattr(config, role)
    repeats = [
        f"{count:,} {what}"
        for count, what in ((usage.retries, "repeated"), (usage.cache_hits, "more answered from the cache"))
        if count
    ]
    parts = [
        f"{usage.requests:,} request{'s' * (usage.requests != 1)}" + (f" ({', '.join(repeats)})" if repeats else ""),
        f"{usage.prompt_tokens + usage.completion_tokens:,} tokens ({usage.prompt_tokens:,} read, "
        f"{usage.completion_tokens:,} written){_limit(solver, role, 'budget_tokens')}",
    ]
    if isinstance(solver, OpenAISolver) and not (solver.price_prompt or solver.price_completion or usage.cost):
        parts.append(f"cost unknown ({role}.price_prompt, {role}.price_completion)")
    elif usage.cost or isinstance(solver, OpenAISolver):
        parts.append(f"cost {usage.cost:.4g}{_limit(solver, role, 'budget_cost')}")
    return f"{role}  {', '.join(parts)}"


def _limit(settings: object, role: str, key: str) -> str:
    """Return the words for a budget's limit, as it is set; none where there is no such budget."""
    limit = getattr(settings, key, None)
    return "" if limit is None else f" of {role}.{key}={limit}"
