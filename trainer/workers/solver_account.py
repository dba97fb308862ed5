"""What a run's solvers were asked and what that cost: one account each for all processes of a run, whenever it is
resumed.

Invariant: ``logs/ROLE-N.usage.json`` are the account of the solver with this dotted key, and the summary says its sum.
A solver goes on from its file, so a budget is that of the run and not of a process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, astuple
from decimal import ROUND_CEILING, Context
from pathlib import Path
from typing import Any, TypeGuard

from ray.exceptions import RayError

from conf.schema.config import Config
from conf.schema.role_sizes import needed
from conf.schema.solver import OpenAISolver, SingleSolver
from rollout.json_lines import write_whole
from rollout.solvers.base import Usage
from trainer.workers.errors import WaitTimeout
from trainer.workers.pipeline import Pipeline

USAGE_S = 10.0
# By the dotted key of a solver.
Usages = dict[str, Usage]


def priced(settings: object) -> TypeGuard[OpenAISolver]:
    """Return whether a role is a server with prices."""
    return isinstance(settings, OpenAISolver) and bool(settings.price_prompt or settings.price_completion)


def usage_files(logs: Path, role: str) -> list[Path]:
    """Return the files of a role's account."""
    return sorted(logs.glob(f"{role}-*.usage.json"))


def read_account(logs: Path, role: str = "solver") -> Usage | None:
    """Return what the actors of a role were asked as their files say it; None if there is no file."""
    found = [Usage(**json.loads(file.read_text(encoding="utf-8"))) for file in usage_files(logs, role)]
    return sum(found, Usage()) if found else None


def read_accounts(logs: Path, config: Config) -> Usages:
    """Return what each of a configuration's solvers was asked, as far as there are files."""
    found = {role: read_account(logs, role) for role in config.solvers}
    return {role: usage for role, usage in found.items() if usage is not None}


