"""Problems worked out sub-question by sub-question: the right reply to each, and the final answer.

Of the embedded task the generator knows them; of people's problems they are the steps of the gold solution, or the
row's answers to its sub-questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout.data.graph import Graph, has_graph
from rollout.records import Problem

# In ``Problem.meta``: the right replies to the sub-questions that are left. No row brings it.
REPLIES = "_replies"


class SolverView:
    """Track what the solver can see as a conversation goes on: an exact statement of the skill it is taught.

    A reply restates before it computes, so that each token is one look-up away from the last.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.known = set(graph.given)
        self.computed: list[str] = []

    def answer(self, name: str) -> str:
        """Return the reply to a sub-question about ``name``; afterwards its value is in view if it could be told."""
        reply = self.graph.reply(name, self.known)
        if name not in self.known and self.graph.in_view(name, self.known):
            self.known.add(name)
            self.computed.append(self.graph.line(name))
        return reply

    def last(self) -> str:
        """Return the reply to the whole problem as one more step."""
        return self.graph.reply(self.graph.target, self.known)

    def solve(self) -> str:
        """Return the reply to the whole problem: everything computed so far, then the target as if asked for."""
        return "\n".join([*self.computed, self.last()])


@dataclass(frozen=True)
class Worked:
    """Sub-questions with their right replies; ``computed``, the steps among these that the final answer restates; and
    ``last``, the final answer alone."""

    pairs: list[tuple[str, str]]
    computed: list[str]
    last: str


def worked(problem: Problem, subquestions: Sequence[str]) -> Worked | None:
    """Return a problem worked out through its ``subquestions``; None where their answers are not known."""
    if has_graph(problem):
        return _by_graph(Graph(problem), subquestions)
    replies = gold_replies(problem, len(subquestions))
    if not replies:
        return None
    pairs, steps = list(zip(subquestions, replies, strict=True)), _steps(problem)
    answer = f"The answer is {problem.answer}."
    if problem.meta.get(REPLIES):  # steps whose sub-question was left out belong to the solution all the same
        return Worked(pairs, steps or replies, answer)
    return Worked(pairs, replies, "\n".join([*steps[len(replies) :], answer]))


def _by_graph(graph: Graph, subquestions: Sequence[str]) -> Worked | None:
    names = [graph.asked_name(question) for question in subquestions]
    view = SolverView(graph)
    pairs = [(question, view.answer(name)) for question, name in zip(subquestions, names, strict=True) if name]
    return Worked(pairs, view.computed, view.last()) if len(pairs) == len(names) else None


def gold_replies(problem: Problem, count: int) -> list[str] | None:
    """Return replies to the first ``count`` gold sub-questions: the steps of the gold solution, or else the row's
    ``subanswers``; None if there are too few."""
    kept = problem.meta.get(REPLIES)
    for known in (kept, [] if kept else _steps(problem), problem.meta.get("subanswers")):
        if isinstance(known, list) and len(known) >= count and not {None, ""}.intersection(known[:count]):
            return [str(reply) for reply in known[:count]]
    return None


def _steps(problem: Problem) -> list[str]:
    return [line.strip() for line in (problem.solution or "").splitlines() if line.strip()]
