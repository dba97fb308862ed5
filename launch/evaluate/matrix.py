"""The evaluation matrix: cells run one after another, each finished one kept for good.

Invariant: a cell's result file is complete or not there, and bears the fingerprint of all that decides its episodes;
a cell whose file has its fingerprint is never run again. A solver's engines, with those of the verifier beside it, are
started once for all of their cells, a decomposer's once for each solver.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.matrix import Matrix
from conf.schema.model import model_path
from conf.schema.rollout import Rollout
from conf.schema.solver import ModelSolver, OpenAISolver, Solver, VllmSolver
from conf.schema.strategy import UNTRAINED
from launch.evaluate.verdicts import verdict_pairs
from rewards.reward import MEASURES, Scored
from rollout.data.source import check_held_out, make_source
from rollout.data.worked import REPLIES
from rollout.jobs import Job
from rollout.json_lines import write_lines
from rollout.options import with_options
from rollout.records import Problem
from rollout.solvers.base import Usage
from trainer.cluster.ray_cluster import ray_session
from trainer.cluster.roles import RunningRoles, running_roles
from trainer.run_folder.files import read_json, write_json
from trainer.stages.evaluation import cannot_be_given, eval_jobs
from trainer.tracking.tracker import episode_record
from trainer.workers.pipeline import Pipeline
from trainer.workers.solver_account import SolverAccount

# Where a solver runs and what of it is kept, which decides no reply.
PLACES = {"cache", "cache_path", "workers", "threads", "gpus", "tensor_parallel_size", "pipeline_parallel_size"}
# How hard a server is asked, and with which key: as these are by default in every fingerprint.
PATIENCE = {
    "concurrency", "requests_per_minute", "tokens_per_minute", "max_retries", "backoff_s", "backoff_max_s",
    "outage_minutes", "api_key_env",
}  # fmt: skip
# What a solver may spend: a matrix goes on with a larger budget.
BUDGETS = {"budget_cost", "budget_tokens"}
# What of the policy's engines decides an episode. Where it has its default it is not in a fingerprint, so that results
# from before it was are not made again.
LIMITS = ("episode_timeout_s", "episode_solver_tokens", "engine_arguments")
# What problems are told apart by where their data set does.
GROUPS: dict[str, Any] = {"steps": int, "subject": str, "level": int | str}


@dataclass(frozen=True)
class Cell:
    """One decomposer, solver, strategy and data set. ``given`` is ``gold`` or ``filler``, None where the decomposer
    writes its own."""

    data: str
    solver: str
    strategy: str
    decomposer: str
    given: str | None
    config: Config

    @property
    def name(self) -> str:
        """Its name, and its files'."""
        return f"{self.data}.{self.solver}.{self.strategy}.{self.decomposer}"

    @property
    def solver_key(self) -> str:
        """Equal for cells that the same engines of solver and verifier can serve."""
        frozen = (self.config.solver, self.config.verifier)
        return " ".join(one.model_dump_json() for one in frozen if one is not None)

    @property
    def engine_key(self) -> str | None:
        """Equal for cells that the same policy engines can serve; None where any can."""
        if self.given is not None or self.decomposer_free:
            return None
        config = self.config
        # The limits of an episode come with each job.
        keys = config.rollout.model_dump_json(exclude={"episode_timeout_s", "episode_solver_tokens"})
        return f"{config.decomposer_path} {config.policy_dtype} {config.seed} {keys}"

    @property
    def decomposer_free(self) -> bool:
        """Whether the strategy asks no decomposer."""
        return self.config.strategy.name in UNTRAINED

    @property
    def undrawn(self) -> bool:
        """Tell whether every sample of a problem would be a copy of the first: no decomposer draws, and the solver
        replies to the same as before. Its own draws for a vote are told apart by their number alone."""
        strategy, solver = self.config.strategy.name, self.config.solver
        replies = isinstance(solver, ModelSolver) and solver.temperature > 0 and solver.cache != "all"
        return self.decomposer_free and (strategy == "self_consistency" or not replies)