class SolverAccount:
    """The account of a run. ``usages`` are what was known last of each solver; ``saved`` what the checkpoint says that
    the run goes on from; ``asked`` what was used before the start. A sum that is not divided is the first solver's."""

    def __init__(self, config: Config, logs: Path, asked: Usage | Usages) -> None:
        self.config, self.logs = config, logs
        self.saved: Usage | Usages = Usage()
        self._asked = self._divided(asked)
        self.usages = dict(self._asked)

    @property
    def usage(self) -> Usage:
        """The sum of what was known last of each solver."""
        return sum(self.usages.values(), Usage())

    def open(self) -> Usage:
        """Return what the run has used before its solvers start, and have the first actor of each solver go on from
        that.

        What the checkpoint says counts where files were lost. The first file has the sum: fewer actors than before
        lose nothing.
        """
        files, saved = read_accounts(self.logs, self.config), self._divided(self.saved)
        for role in self.usages:
            pairs = zip(astuple(files.get(role, Usage())), astuple(saved[role]), strict=True)
            self.usages[role] = usage = Usage(*map(max, pairs)) + self._asked[role]
            if usage != Usage():
                first = self.logs / f"{role}-0.usage.json"
                write_whole(first, json.dumps(asdict(usage)))
                for file in set(usage_files(self.logs, role)) - {first}:
                    file.unlink()
        return self.usage

    def begin(self) -> dict[str, Any]:
        """Open the account; return what the summary says of it."""
        self.open()
        return self.summary()

    async def state(self, pipeline: Pipeline) -> dict[str, Any]:
        """Return what a checkpoint keeps of the account, as the solvers say. Raises WaitTimeout, RayError."""
        await self.ask(pipeline)
        mixture = {role: asdict(usage) for role, usage in self.usages.items()} if self.config.mixture else None
        return {"solver": asdict(self.usage)} | ({} if mixture is None else {"solvers": mixture})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, before ``open``."""
        solvers = state.get("solvers", {})
        self.saved = {role: Usage(**usage) for role, usage in solvers.items()} or Usage(**state["solver"])

    async def ask(self, pipeline: Pipeline) -> Usage:
        """Return what the solvers say, summed. Raises WaitTimeout, RayError."""
        if pipeline.solvers:
            usages = dict.fromkeys(self.usages, Usage())
            for name, usage in (await pipeline.usage_by_solver()).items():
                usages[name.rpartition("-")[0]] += usage
            self.usages = usages
        return self.usage

    async def close(self, pipeline: Pipeline) -> Usage:
        """Return what the solvers say at the end, or where they no longer answer, what was known last."""
        with suppress(TimeoutError, WaitTimeout, RayError):
            async with asyncio.timeout(USAGE_S):
                return await self.ask(pipeline)
        return self.usage

    def settle(self) -> bool:
        """Take over what the files say, once the solvers have ended; return whether that is something else."""
        before, self.usages = self.usages, self.usages | read_accounts(self.logs, self.config)
        return self.usages != before

    def verifier(self) -> Usage | None:
        """Return what the verifiers were asked, as their files say; None where there are none."""
        return None if self.config.verifier is None else read_account(self.logs, "verifier")

    def summary(self) -> dict[str, Any]:
        """Return what the summary says of the solvers, of each of a mixture by its name, and of any verifiers."""
        found: dict[str, Any] = {"solver": asdict(self.usage)}
        if self.config.mixture:
            usages = zip(self.config.mixture, self.usages.values(), strict=True)
            found["solvers"] = {name: asdict(usage) for name, usage in usages}
        verifier = self.verifier()
        return found if verifier is None else found | {"verifier": asdict(verifier)}

    def line(self) -> str | None:
        """Return requests, tokens and cost in a line for each role; None if there was none."""
        used = self.usage != Usage() or "solver" in needed(self.config)
        lines = [account_line(usage, self.config, role) for role, usage in self.usages.items()] if used else []
        if (verifier := self.verifier()) is not None:
            lines.append(account_line(verifier, self.config, "verifier"))
        return "\n".join(lines) or None

    def cost_line(self) -> str:
        """Return the cost so far of each role that has prices, with its budget, as the roles' files say it; nothing
        where none has any."""
        costs = {
            role: f"{(read_account(self.logs, role) or self.usages.get(role, Usage())).cost:.4g}"
            + ("" if settings.budget_cost is None else f" of {settings.budget_cost:g}")
            for role, settings in self.config.frozen.items()
            if priced(settings)
        }
        if len(costs) == 1 and len(self.config.frozen) == 1:
            return f"cost {next(iter(costs.values()))}"
        return "cost " + ", ".join(f"{role} {cost}" for role, cost in costs.items()) if costs else ""

    def spent_line(self) -> str:
        """Return whose budget is spent, with what was used of it."""
        usages = self._all()
        role = next((text.partition("=")[0].rpartition(".")[0] for text in self.larger_budget()), next(iter(usages)))
        usage, settings = usages[role], self.config.frozen[role]
        tokens = usage.prompt_tokens + usage.completion_tokens
        cost = f"cost {usage.cost:.4g}{_limit(settings, role, 'budget_cost')}"
        return f"the {role}'s budget is spent ({cost}, {tokens:,} tokens{_limit(settings, role, 'budget_tokens')})"

    def larger_budget(self) -> list[str]:
        """Return the overrides that double what is spent, rounded up, which counts all that the run used so far."""
        return [more for role, usage in self._all().items() for more in _doubled(role, self.config.frozen[role], usage)]

    def _all(self) -> Usages:
        verifier = self.verifier()
        return self.usages | ({} if verifier is None else {"verifier": verifier})

    def _divided(self, usage: Usage | Usages) -> Usages:
        """Return an account by solver."""
        roles = list(self.config.solvers)
        known = {roles[0]: usage} if isinstance(usage, Usage) else usage
        return {role: known.get(role, Usage()) for role in roles}


def _doubled(role: str, settings: SingleSolver, usage: Usage) -> list[str]:
    """Return the overrides that double those of a solver's budgets that are spent."""
    if not isinstance(settings, OpenAISolver):
        return []
    tokens, more = usage.prompt_tokens + usage.completion_tokens, []
    if settings.budget_cost is not None and usage.cost >= settings.budget_cost:
        more.append(f"{role}.budget_cost={rounded_up(2 * max(settings.budget_cost, usage.cost)):g}")
    if settings.budget_tokens is not None and tokens >= settings.budget_tokens:
        more.append(f"{role}.budget_tokens={rounded_up(2 * max(settings.budget_tokens, tokens)):.0f}")
    return more


def rounded_up(amount: float) -> float:
    """Return an amount above 0 rounded up to two significant digits."""
    # What lies beyond twelve digits is the error of the binary number.
    return float(Context(prec=2, rounding=ROUND_CEILING).create_decimal(f"{amount:.12g}"))


def account_line(usage: Usage, config: Config, role: str = "solver") -> str:
    """Return what a role was asked, in a line: requests, tokens, and the cost where prices are configured."""
    solver = config.frozen.get(role)
    parts = [f"{usage.requests:,} request{'s' * (usage.requests != 1)} answered"]
    if usage.retries:  # each follows an attempt that brought no reply
        parts.append(f"{usage.retries:,} more attempt{'s' * (usage.retries != 1)} without a reply")
    if usage.cache_hits:
        parts.append(f"{usage.cache_hits:,} more answered from the cache")
    parts.append(
        f"{usage.prompt_tokens + usage.completion_tokens:,} tokens ({usage.prompt_tokens:,} read, "
        f"{usage.completion_tokens:,} written){_limit(solver, role, 'budget_tokens')}"
    )
    if isinstance(solver, OpenAISolver) and not (priced(solver) or usage.cost):
        parts.append(f"cost unknown ({role}.price_prompt, {role}.price_completion)")
    elif usage.cost or isinstance(solver, OpenAISolver):
        parts.append(f"cost {usage.cost:.4g}{_limit(solver, role, 'budget_cost')}")
    return f"{role}  {', '.join(parts)}"


def _limit(settings: object, role: str, key: str) -> str:
    """Return the words for a budget's limit, as it is set; none where there is no such budget."""
    limit = getattr(settings, key, None)
    return "" if limit is None else f" of {role}.{key}={limit}"
