"""A strategy of the gate alone: every sub-question with the right replies to those before it in view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from rollout.answers.extract import parse_number, score
from rollout.data.worked import REPLIES, worked
from rollout.jobs import Job
from rollout.records import Episode, Problem, Turn
from rollout.strategies.exchange import Exchange, together
from rollout.turn_answer import kind_of, read_reply

# As a job names it; the rollout workers import it from here.
NAME = f"{__name__}:run"


async def run(exchange: Exchange) -> None:
    """Ask all sub-questions at once; the right replies are the problem's ``meta[REPLIES]``."""
    questions = await exchange.decompose()
    right = [Turn(question, reply) for question, reply in zip(questions, exchange.problem.meta[REPLIES], strict=True)]
    asked = [exchange.answer(question, right[:index]) for index, question in enumerate(questions)]
    await together(asked, exchange.episode.turns)


def step_job(index: int, problem: Problem) -> Job | None:
    """Return the job that asks a problem's own sub-questions; None where the right replies are not known, or none of
    them gives an answer to compare with."""
    subquestions = list(problem.subquestions or [])
    solution = worked(problem, subquestions) if subquestions else None
    if solution is None:
        return None
    shown = replace(problem, meta=problem.meta | {REPLIES: [reply for _, reply in solution.pairs]})
    if all(right is None for _, right in _right_answers(shown, subquestions)):
        return None
    return Job(index, shown, NAME, seed=index, temperature=0.0, given=subquestions)


def marks(episode: Episode) -> list[bool]:
    """Return whether each sub-question was answered rightly, none of them in an episode that the solver ended; without
    sub-questions whose right reply gives no answer to compare with."""
    replies = [turn.text for turn in episode.turns] if episode.outcome == "ok" else []
    right_answers = _right_answers(episode.problem, episode.subquestions)
    found = []
    for question, (kind, right), reply in zip_longest(episode.subquestions, right_answers, replies):
        if right is not None:
            said = None if reply is None else read_reply(reply, kind)
            found.append(score(Problem(episode.problem.id, question, right, kind), said) == 1.0)
    return found


def _right_answers(problem: Problem, subquestions: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return the kind of each sub-question and its right answer: the row's, or what the right reply gives."""
    replies, answers = problem.meta[REPLIES], problem.meta.get("subanswers")
    kinds = [kind_of(question, problem.answer_type) for question in subquestions]
    if not isinstance(answers, list) or len(answers) != len(replies):
        return [(kind, read_reply(reply, kind)) for kind, reply in zip(kinds, replies, strict=True)]
    found: list[tuple[str, str | None]] = []
    for kind, text in zip(kinds, map(str, answers), strict=True):
        kind = "number" if parse_number(text) is not None else kind
        # What is not even read as the same as itself, such as "Let x be the number", can be answered by nobody.
        readable = score(Problem(problem.id, problem.question, text, kind), text) == 1.0
        found.append((kind, text if readable else None))
    return found
