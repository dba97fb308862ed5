"""What a shipped solver can and cannot do, measured: the figures of its model card."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from pathlib import Path

from conf.schema.solver import VllmSolver
from launch.tiny_models.curriculum import POSITIONS
from launch.tiny_models.texts import PROMPTS
from rollout.answers import extract
from rollout.data.graph import Graph
from rollout.data.source import GENERATE
from rollout.data.worked import SolverView
from rollout.episode.contracts import Solver
from rollout.records import Episode, Problem, Turn
from rollout.run_episode import GivenDecomposition
from rollout.solvers.vllm import EngineSolver
from rollout.strategies import run_strategy
from trainer.tracking.statistics import wilson


def _given(graph: Graph, rng: random.Random, count: int) -> list[str]:
    return [graph.ask(rng.choice(sorted(graph.given))) for _ in range(count)]


def _repeated(graph: Graph, rng: random.Random, count: int) -> list[str]:
    return [graph.ask(graph.needed[0])] * count if count > 1 else _given(graph, rng, count)


def _shuffled(graph: Graph, rng: random.Random, count: int) -> list[str]:
    names = graph.needed[:-1]
    orders = [list(order) for order in itertools.permutations(names)]
    wrong = [order for order in orders if not graph.check_decomposition([graph.ask(name) for name in order])["solves"]]
    return [graph.ask(name) for name in rng.choice(wrong)] if wrong else _given(graph, rng, count)


# Numbers of reasoning steps of each task.
MEASURED = {"chained": (1, 2, 3, 4), "branched": (2, 3, 4, 5, 6)}
GIVEN: dict[str, Callable[[Graph, random.Random, int], list[str] | None]] = {
    "nothing asked": lambda graph, rng, count: None,
    "gold sub-questions": lambda graph, rng, count: [graph.ask(name) for name in graph.needed[:-1]],
    "given facts asked": _given,
    "one sub-question repeated": _repeated,
    "gold in an order that fails": _shuffled,
}


async def _accuracy(
    solver: EngineSolver, problems: list[Problem], decompositions: list[list[str] | None]
) -> dict[str, float]:
    async def run(problem: Problem, given: list[str] | None) -> Episode:
        name = "direct" if given is None else "daslam"
        return await run_strategy(name, problem, GivenDecomposition(given or []), solver, PROMPTS)

    episodes = await asyncio.gather(*(run(*pair) for pair in zip(problems, decompositions, strict=True)))
    right = sum(
        extract.score(episode.problem, extract.extract(episode.final.text, "number").answer) for episode in episodes
    )
    return wilson(right, len(episodes))


async def single_steps(solver: Solver, problems: list[Problem], worded: Callable[[str], str] = str) -> dict[str, float]:
    """Return how often one step is right, its operands in view: every gold sub-question and the last one, each after
    right answers to those before it, as the solver words them."""

    async def right(problem: Problem, turns: list[Turn], name: str, graph: Graph) -> bool:
        reply = await solver.ask(PROMPTS.subquestion(problem, turns, graph.ask(name)), purpose="subquestion")
        return extract.extract(reply.text, "number").answer == str(graph.values[name])

    asked = []
    for problem in problems:
        graph = Graph(problem)
        view, turns = SolverView(graph), list[Turn]()
        for name in graph.needed:
            asked.append(right(problem, list(turns), name, graph))
            turns.append(Turn(graph.ask(name), worded(view.answer(name))))
    found = await asyncio.gather(*asked)
    return wilson(sum(found), len(found)) | {"count": len(found)}


def measure(folder: Path, data: str = "chained", count: int = 250, worded: Callable[[str], str] = str) -> str:
    """Return the text for the card: how often one step of the task ``data`` is right after replies in the solver's own
    words (``worded``), and a Markdown table of accuracies by reasoning steps (rows of ``count`` held-out problems) and
    what was asked."""
    settings = {"backend": "vllm", "path": str(folder), "max_model_len": POSITIONS[data]}
    solver = EngineSolver(VllmSolver.model_validate(settings))
    problems = {
        steps: list(itertools.islice(GENERATE[data](7, "held_out", {steps: 1.0}), count)) for steps in MEASURED[data]
    }
    longer = [problem for steps, own in problems.items() if steps > 1 for problem in own]
    single = asyncio.run(single_steps(solver, longer, worded))
    lines = [
        f"One step, its operands in view, in held-out problems of two to {max(problems)} steps: {single['mean']:.3f} "
        f"right (95 % interval {single['low']:.3f} – {single['high']:.3f}, {single['count']} questions).",
        "",
        f"Final accuracy on held-out problems, {count} a cell, greedy:",
        "",
        "| before the question | " + " | ".join(f"{steps} steps" for steps in problems) + " |",
        "|---|" + "---|" * len(problems),
    ]
    for name, given in GIVEN.items():
        cells = []
        for steps, own in problems.items():
            decompositions = [given(Graph(problem), random.Random(problem.id), steps - 1) for problem in own]
            result = asyncio.run(_accuracy(solver, own, decompositions))
            cells.append(f"{result['mean']:.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    solver.engine.stop()
    alone = (
        "With one step there is nothing to ask first, so every row but the third is the same problem asked directly. "
    )
    lines += [
        "",
        (alone if 1 in problems else "")
        + "In two-step problems the rows on repeats and failing orders ask given facts, since one sub-question can be "
        "neither repeated nor misordered.",
    ]
    return "\n".join(lines)