def budget_cell(cell: Cell, cells: Sequence[Cell], matrix: Matrix) -> Cell | None:
    """Return the one of ``cells`` that sets a cell's budget; None if none does."""
    equal = matrix.equal_tokens.get(cell.strategy)
    if equal is None:
        return None
    names = (cell.data, cell.solver, equal.strategy, equal.decomposer)
    same = (one for one in cells if (one.data, one.solver, one.strategy, one.decomposer) == names)
    return next(same, None)


def schedule(cells: Sequence[Cell], matrix: Matrix) -> list[tuple[str, list[tuple[Cell, list[Cell]]]]]:
    """Return the order of running: by solver, then by policy engine, ``(cell that starts the engine, its cells)``.

    Cells that any engine can serve go with the last one, and of them last those whose budget another cell sets. Where
    that one has a verifier and they have none, their solver comes after its.
    """

    def waits(solver: str) -> bool:
        own = [cell for cell in cells if cell.solver_key == solver]
        setting = [budget_cell(cell, cells, matrix) for cell in own]
        return any(one is not None and one.solver_key != solver for one in setting)

    order = []
    for solver in sorted(dict.fromkeys(cell.solver_key for cell in cells), key=waits):
        own = [cell for cell in cells if cell.solver_key == solver]
        free = sorted(
            (cell for cell in own if cell.engine_key is None), key=lambda cell: cell.strategy in matrix.equal_tokens
        )
        engines = list(dict.fromkeys(cell.engine_key for cell in own if cell.engine_key is not None))
        groups = [[cell for cell in own if cell.engine_key == engine] for engine in engines] or [[]]
        groups[-1] = groups[-1] + free
        order.append((solver, [(group[0], group) for group in groups]))
    return order


def fingerprint(cell: Cell, matrix: Matrix, problems: Sequence[Problem], budget: str) -> str:
    """Return a hash of what decides a cell's episodes: configuration, models' files, problems, samples, and the
    fingerprint of the cell that sets its ``budget``."""
    config = cell.config
    decomposer = None if cell.engine_key is None else config.start_from or config.model.path
    solver, verifier = (one.path if isinstance(one, VllmSolver) else None for one in (config.solver, config.verifier))
    decisive = {
        "solver": _decisive(config.solver),
        "strategy": config.strategy.model_dump(),
        "context": config.rollout.max_model_len,
        "dtype": config.policy_dtype,
        "models": [_files(path) for path in (decomposer, solver)],
        "given": cell.given,
        "budget": budget and f"tokens of all roles in {budget}",
        "samples": [matrix.samples, matrix.temperature, config.seed],
        "problems": [_decisive_row(problem) for problem in problems],
    }
    limits = {name: getattr(config.rollout, name) for name in LIMITS}
    decisive |= {name: value for name, value in limits.items() if value != Rollout.model_fields[name].default}
    if config.verifier is not None:
        decisive |= {"verifier": _decisive(config.verifier), "verifier_model": _files(verifier)}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True, default=str).encode()).hexdigest()


def _decisive_row(problem: Problem) -> dict[str, Any]:
    """Return what of a problem decides its episodes; what was so before it was called or shown otherwise, as then."""
    row = asdict(problem)
    row["meta"] = {"replies" if name == REPLIES else name: value for name, value in row["meta"].items()}
    if with_options(problem.question, problem.choices, problem.answer_type) != problem.question:
        row["options"] = "shown"
    return row


def _decisive(frozen: Solver) -> dict[str, Any]:
    """Return what of a frozen model decides its replies."""
    values = frozen.model_dump(exclude=PLACES)
    fields = type(frozen).model_fields
    return values | {name: fields[name].default for name in (PATIENCE | BUDGETS) & fields.keys()}


