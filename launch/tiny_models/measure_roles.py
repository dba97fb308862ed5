"""Measure the shipped verifier and monolith on held-out problems: the figures of their cards."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from pathlib import Path

from conf.schema.solver import VllmSolver
from launch.tiny_models.curriculum import POSITIONS
from launch.tiny_models.measure import MEASURED
from launch.tiny_models.role_texts import judged_reply
from launch.tiny_models.texts import PROMPTS
from rollout.answers import extract
from rollout.data.chained import generate
from rollout.data.planted_errors import KINDS, RIGHT
from rollout.data.source import GENERATE
from rollout.episode.roles import FrozenRole
from rollout.episode.verdict import NO_MISTAKE, UNREADABLE, read_verdict
from rollout.records import Episode, Problem, Turn
from rollout.run_episode import GivenDecomposition
from rollout.solvers.vllm import EngineSolver
from rollout.strategies import run_strategy
from trainer.reports.tables import markdown
from trainer.tracking.statistics import wilson

# Of each task, a text with everything that can be worked out.
MONOLITH_TOKENS = {"chained": 256, "branched": 512}
# Seed of held-out problems that no evaluation uses.
SEED = 7
# A kind of reply, its true class, and the classes that were named.
Verdict = tuple[str, str, list[str]]


def _engine(folder: Path, **settings: object) -> EngineSolver:
    return EngineSolver(
        VllmSolver.model_validate({"backend": "vllm", "path": str(folder), "stop_solve": []} | settings)
    )


def measure_verifier(folder: Path, count: int = 100) -> str:
    """Return for the card how often the verdict on ``count`` held-out replies of each kind is the right one."""
    problems = list(itertools.islice(generate(SEED, "held_out", {2: 1.0, 3: 1.0, 4: 1.0}), count))
    verifier = _engine(folder, max_tokens_solve=96)
    verdicts = asyncio.run(_verdicts(verifier, problems))
    verifier.engine.stop()
    return verifier_skill(verdicts)


async def _verdicts(verifier: EngineSolver, problems: Sequence[Problem]) -> list[Verdict]:
    async def one(problem: Problem, kind: str) -> Verdict:
        turns, judged = judged_reply(problem, random.Random(f"{problem.id} {kind}"), kind)
        prompt = PROMPTS.verify(problem, turns, Turn(judged.question, judged.reply))
        reply = await verifier.ask(prompt, purpose="solve")
        return kind, judged.verdict, read_verdict(reply.text)

    return await asyncio.gather(*(one(problem, kind) for kind in KINDS for problem in problems))


def verifier_skill(verdicts: Sequence[Verdict]) -> str:
    """Return in Markdown how often verdicts name the true class and no other, by class and by kind of reply, and how
    often a right reply is called wrong."""
    right = [named for kind, _, named in verdicts if kind in RIGHT]
    alarms = wilson(sum(not {NO_MISTAKE, UNREADABLE}.intersection(named) for named in right), len(right))
    planted = [(true, named) for kind, true, named in verdicts if kind not in RIGHT]
    missed = wilson(sum(NO_MISTAKE in named for _, named in planted), len(planted))
    classes = dict.fromkeys(true for _, true, _ in verdicts)
    kinds = {kind: true for kind, true, _ in verdicts}
    by_class = [{"class": _words(true)} | _figures([one for one in verdicts if one[1] == true]) for true in classes]
    by_kind = [
        {"reply": kind, "class": _words(true)} | _figures([one for one in verdicts if one[0] == kind])
        for kind, true in kinds.items()
    ]
    return "\n\n".join(
        [
            f"False alarms: {_share(alarms)} of {len(right)} right replies are called wrong. Missed: {_share(missed)} "
            f"of {len(planted)} replies with a planted error are called right. Held-out problems of two to four steps, "
            "greedy; a verdict is right if it names the true class and no other.",
            markdown(list(by_class[0]), by_class),
            markdown(list(by_kind[0]), by_kind),
        ]
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figures(own: Sequence[Verdict]) -> dict[str, str]:
    found = wilson(sum(named == [true] for _, true, named in own), len(own))
    interval = f"{found['low']:.2f} – {found['high']:.2f}"
    return {"replies": str(len(own)), "verdict right": f"{found['mean']:.2f}", "95 %": interval}


def _share(found: dict[str, float]) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} – {found['high']:.3f})"


def measure_monolith(folder: Path, data: str = "chained", count: int = 250) -> str:
    """Return for the card how often the final answer is right, and how often the gold sub-questions are asked, by
    reasoning steps, on ``count`` held-out problems each of the task ``data``."""
    monolith = _engine(folder, max_tokens_solve=MONOLITH_TOKENS[data], max_model_len=POSITIONS[data])
    rows = []
    for steps in MEASURED[data]:
        problems = list(itertools.islice(GENERATE[data](SEED, "held_out", {steps: 1.0}), count))
        episodes = asyncio.run(_texts(monolith, problems))
        right = wilson(sum(map(_right, episodes)), count)
        gold = sum(episode.subquestions == episode.problem.subquestions for episode in episodes) / count
        rows.append(
            {"steps": steps, "accuracy": f"{right['mean']:.2f}", "95 %": f"{right['low']:.2f} – {right['high']:.2f}",
             "gold sub-questions": f"{gold:.2f}"}
        )  # fmt: skip
    monolith.engine.stop()
    return f"Held-out problems, {count} a row, greedy:\n\n{markdown(list(rows[0]), rows)}"


async def _texts(monolith: EngineSolver, problems: Sequence[Problem]) -> list[Episode]:
    nobody = GivenDecomposition([])
    runs = (run_strategy("monolith", problem, nobody, FrozenRole(monolith), PROMPTS) for problem in problems)
    return await asyncio.gather(*runs)


def _right(episode: Episode) -> float:
    return extract.score(episode.problem, extract.extract(episode.final.text, "number").answer)
