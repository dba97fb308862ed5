"""A solver that is no language model: it reads the prompt's sentences and does the arithmetic.

It has the shipped solver's one skill, exactly: one step, if its operands are in view, in the problem's text or in
an earlier answer. Otherwise it cannot tell. It sees what any solver sees, the prompt's text in the format of
conf/strategy/daslam.yaml, and nothing of the generator. So it is a reference for tests, and shows that a trained
decomposer helps a solver of another kind.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rollout.episode.contracts import Reply
from rollout.solvers.base import Backend

CANNOT_TELL = "I cannot tell."
NAME = r"([A-Z][a-z]+)"
OWNED = re.compile(rf"\b{NAME} owns (\d+)(?: (\w+))?")
COMPUTED = re.compile(rf"\d+ [-+*/] \d+ = \d+\. {NAME} owns \d+ \w+\.")
LABEL = re.compile(r"^\s*Q:")
SOLVE = "Solve step by step:"
TIMES = {"twice": 2, "three times": 3, "four times": 4}
MULTIPLES = {"doubles": 2, "triples": 3, "quadruples": 4}
# Everything but digits, operators and brackets ends an expression.
EXPRESSION = re.compile(r"(?:(?<![\w)])-\s?)?[\d(][\d\s+\-*/().]*[-+*/][\d\s+\-*/().]*[\d)]")
# Beside it these make it a part of what is not read here: a power, a percentage, a number in another form.
MORE_BEFORE, MORE_AFTER = re.compile(r"(?:[\w^%]|[\^%]\s|\d[.,:])$"), re.compile(r"\w|\s*[\^%]|[.,:]\d")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
MAX_EXPRESSION = 200


@dataclass(frozen=True)
class Relation:
    """Somebody's quantity, told relative to others': ``clause`` as written, ``k`` the number in it."""

    name: str
    clause: str
    sign: str
    operands: tuple[str, ...]
    k: int = 0

    def compute(self, values: dict[str, int]) -> tuple[str, int]:
        """Return the computation as it is written, and its value."""
        left = values[self.operands[0]]
        right = values[self.operands[1]] if len(self.operands) == 2 else self.k
        result = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[self.sign]
        return f"{left} {self.sign} {right} = {result}.", result


# Each pattern, and what its match says: sign, operands and number. The first five are of chained quantities, the others
# of branched ones.
RELATIONS: dict[str, Callable[[re.Match[str]], tuple[str, tuple[str, ...], int]]] = {
    rf"{NAME} has (\d+) more than {NAME}(?: does)?": lambda m: ("+", (m[3],), int(m[2])),
    rf"{NAME} has (\d+) fewer than {NAME}(?: does)?": lambda m: ("-", (m[3],), int(m[2])),
    rf"{NAME} has ({'|'.join(TIMES)}) what {NAME} (?:holds|does)": lambda m: ("*", (m[3],), TIMES[m[2]]),
    rf"{NAME} has half what {NAME} (?:holds|does)": lambda m: ("/", (m[2],), 2),
    rf"{NAME} has what {NAME} and {NAME} (?:hold|do) together": lambda m: ("+", (m[2], m[3]), 0),
    rf"{NAME} (?:leads|exceeds|tops|beats|outdoes) {NAME} by (\d+)": lambda m: ("+", (m[2],), int(m[3])),
    rf"{NAME} (?:trails|lags|follows|undercuts) {NAME} by (\d+)": lambda m: ("-", (m[2],), int(m[3])),
    rf"{NAME} ({'|'.join(MULTIPLES)}) {NAME}'s number": lambda m: ("*", (m[3],), MULTIPLES[m[2]]),
    rf"{NAME} halves {NAME}'s number": lambda m: ("/", (m[2],), 2),
    rf"{NAME} (?:matches|equals|totals) {NAME} and {NAME} (?:together|combined)": lambda m: ("+", (m[2], m[3]), 0),
}


class View:
    """What a prompt says: who owns how many, and how the others are told. Questions state nothing."""

    def __init__(self, text: str) -> None:
        lines = [line for line in text.splitlines() if not LABEL.match(line)]
        said = "\n".join(re.sub(r"[^.?!\n]*\?", "", line) for line in lines)
        owned = OWNED.findall(said)
        self.values = {name: int(value) for name, value, _ in owned}
        self.item = next((item for _, _, item in owned if item), "")
        self.computed = [match[0] for match in COMPUTED.finditer(said)]
        self.relations: dict[str, Relation] = {}
        for pattern, read in RELATIONS.items():
            for match in re.finditer(pattern, said):
                self.relations.setdefault(match[1], Relation(match[1], match[0], *read(match)))

    def asked(self, question: str) -> str | None:
        """Return whose number a question asks for: the one name of this text in it; None if none or several."""
        found = {name for name in re.findall(NAME, question) if name in self.values or name in self.relations}
        return found.pop() if len(found) == 1 and re.search(rf"\b{self.item}\b", question) else None

    def reply(self, name: str) -> str:
        """Return the number if it is in view; else the relation, its operands, and the computation or what lacks."""
        if name in self.values:
            return f"{name} owns {self.values[name]} {self.item}."
        relation = self.relations[name]
        said = [f"{relation.clause}."]
        for operand in relation.operands:
            if operand not in self.values:
                return " ".join([*said, f"{operand} is unknown.", CANNOT_TELL])
            said.append(f"{operand} owns {self.values[operand]}.")
        computation, value = relation.compute(self.values)
        return " ".join([*said, computation, f"{name} owns {value} {self.item}."])


def answer(prompt: str) -> str:
    """Return the reply to a prompt: to its last question, from what stands before it."""
    lines = prompt.strip().splitlines()
    before, question = prompt, prompt.strip()
    if starts := [index for index, line in enumerate(lines) if LABEL.match(line)]:
        before, question = "\n".join(lines[: starts[-1]]), LABEL.sub("", lines[starts[-1]]).strip()
    view = View(before)
    name = view.asked(question.removeprefix(SOLVE))
    if name is not None:
        return "\n".join([*(view.computed if question.startswith(SOLVE) else ()), view.reply(name)])
    text = THOUSANDS.sub("", question)[-MAX_EXPRESSION:]
    expression = EXPRESSION.search(text)
    if expression is None or (value := arithmetic(expression[0])) is None:
        return CANNOT_TELL
    if MORE_BEFORE.search(text[: expression.start()]) or MORE_AFTER.match(text, expression.end()):
        return CANNOT_TELL
    return f"{' '.join(expression[0].split())} = {value}."


# -- plain arithmetic --------------------------------------------------------------------------------------------

OPERATORS: dict[type, Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def arithmetic(text: str) -> str | None:
    """Return the exact value of an expression of numbers, + - * / and brackets; None if it is none or has no value.

    Bounded: at most ``MAX_EXPRESSION`` characters, and no powers, so neither size nor depth can run away.
    """
    if len(text) > MAX_EXPRESSION:
        return None
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None
    if value.denominator == 1:
        return str(value.numerator)
    decimal = f"{float(value):.10g}"
    return decimal if Fraction(decimal) == value else f"{value.numerator}/{value.denominator}"


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _value(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    raise ValueError(f"{type(node).__name__} is no arithmetic")


class ProgramSolver(Backend):
    """The program as a backend. Every draw is the same reply, and it has no tokens to count."""

    @property
    def identity(self) -> dict[str, Any]:
        """The program."""
        return {"backend": "program"}

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt."""
        reply = Reply(answer(prompt), 0, 0)
        self.usage.count(reply)
        return reply
