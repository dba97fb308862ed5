"""A verifier that is no language model: it judges replies to the embedded task exactly.

It sees what any verifier sees, the prompt's text in the format of conf/strategy/lm2.yaml, and nothing of the generator
or of the gold answer: what is true it works out of the question's own sentences. Of other questions it can tell
nothing, which is no verdict. The kinds of mistakes are LM2's (arXiv 2404.02255):

- misunderstood: the sub-question is about nobody or nothing in the problem, or the reply about somebody else;
- procedural: the sub-question cannot be answered yet, since what it needs was not asked before;
- conceptual: the reply uses other quantities or another operation than the text tells;
- computational: its operation is the right one and its result is wrong;
- first step: it does not answer what it could, or states another value for what it needs;
- last step: its computation is right and the value that it then states is not.
"""

from __future__ import annotations

import re
from typing import Any

from rollout.episode.contracts import Reply
from rollout.solvers.base import Backend
from rollout.solvers.program import OWNED, View

QUESTION, ANSWER, END = "Q:", "A:", "Verdict:"
COMPUTATION = re.compile(r"\b(\d{1,9}) ([-+*/]) (\d{1,9}) = (\d{1,9})\b")
CANNOT_JUDGE = "I cannot judge this."


def judge(prompt: str) -> str:
    """Return the verdict on the last reply in a prompt."""
    lines = prompt.strip().splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith(QUESTION)]
    if not starts:
        return CANNOT_JUDGE
    asked, replied = lines[starts[-1]].removeprefix(QUESTION).strip(), " ".join(lines[starts[-1] + 1 :])
    reply = replied.removeprefix(ANSWER).removesuffix(END).strip()
    return judge_reply("\n".join(lines[: starts[0]]), "\n".join(lines[: starts[-1]]), asked, reply)


def judge_reply(question: str, before: str, asked: str, reply: str) -> str:
    """Return the verdict on a reply to the sub-question ``asked``; ``before`` is the text that was there to see, the
    problem's own ``question`` and the earlier answers."""
    problem = View(question)
    if not problem.values:
        return CANNOT_JUDGE
    return _verdict(problem, true_values(problem), View(before), asked, reply)


def true_values(problem: View) -> dict[str, int]:
    """Return everybody's quantity that follows from what a problem's text tells."""
    values = dict(problem.values)
    for _ in problem.relations:
        for name, relation in problem.relations.items():
            if name not in values and all(operand in values for operand in relation.operands):
                values[name] = relation.compute(values)[1]
    return values


def _verdict(problem: View, true: dict[str, int], seen: View, asked: str, reply: str) -> str:
    name = problem.asked(asked)
    if name is None or name not in true:
        return "misunderstood question"
    stated = {owner: int(value) for owner, value, _ in OWNED.findall(reply)}
    relation = problem.relations.get(name)
    needs = relation.operands if relation is not None and name not in problem.values else ()
    if any(operand not in seen.values for operand in needs):
        return "no mistake" if stated.get(name) == true[name] else "procedural"
    if name not in stated:
        return "misunderstood question" if set(stated) - set(needs) else "error in the first step"
    if any(stated.get(operand, true[operand]) != true[operand] for operand in needs):
        return "error in the first step"
    computations = COMPUTATION.findall(reply)
    if computations:
        left, sign, right, result = computations[-1]
        if relation is not None and not _same_operation(relation.compute(true)[0], left, sign, right):
            return "conceptual"
        if {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}.get(
            sign, int(left) // max(1, int(right))
        ) != int(result):
            return "computational"
    if stated[name] == true[name]:
        return "no mistake"
    return "error in the last step" if computations else "computational"


def _same_operation(computation: str, left: str, sign: str, right: str) -> bool:
    """Return whether a computation is this one; a sum and a product may be turned round."""
    (found,) = COMPUTATION.findall(computation)
    same = {(left, right), (right, left)} if sign in "+*" else {(left, right)}
    return found[1] == sign and (found[0], found[2]) in same


class ProgramVerifier(Backend):
    """The program as a backend. It has no tokens to count."""

    @property
    def identity(self) -> dict[str, Any]:
        """The program."""
        return {"backend": "program", "role": "verifier"}

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Judge one reply."""
        reply = Reply(judge(prompt), 0, 0)
        self.usage.count(reply)
        return reply
