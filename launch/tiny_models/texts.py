"""What the tiny solver and the decomposer's base read in training.

The solver learns to answer one step when its operands are in view (stated in the text, or answered in an
earlier turn) and to say that it cannot tell otherwise. Which turns come before is drawn at random, filler,
repeats and unanswerable ones included, so that its skill depends on what earlier turns establish, not on how
many there are. Asked to solve the problem, it restates what was computed and adds one step.

The base learns the language of the task and what can be worked out in turn; it has never seen a sub-question in use
nor a decomposition.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import yaml

from conf.schema.places import CONF
from conf.schema.strategy import Strategy
from rollout.data.generated import NAMES, OPENINGS
from rollout.data.graph import CANNOT_TELL, SUBQUESTION, Graph, imperfect_decomposition
from rollout.data.worked import SolverView
from rollout.episode.prompts import Prompts
from rollout.records import Problem, Turn

END = "<|end|>"
_DASLAM = yaml.safe_load((CONF / "strategy" / "daslam.yaml").read_text(encoding="utf-8"))
# No limit is used here, and the configuration takes this one from the task.
PROMPTS = Prompts(Strategy(**_DASLAM | {"max_subquestions": 8}))
# A piece of text and whether its tokens are trained on.
Piece = tuple[str, bool]
Pieces = Callable[[Problem, random.Random], list[Piece]]
BLANK = Problem("", "", "")
HEADINGS = (
    "What can be told, in turn", "In turn", "Told in turn", "Questions", "To be asked", "Asked in turn",
    "One after another", "Steps", "First", "Next", "List", "What follows", "Q", "So", "Then ask", "By turns",
)  # fmt: skip
NAMING_HEADINGS = (
    "To tell {x}", "For {x}", "{x} rests on", "Asked to tell {x}", "What comes before {x}", "{x}, in turn",
    "Steps to {x}", "First, for {x}",
)  # fmt: skip
# The independent solver's words for a computation.
SAID = {"+": "and {b} make", "-": "less {b} is", "*": "by {b} is", "/": "over {b} is"}
_COMPUTATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)\. ")
# People of a text that is told what leads to each: later ones repeat what stands there for earlier ones.
LED_TO = 6


def random_turns(problem: Problem, graph: Graph, rng: random.Random) -> list[str]:
    """Return the names to ask about before the whole problem: gold, imperfect, arbitrary or none."""
    draw = rng.random()
    everyone = list(graph.quantities)
    if draw < 0.1:
        return []
    if draw < 0.3:
        names = list(graph.needed[:-1])
        for _ in range(rng.choice((0, 0, 1, 2))):
            names.insert(rng.randint(0, len(names)), rng.choice(everyone))
        return names
    if draw < 0.5:
        decomposition = imperfect_decomposition(problem, rng, drop=0.3, swap=0.4, redundant=0.4)
        return [name for question in decomposition if (name := graph.asked_name(question))]
    if draw < 0.6:
        return [rng.choice(everyone) for _ in range(rng.randint(1, 5))]
    rng.shuffle(everyone)
    return everyone[: rng.randint(2, 7)]


def reworded(reply: str) -> str:
    """Return a reply as the independent solver says it: a computation in words, its value after "So", and a refusal of
    its own."""

    def in_words(found: re.Match[str]) -> str:
        left, sign, right, value = found.groups()
        return f"{left} {SAID[sign].format(b=right)} {value}. So "

    return _COMPUTATION.sub(in_words, reply).replace(f"is unknown. {CANNOT_TELL}", "is not known. It cannot be told.")


def solver_pieces(
    problem: Problem, rng: random.Random, worded: Callable[[str], str] = lambda reply: reply
) -> list[Piece]:
    """Write one conversation: random turns, then the whole problem; every reply is supervised, as ``worded``."""
    graph = Graph(problem)
    view = SolverView(graph)
    turns: list[Turn] = []
    pieces: list[Piece] = []
    written = ""
    for name in random_turns(problem, graph, rng):
        prompt = PROMPTS.subquestion(problem, turns, graph.ask(name))
        reply = worded(view.answer(name))
        pieces += [(prompt[len(written) :], False), (f" {reply}\n", True)]
        written = f"{prompt} {reply}\n"
        turns.append(Turn(graph.ask(name), reply))
    prompt = PROMPTS.solve(problem, turns)
    return [*pieces, (prompt[len(written) :], False), (f" {worded(view.solve())}{END}", True)]


def independent_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a solver's conversation in the words of the independent one."""
    return solver_pieces(problem, rng, reworded)


def in_turn(graph: Graph, rng: random.Random) -> list[str]:
    """Return everything that can be worked out, in an order in which it can be; what follows from the last comes next
    where there is a choice."""
    names: list[str] = []
    known = set(graph.given)
    while ready := [name for name in graph.quantities if name not in known and graph.in_view(name, known)]:
        following = [name for name in ready if names and names[-1] in graph.quantities[name].operands]
        names.append(rng.choice(following or ready))
        known.add(names[-1])
    return names


