"""The rules by which an answer is read from a solver's text.

The rules are tried in a fixed order, and the rule that matched is reported, so a surprising reward can be traced;
docs/answers.md lists them. No rule sees the gold answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rollout.answers.boxes import last_boxed
from rollout.answers.mark import score, verdict
from rollout.answers.marks import bracketed, hashed, is_heading, tagged, without_tags, without_thinking
from rollout.answers.number_words import in_digits
from rollout.answers.numbers_and_options import letters_unwrapped, named_by_value, parse_number, untexted
from rollout.answers.read_boolean import boolean, concluded_boolean, denies, is_answer, is_undecided
from rollout.answers.read_choice import (
    concluded_choice,
    ending_choice,
    ending_choices,
    names_options,
    stated_choice,
    stated_choices,
)
from rollout.answers.read_expression import ending_expression, stated_expression
from rollout.answers.read_number import ending_number, stated_number
from rollout.answers.statements import (
    Statement,
    asks,
    concludes,
    first_sentence,
    is_unanswered,
    refuses,
    sentences,
    statements,
)
from rollout.options import Choices, options
from rollout.records import NUMERIC_TYPES

__all__ = ["Extracted", "extract", "last_boxed", "parse_number", "score"]

# Answers come last: of a longer text only the end is read.
MAX_TEXT = 20_000
MAX_SENTENCE = 1_000

# Dashes that mean minus before a number; between two numbers they are a range's.
_MINUS = re.compile(r"(?<![\w)}%.])[–‒—﹣－](?=\\?\$?\.?\d)")
_FIRST_WORD = re.compile(r"\W*[A-Za-z]{2}")
# The label of a reply in the prompts ("A: Stanley"). Before an option's text it is that option's letter: "A: copper".
_LABEL = re.compile(r"^\W*\bA:[*_]*\s+")
_LABEL_BEFORE_LETTER = re.compile(_LABEL.pattern + r"(?=\W*[A-J](?:[).:*]|\s*$))")


@dataclass(frozen=True)
class Extracted:
    """An answer and the rule that decided; ``answer`` is None if the text gives no answer."""

    answer: str | None
    rule: str


def extract(text: str, answer_type: str = "number", choices: Choices = None) -> Extracted:
    r"""Find the final answer in ``text``.

    Order: ``<answer>x</answer>``, ``#### x``, the last balanced ``\boxed{}``, ``[[Answer: x]]``, "the answer is x" (but
    a conclusion after it takes precedence), then what the text ends in, depending on ``answer_type``: an option, a bold
    value, an equation's result, the last number, letter or yes/no. With ``choices`` (Problem.choices) a value is read
    as the option that has it. Thinking is not read. If a text marks no answer and ends by saying that the answer cannot
    be told, there is none (rule ``refused``). A question gives no answer either.
    """
    text = _MINUS.sub("-", without_thinking(text)[-MAX_TEXT:])
    letters = options(choices)
    if (content := tagged(text)) is not None:
        inside = _read(without_tags(content), answer_type, letters)
        if inside.rule not in ("boxed", "answer_is", "refused"):
            stated = _stated(without_tags(content), answer_type, letters)
            return Extracted(stated or inside.answer, "tags")
        return Extracted(inside.answer, "tags")
    return _read(without_tags(text), answer_type, letters)


def _read(text: str, answer_type: str, letters: dict[str, str]) -> Extracted:
    """Return the answer of a text from which tags and thinking were removed."""
    if (marked := hashed(text)) is not None and _is_value(*marked, answer_type, letters):
        line = _clean(marked[0])
        return Extracted(last_boxed(line) or _hashed_value(line, answer_type, letters), "hashes")
    if (boxed := last_boxed(text)) is not None:
        return Extracted(_in_box(boxed, answer_type, letters), "boxed")
    if (content := bracketed(text)) is not None:
        return Extracted(_in_box(content, answer_type, letters), "brackets")
    for statement in statements(text, answer_type):
        if (found := _of_statement(statement, answer_type, letters)) is not None:
            return found
    return _ending(text, answer_type, letters)


def _clean(text: str) -> str:
    return text.strip().strip("*").rstrip(".").strip()


def _in_box(content: str, answer_type: str, letters: dict[str, str]) -> str:
    """Return the answer in a box: its content, or the option, yes or no that a sentence in it states."""
    plain = untexted(content)
    if answer_type == "boolean" and verdict(content) is None:
        return boolean(plain, first=True) or content
    if answer_type == "choice" and not names_options(plain, letters):
        return _read(plain, answer_type, letters).answer or content
    return content


def _hashed_value(line: str, answer_type: str, letters: dict[str, str]) -> str | None:
    """Return the answer on a ``####`` line: the whole line, or only the number, option, yes or no in it."""
    if answer_type in NUMERIC_TYPES and parse_number(line) is not None:
        return line
    return line if answer_type in ("expression", "text") else _stated(line, answer_type, letters) or line