def _files(path: str | None) -> list[Any]:
    """Return a model's path, and of a folder its weights' sizes and times: it may be written anew under the
    same name."""
    folder = Path(model_path(path)) if path else None
    files = sorted(folder.glob("*.safetensors")) if folder is not None and folder.is_dir() else []
    return [path, *((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)]


@asynccontextmanager
async def _pipeline(start: Cell, shared: RunningRoles, account: SolverAccount) -> AsyncIterator[Pipeline]:
    """Have the rollout workers of a cell's policy engine for the block, over a solver and a verifier that run, and
    whose account is up to date after it."""
    frozen = shared.solvers, shared.verifiers
    async with running_roles(start.config, shared.log_folder, ("rollout",), *frozen) as own:
        pipeline = replace(shared, workers=own.workers).pipeline(start.config)
        pipeline.start()
        try:
            yield pipeline
        finally:
            await account.close(pipeline)
            await pipeline.stop()


def _held_out(config: Config, count: int) -> list[Problem]:
    source = make_source(config.data)
    check_held_out(config, source)
    return source.held_out(count)


class MatrixRun:
    """A matrix and its folder. ``say`` gets a line now and then; ``account`` is that of the solver that runs, or ran
    last."""

    account: SolverAccount

    def __init__(self, config: Config, cells: Sequence[Cell], folder: Path, say: Callable[[str], Any]) -> None:
        assert config.matrix is not None
        self.matrix: Matrix = config.matrix
        self.config, self.folder, self._say = config, folder, say
        self.problems = {
            name: _held_out(next(cell for cell in cells if cell.data == name).config, self.matrix.problems)
            for name in dict.fromkeys(cell.data for cell in cells)
        }
        able = [cell for cell in cells if self._can_be_run(cell)]
        left_out = [cell for cell in cells if cell not in able]
        self.cells = [cell for cell in able if self._has_budget(cell, left_out)]
        self.prints: dict[str, str] = {}
        # A cell whose budget another sets is another cell when that one is.
        for cell in sorted(self.cells, key=lambda cell: cell.strategy in self.matrix.equal_tokens):
            budget = self._budget_cell(cell)
            self.prints[cell.name] = fingerprint(
                cell, self.matrix, self.problems[cell.data], self.prints[budget.name] if budget else ""
            )

    def _can_be_run(self, cell: Cell) -> bool:
        """Return whether all problems have the sub-questions that a cell is to be given; say why it is left out."""
        lacks = cannot_be_given(cell.config, self.problems[cell.data]).get(cell.given or "")
        if lacks is not None:
            self._say(f"{cell.name} is left out: {lacks}")
        return lacks is None

    def _has_budget(self, cell: Cell, left_out: Sequence[Cell]) -> bool:
        """Return whether the cell that sets a cell's budget, if one does, is not left out; say if it is."""
        other = budget_cell(cell, left_out, self.matrix)
        if other is not None:
            self._say(f"{cell.name} is left out: its budget would be that of {other.name}")
        return other is None

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return a finished cell's result; None if there is none for what the cell is now."""
        found = read_json(self._file(cell))
        return found if found.get("fingerprint") == self.prints[cell.name] else None

    def pending(self) -> list[Cell]:
        """Return the cells that are not finished, in their order."""
        return [cell for cell in self.cells if self.result(cell) is None]

    async def run(self) -> None:
        """Run what is not finished. Raises StartError, BudgetSpent, WaitTimeout, InfrastructureError."""
        pending = self.pending()
        self._say(f"{len(self.cells)} cells, {len(self.cells) - len(pending)} of them finished before")
        if not pending:
            return
        (self.folder / "cells").mkdir(parents=True, exist_ok=True)
        number = itertools.count(1)
        with ray_session(self.config):
            for _, groups in schedule(pending, self.matrix):
                solved_by = groups[0][0]
                judged_by = solved_by.config.verifier
                name = solved_by.solver if judged_by is None else f"{solved_by.solver}+{judged_by.backend}"
                roles = ("solver", "reward") if judged_by is None else ("solver", "verifier", "reward")
                logs = self.folder / "logs" / name
                self.account = SolverAccount(solved_by.config, logs, Usage())
                async with running_roles(solved_by.config, logs, roles) as shared:
                    for start, cells in groups:
                        async with _pipeline(start, shared, self.account) as pipeline:
                            for cell in cells:
                                result = await self._cell(pipeline, cell)
                                self._say(f"{next(number)}/{len(pending)}  {cell.name}  {result}")

    async def _cell(self, pipeline: Pipeline, cell: Cell) -> str:
        """Run one cell and keep it; return what to say about it."""
        problems = self.problems[cell.data]
        scored = await pipeline.run(self.jobs(cell))
        file = self._file(cell)
        write_lines(file.with_suffix(".jsonl"), map(episode_record, scored))
        rows = [self._row(cell, item, index // len(problems)) for index, item in enumerate(scored)]
        names = {"data": cell.data, "solver": cell.solver, "strategy": cell.strategy, "decomposer": cell.decomposer}
        write_json(file, {"fingerprint": self.prints[cell.name], **names, "rows": rows})
        return f"{sum(row['correct'] for row in rows) / len(rows):.3f}"

    def jobs(self, cell: Cell) -> list[Job]:
        """Return a cell's episodes: every problem once, then every problem a second time, and so on, but for
        copies."""
        problems, matrix = self.problems[cell.data], self.matrix
        once = eval_jobs(problems, cell.given or "policy", cell.config.strategy.name)
        config = self._budgeted(cell)
        return [
            replace(
                job,
                id=sample * len(once) + job.id,
                seed=cell.config.seed + sample * len(once) + job.seed,
                temperature=matrix.temperature,
                config=config,
            )
            for sample in range(1 if cell.undrawn else matrix.samples)
            for job in once
        ]

    def _budgeted(self, cell: Cell) -> Config:
        """Return the cell's configuration, with the budget that another cell sets."""
        other = self._budget_cell(cell)
        if other is None:
            return cell.config
        result = self.result(other)
        if result is None:
            raise RuntimeError(f"cell {cell.name} takes its budget from {other.name}, which is not finished")
        rows = result["rows"]
        budget = max(1, round(sum(map(all_tokens, rows)) / len(rows)))
        strategy = cell.config.strategy.model_copy(update={"samples": None, "token_budget": budget})
        return cell.config.model_copy(update={"strategy": strategy})

    def _budget_cell(self, cell: Cell) -> Cell | None:
        """Return the cell that sets this one's budget; None if none does. Raises ConfigError if that one is not run."""
        equal, found = self.matrix.equal_tokens.get(cell.strategy), budget_cell(cell, self.cells, self.matrix)
        if equal is None or found is not None:
            return found
        raise ConfigError(
            f"matrix.equal_tokens.{cell.strategy}: there is no cell of strategy '{equal.strategy}' with decomposer "
            f"'{equal.decomposer}'; allowed: one that asks a decomposer, or none where it asks none"
        )

    def _row(self, cell: Cell, item: Scored, sample: int) -> dict[str, Any]:
        episode, config, meta = item.episode, cell.config, item.episode.problem.meta
        return {
            "problem": episode.problem.id,
            "sample": sample,
            "correct": item.reward.correct,
            "error": item.reward.error,
            "outcome": episode.outcome,
            "answer": episode.final.answer,
            "subquestions": len(episode.decomposition.subquestions) if episode.decomposition else None,
            **{name: item.reward.measures.get(name) for name in MEASURES},
            "solver_tokens": episode.solver_tokens,
            "solver_prompt_tokens": episode.solver_prompt_tokens,
            "policy_tokens": episode.policy_tokens,
            "verifier_tokens": episode.verifier_tokens,
            "verifier_prompt_tokens": episode.verifier_prompt_tokens,
            "tokens": episode.decomposer_tokens + episode.solver_tokens + episode.verifier_tokens,
            "cost": _cost(config.solver, episode.solver_prompt_tokens, episode.solver_tokens)
            + _cost(config.verifier, episode.verifier_prompt_tokens, episode.verifier_tokens),
            "rewritten": None if config.verifier is None else len(episode.refused),
            "verdicts": None if config.verifier is None else verdict_pairs(episode),
            **{name: meta[name] for name, kind in GROUPS.items() if isinstance(meta.get(name), kind)},
        }

    def _file(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.name}.json"


def all_tokens(row: dict[str, Any]) -> int:
    """Return what all roles wrote in the episode of a row; cells of earlier versions had no verifier."""
    return int(row.get("tokens", row["solver_tokens"] + row["policy_tokens"]))


def _cost(role: Any, read: int, wrote: int) -> float:
    """Return what the tokens of a role cost, nothing where it is no server."""
    return (read * role.price_prompt + wrote * role.price_completion) / 1e6 if isinstance(role, OpenAISolver) else 0.0