def listing_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a problem with the names of what can be worked out, in turn."""
    names = in_turn(Graph(problem), rng)
    return [(problem.question, False), (f"\nIn turn: {', then '.join(names)}.{END}", True)]


def mostly_attempt(graph: Graph, rng: random.Random) -> str:
    """Return the solver's attempt as a decomposer reads it, four times in five; else nothing."""
    return f"\nFirst attempt: {SolverView(graph).solve()}" if rng.random() < 0.8 else ""


def asking_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a problem with what can be worked out in turn, as names or as questions; before questions mostly the
    solver's attempt, and a heading that tells nothing. Always under the same heading, the order was lost under another
    one."""
    if rng.random() < 0.3:
        return listing_pieces(problem, rng)
    graph = Graph(problem)
    attempt = mostly_attempt(graph, rng)
    questions = "\n".join(graph.ask(name) for name in in_turn(graph, rng))
    return [(f"{problem.question}{attempt}\n{rng.choice(HEADINGS)}:\n", False), (f"{questions}{END}", True)]


def ordering_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a problem with the names of what can be worked out in turn, or with its facts in such an order."""
    if rng.random() < 0.8:
        return listing_pieces(problem, rng)
    graph = Graph(problem)
    told: list[str] = []
    for name in in_turn(graph, rng):
        told += [given for given in graph.quantities[name].operands if given in graph.given and given not in told]
        told.append(name)
    facts = " ".join(f"{graph.quantities[name].clause}." for name in told)
    return [(problem.question, False), (f"\nIn order: {facts}{END}", True)]


def dependent_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a problem and who is told relative to whom: the look-up of relations from their other end."""
    graph = Graph(problem)
    names = list(graph.quantities)
    rng.shuffle(names)
    pieces: list[Piece] = [(problem.question, False)]
    for name in names:
        after = [other for other, quantity in graph.quantities.items() if name in quantity.operands]
        after.sort(key=lambda other: problem.question.index(graph.quantities[other].clause))
        pieces += [(f"\nFrom {name}:", False), (f" {', '.join(after) or 'none'}.", True)]
    return pieces


def leading_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a problem and for some of its people, whoever it asks for, what has to be worked out to tell how many each
    has, in turn."""
    graph = Graph(problem)
    names = graph.derivable
    rng.shuffle(names)
    pieces: list[Piece] = [(problem.question, False)]
    for name in names[:LED_TO]:
        pieces += [(f"\nTo tell {name}:", False), (f" {', then '.join(graph.leading_to(name))}.", True)]
    return [*pieces[:-1], (f"{pieces[-1][0]}{END}", True)]


def asking_for_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a problem and, under a heading that names one of its people, whoever it asks for, what has to be worked out
    to tell how many that one has, as questions; before them mostly the solver's attempt."""
    graph = Graph(problem)
    name = rng.choice(graph.derivable)
    attempt = mostly_attempt(graph, rng)
    questions = "\n".join(graph.ask(other) for other in graph.leading_to(name))
    heading = rng.choice(NAMING_HEADINGS).format(x=name)
    return [(f"{problem.question}{attempt}\n{heading}:\n", False), (f"{questions}{END}", True)]


def everything_or_one_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a problem with everything that can be worked out, or with what leads to one person, as names or
    questions."""
    draw = rng.random()
    pieces = asking_pieces if draw < 0.4 else leading_pieces if draw < 0.7 else asking_for_pieces
    return pieces(problem, rng)


def fact_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write stated numbers alone, everybody asked about: the look-up by name, bare."""
    item, names = problem.meta["item"], rng.sample(NAMES, rng.randint(2, 6))
    numbers = {name: rng.randint(2, 99) for name in names}
    text = " ".join(f"{rng.choice(OPENINGS)}{name} owns {numbers[name]} {item}." for name in names)
    pieces: list[Piece] = [(text, False)]
    rng.shuffle(names)
    for name in names:
        pieces.append((PROMPTS.subquestion(BLANK, [], SUBQUESTION.format(i=item, x=name)), False))
        pieces.append((f" {name} owns {numbers[name]} {item}.", True))
    return pieces


def relation_pieces(problem: Problem, rng: random.Random) -> list[Piece]:
    """Write a problem and everybody asked about, each answered with how it was told: the look-up of relations."""
    graph = Graph(problem)
    names = list(graph.quantities)
    rng.shuffle(names)
    pieces: list[Piece] = [(problem.question, False)]
    for name in names:
        quantity = graph.quantities[name]
        pieces += [(PROMPTS.subquestion(BLANK, [], graph.ask(name)), False), (f" {quantity.clause}.", True)]
    return pieces
