"""Stage 1's examples for a decomposer that writes one text after another: a problem gives several, one a text.

After LM2 (arXiv 2404.02255): question, concepts and answered pairs 1..n are read, sub-question n + 1 is written; before
them the concepts, after them the end mark. Prompts and completions are those of an episode, line breaks included.

Decompositions that are learned hold no sub-question that a verifier refused, and a decomposer that never saw one stops
when it does. So some prompts show one: the sub-question that is then to be asked, as if its reply had failed, or a
later one, as if it had come too early.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from conf.schema.strategy import Strategy
from rollout.answers.marks import without_thinking
from rollout.data.graph import Graph, has_graph
from rollout.episode.contracts import Written, text_of
from rollout.episode.prompts import Prompts
from rollout.records import Problem, RecordError, Turn

# In the generator's words where it has them.
OPERATIONS = {"+": "addition", "-": "subtraction", "*": "multiplication", "/": "division"}


def line_examples(
    prompts: Prompts, problem: Problem, subquestions: list[str], replies: list[str], attempt: str, concepts: str | None,
    refused: float = 0.0, seed: int = 0,
) -> list[tuple[str, str]]:  # fmt: skip
    """Return (prompt, completion) for each text that the decomposer is to write. ``replies`` are the solver's, one a
    sub-question; ``concepts`` are None where none are to be written. A share ``refused`` of the prompts before a
    sub-question shows one that was refused."""
    rng = random.Random(f"sft refused {seed} {problem.id}")
    found: list[tuple[str, str]] = []
    noted = None if concepts is None else Written(f"{concepts}\n")
    if noted is not None:
        found.append((text_of(prompts.concepts(problem, attempt)), noted.text))
    pairs = [
        (Written(f"{question}\n"), Turn(question, without_thinking(reply)))
        for question, reply in zip(subquestions, replies, strict=True)
    ]
    for count in range(len(pairs) + 1):
        line = pairs[count][0].text if count < len(pairs) else f"{prompts.strategy.end_mark}\n"
        shown = (
            [_refused(pairs[count:], prompts.strategy.rewrite_on, rng)]
            if count < len(pairs) and rng.random() < refused
            else []
        )
        found.append((text_of(prompts.next(problem, attempt, noted, pairs[:count], shown)), line))
    return found


def _refused(ahead: list[tuple[Written, Turn]], classes: Sequence[str], rng: random.Random) -> tuple[Written, Turn]:
    """Return the next of the pairs that are ``ahead``, or a later one, as a verifier would have refused it: a later one
    comes too early, the next one's reply was a wrong one of some kind."""
    place = rng.choice([0, rng.randrange(len(ahead))])
    written, turn = ahead[place]
    wrong = [verdict for verdict in classes if verdict != "procedural"]
    return written, Turn(turn.question, "", verdicts=["procedural" if place or not wrong else rng.choice(wrong)])


def judged(strategy: Strategy) -> bool:
    """Return whether a strategy's decomposer may find a sub-question refused in its prompt."""
    return strategy.name == "lm2" and strategy.retries > 0 and bool(strategy.refused_template)


def concepts_of(problem: Problem, strategy: Strategy, written: str | None = None) -> str | None:
    """Return the concepts that a problem needs, on one line: those that a decomposer has ``written``, its data set's
    (``concepts`` of the row), or the operations of its steps, as the generator or the row's ``equations`` tell them;
    None where the strategy asks for none. Raises RecordError."""
    if not strategy.writes_concepts:
        return None
    known = written or problem.meta.get("concepts")
    if known is None and has_graph(problem):
        known = Graph(problem).concepts()
    known = known or _operations(problem.meta.get("equations"))
    if known is None:
        raise RecordError(
            f"problem {problem.id} has no 'concepts', which stage sft teaches with strategy.concepts; allowed: rows "
            "with concepts or equations, or strategy.concepts=false"
        )
    return " ".join(str(known).split())


def _operations(equations: Any) -> str | None:
    """Return the operations of equations ("48/2=24") in words, each once, in their order; None if there are none."""
    sides = [str(one).partition("=")[0] for one in equations] if isinstance(equations, list) else []
    found = dict.fromkeys(OPERATIONS[sign] for side in sides for sign in side if sign in OPERATIONS)
    return ", ".join(found) or None