def _is_value(line: str, ends: bool, answer_type: str, letters: dict[str, str]) -> bool:
    """Return whether a ``####`` line is a value, not a Markdown heading; ``ends``: whether the text ends with it."""
    if answer_type.endswith("choice") and names_options(line, letters):
        return True
    if is_heading(line) or statements(line, answer_type):
        return False
    if answer_type == "boolean":
        return is_answer(line)
    if answer_type in NUMERIC_TYPES:
        line = in_digits(line)
    return ends or (answer_type in (*NUMERIC_TYPES, "expression") and not _FIRST_WORD.match(line))


def _of_statement(statement: Statement, answer_type: str, letters: dict[str, str]) -> Extracted | None:
    """Return the answer of a statement, or of a conclusion drawn from it; None if it states none."""
    later = [sentence for sentence in sentences(statement.rest) if not asks(sentence)]
    if is_unanswered(statement.words):
        return None if any(map(concludes, later)) else Extracted(None, "refused")
    conclude = {"boolean": concluded_boolean, "choice": concluded_choice}.get(answer_type)
    if conclude and (concluded := [answer for sentence in later if (answer := conclude(sentence))]):
        return Extracted(concluded[-1], "conclusion")
    found = _stated(statement.block if answer_type == "multi_choice" else statement.words, answer_type, letters)
    if answer_type in NUMERIC_TYPES and found is not None and (statement.of_step or parse_number(found) is None):
        value, rule = ending_number([sentence for sentence in later if concludes(sentence)])
        if value is not None and parse_number(value) is not None:
            return Extracted(value, rule)
    if found is not None:
        return Extracted(found, "answer_is")
    if answer_type == "boolean" and (denies(statement.words) or is_undecided(first_sentence(statement.words))):
        return Extracted(None, "undecided")
    return Extracted(None, "refused") if refuses(statement.words) else None


def _stated(text: str, answer_type: str, letters: dict[str, str]) -> str | None:
    """Return the value at the start of what follows "the answer is", up to the end of the line."""
    if answer_type.endswith("choice"):
        text = letters_unwrapped(text)
    if answer_type in NUMERIC_TYPES:
        return stated_number(text)
    if answer_type == "boolean":
        return boolean(text, first=True)
    if answer_type == "choice":
        return stated_choice(text, letters)
    if answer_type == "multi_choice":
        return stated_choices(text, letters)
    if answer_type == "expression" and (value := stated_expression(text)):
        return value
    return _clean(_LABEL.sub("", first_sentence(text))) or None


def _ending(text: str, answer_type: str, letters: dict[str, str]) -> Extracted:
    """Return the answer that an unmarked text ends in. Questions are skipped, because a question is not an answer."""
    parts = [sentence[-MAX_SENTENCE:] for sentence in sentences(text)]
    label = _LABEL_BEFORE_LETTER if answer_type.endswith("choice") else _LABEL
    parts = [label.sub("", part) for part in parts]
    refused = _is_refused(parts)
    if answer_type == "choice" and parts and (not refused or named_by_value(parts[-1], letters)):
        return Extracted(*ending_choice(parts, letters))
    if refused:
        return Extracted(None, "refused")
    said = [sentence for sentence in parts if not asks(sentence)]
    if answer_type in NUMERIC_TYPES:
        return Extracted(*ending_number(said))
    if answer_type == "expression" and (value := ending_expression(text)):
        return Extracted(value, "formula")
    if answer_type == "boolean":
        if said and is_undecided(said[-1]):
            return Extracted(None, "undecided")
        found = boolean("\n".join(said), first=False)
    elif answer_type == "multi_choice":
        found = ending_choices(said, letters)
    else:
        found = _clean(said[-1]) if said else None
    return Extracted(found, "last" if found else "none")


def _is_refused(parts: list[str]) -> bool:
    """Return whether a text says that the answer cannot be told, and no conclusion follows."""
    refusals = [index for index, sentence in enumerate(parts) if refuses(sentence)]
    return bool(refusals) and not any(map(concludes, parts[refusals[-1] + 1 :]))
