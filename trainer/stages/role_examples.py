"""Stage 1's examples for roles other than the decomposer: what each reads in an episode, and what it is to write.

The solver reads the question, earlier pairs and a sub-question and answers, at the end the whole question; it may write
its calculations out for a calculator, where a row has ``equations``. The verifier reads a reply and writes the right
one and its verdict; half of what it is shown has a planted error. The monolith reads the question and writes
sub-questions, answers and final answer, as ``rollout.episode.parse_monolith`` reads them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from conf.schema.config import Config
from conf.schema.learning import FineTunedRole
from conf.schema.policy import Policy
from rollout.answers.annotations import annotate
from rollout.data.graph import Graph, has_graph
from rollout.data.planted_errors import Judged, plant
from rollout.data.planted_in_text import plant_in_step
from rollout.data.worked import SolverView, Worked, worked
from rollout.episode.prompts import Prompts
from rollout.episode.verdict import write_verdict
from rollout.records import Problem, Turn
from trainer.stages.line_examples import concepts_of

# What a role reads, and what it is to write.
Example = tuple[str, str]


def prompts_of_role(config: Config) -> Prompts:
    """Return the prompts of every role in the chat format of the model that is fine-tuned."""
    prompts = Prompts.of(config.model_copy(update={"policy": Policy.model_validate({})}))
    return replace(prompts, solver_chat=prompts.decomposer_chat, verifier_chat=prompts.decomposer_chat)


def role_examples(
    role: FineTunedRole,
    prompts: Prompts,
    problem: Problem,
    subquestions: Sequence[str],
    seed: int,
    again: int = 0,
    *,
    annotated: bool = False,
    direct: bool = False,
) -> list[Example]:
    """Return a problem's examples for a role; none where the answers to its sub-questions are not known. A verifier's
    have other errors when the problem comes ``again``, for the first, second, ... time. ``annotated`` and ``direct``
    are the solver's (``solver_examples``)."""
    solution = worked(problem, subquestions)
    if solution is None:
        return []
    if role == "solver":
        concepts = concepts_of(problem, prompts.strategy)
        return solver_examples(prompts, problem, solution, concepts, annotated=annotated, direct=direct)
    if role == "monolith":
        return [monolith_example(prompts, problem, solution)]
    rng = random.Random(f"sft verifier {seed} {problem.id}" + (f" {again}" if again else ""))
    return verifier_examples(prompts, problem, solution, rng)


def solver_examples(
    prompts: Prompts,
    problem: Problem,
    solution: Worked,
    concepts: str | None = None,
    *,
    annotated: bool = False,
    direct: bool = False,
) -> list[Example]:
    """Return an example for each sub-question, earlier pairs in view, and one for the whole question after them; with
    ``direct`` one more for the whole question by itself.

    With ``annotated`` the problem's ``equations`` are in what is to be written, and not in the earlier pairs: nobody
    sees annotations that a solver wrote (rollout/solvers/calculator.py).
    """
    turns = [Turn(question, reply) for question, reply in solution.pairs]
    replies, whole = [turn.text for turn in turns], [*solution.computed, *solution.last.splitlines()]
    if annotated:
        equations = [str(one) for one in problem.meta.get("equations") or []]
        replies, whole = annotate(replies, equations), annotate(whole, equations)
    asked = [
        (prompts.subquestion(problem, turns[:index], turn.question, concepts), reply)
        for index, (turn, reply) in enumerate(zip(turns, replies, strict=True))
    ]
    solved = [prompts.solve(problem, turns, concepts), *([prompts.solve(problem, ())] if direct else [])]
    return [_joined(prompt, reply) for prompt, reply in (*asked, *((prompt, "\n".join(whole)) for prompt in solved))]


def monolith_example(prompts: Prompts, problem: Problem, solution: Worked) -> Example:
    """Return the one example of a text with everything."""
    pairs = "".join(f"Q: {question}\nA: {' '.join(reply.split())}\n" for question, reply in solution.pairs)
    return _joined(prompts.whole(problem), f"{pairs}Final answer: {solution.last}")


def verifier_examples(prompts: Prompts, problem: Problem, solution: Worked, rng: random.Random) -> list[Example]:
    """Return an example for each sub-question; a planted error may go with a sub-question of its own."""
    found = []
    for index in range(len(solution.pairs)):
        earlier = [Turn(question, reply) for question, reply in solution.pairs[:index]]
        judged = _judged(problem, solution, index, rng)
        found.append(verifier_example(prompts, problem, earlier, judged))
    return found


def verifier_example(prompts: Prompts, problem: Problem, earlier: Sequence[Turn], judged: Judged) -> Example:
    """Return what the verifier reads of a reply, and what it is to write: the right reply, then its verdict. What it
    has worked out itself it can compare."""
    prompt = prompts.verify(problem, earlier, Turn(judged.question, judged.reply))
    return _joined(prompt, f"{judged.right} Verdict: {write_verdict(judged.verdict)}.")


def _judged(problem: Problem, solution: Worked, index: int, rng: random.Random) -> Judged:
    """Return a reply to judge, the sub-questions before ``index`` answered."""
    question, reply = solution.pairs[index]
    if has_graph(problem):
        graph = Graph(problem)
        view = SolverView(graph)
        for earlier, _ in solution.pairs[:index]:
            view.answer(str(graph.asked_name(earlier)))
        planted = plant(graph, view.known, rng)
    else:
        wrong = plant_in_step(solution.pairs, index, rng) if rng.random() < 0.5 else None
        planted = None if wrong is None else Judged(question, *wrong, right=reply)
    return planted or Judged(question, reply, "no_mistake", reply)


def _joined(prompt: str, reply: str) -> Example:
    """Return prompt and reply with the space between them that the reply begins with."""
    return prompt, reply if prompt[-1:].isspace() else f" {reply}"
