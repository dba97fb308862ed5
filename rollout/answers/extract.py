"""The rules by which an answer is read from a solver's text.

The rules are tried in a fixed order and the one that fired is reported, so a surprising reward can be traced;
docs/answers.md has the table. No rule sees the gold answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from rollout.answers.boxes import last_boxed
from rollout.answers.formulas import hide_formulas, sentence_value, stated_value
from rollout.answers.mark import score
from rollout.answers.numbers_and_options import EQUALS, Choices, Found, named_by_value, numbers, options, parse_number
from rollout.records import NUMERIC_TYPES

__all__ = ["Extracted", "extract", "last_boxed", "parse_number", "score"]

# Answers come last: of a longer text only the end is read.
MAX_TEXT = 20_000
MAX_SENTENCE = 1_000
MAX_STATEMENT = 300
MAX_STATEMENTS = 10

_HASHES = re.compile(r"(?<!#)####(?!#)([^\n]*)")
_BRACKETS = re.compile(r"\[\[\s{0,3}answer\s{0,3}:([^\]]{0,1000})\]\]", re.IGNORECASE)
_STATED = re.compile(
    r"\b(?:answer|ans)\b(?:\.(?=\s{0,2}\(?[A-J]\b))?[*_\s]{0,4}"
    r"(?:(?:is|are|was|(?:will|would|should|must) be|equals|comes to)\b|[:=]|[-–—]\s"
    r"|(?=\(?[A-J]\)?(?:\s+is\b|[.\s]*$)))[*_:=,\s]{0,4}"
    r"|\b(?:correct|right) (?:option|choice) is[*_:\s]{0,4}",
    re.IGNORECASE | re.MULTILINE,
)
_REFUSAL = re.compile(
    r"\b(?:cannot|can't|can not|could not|couldn't|unable to|impossible to|not possible to|no way to)\s+(?:be\s+)?"
    r"(?:tell|told|say|said|answer|answered|determine|determined|know|known|solve|solved|find|found|compute|computed"
    r"|calculate|calculated|work out|worked out|decide|help|assist|give|provide|do that|be sure|be certain|sure)\b"
    r"|\b(?:do not|don't|did not|didn't) (?:know|understand|have enough)\b|\b(?:not sure|unsure|no idea|undetermined)\b"
    r"|\b(?:not enough|insufficient|no|missing|too little) (?:information|data|facts|details|solution|answer)\b",
    re.IGNORECASE,
)
_UNANSWERED = re.compile(
    r"\W*(?:unknown|unclear|undefined|undetermined|not (?:known|clear|given|possible|stated))\b", re.IGNORECASE
)
# A last remark after the sentence with the answer.
_REMARK = re.compile(
    r"\b(?:hope|helps?|let me know|questions?|done|verified|thanks?|(?:this|that|which) is)\b", re.IGNORECASE
)
_DENIAL = re.compile(r"\b(?:not|no|never|wrong|incorrect|mistake|false|wait)\b|n't\b", re.IGNORECASE)
_REASON = re.compile(r"\b(?:because|since|as|which|where|so|that is|i\.e|due to|given)\b|\(")
# A full stop after an initial, a title or a line's number ends no sentence.
_SENTENCE = re.compile(
    r"\n+|(?<=[.!?])(?<!\b[A-Z].)(?<!\b(?:Rs|Mr|Dr|St|No|vs).)(?<!\bMrs.)(?<!\n\d\.)(?<!\n\d\d\.)[^\S\n]+"
)
# An equation that is no answer yet (2x = 10), answers twice (x = 2, y = 3), or is none (5 = 7).
_UNSOLVED = re.compile(
    r"\d[a-z]\s?=\s?[-\d.]+\W*$|\b[A-Za-z]\s?=\s?[-\d.]+(?:\s\w{1,10})?\s?(?:,|;|\band\b)\s{0,2}[A-Za-z]\s?="
    r"|^\s*-?\d+\s?=\s?-?\d+\W*$"
)
_BULLET = re.compile(r"^(?:[-*•>]|\d{1,2}[.)])\s+(?=\S)")
_BOLD = re.compile(r"(?<!\w)\*\*([^*\n]{1,100})\*\*")
# What joins two numbers into one statement: alternatives, a list, a range, arithmetic left undone.
_JOINED = re.compile(
    r"[\s$*_%]{0,4}(?:[A-Za-z]+[\s*_]{1,3}){0,2}(?:(?:and/or|or|and|nor|versus|mod)\s{1,3}(?:[A-Za-z]+\s)?|to\s)"
    r"[\s$*_(]{0,4}"
    r"|\s?(?:ft|feet|foot|h|hrs?|hours?|min|minutes?|lbs?|pounds?|dollars?|years?|months?|weeks?|days?|m|km|kg)\.?\s{1,3}"
    r"|(?:[A-Za-z]{1,4}(?=[-/,]))?[\s%]{0,2}(?:\*\*|[-−+*/x×÷:^,;|&–—±]|\\times|\\cdot|\{,\}|\\[,! ])?[\s$(]{0,3}"
)
# What stands before a number and changes what it says: not 12, more than 12, minus 12, > 12, x^12, f(12), log 12.
_HEDGED = re.compile(
    r"(?:\b(?:not|isn't|never|n't|except|neither|nor|minus|negative|(?:more|less|fewer|greater|other|rather) than"
    r"|at least|at most|up to|log|ln|sqrt|sin|cos|tan)\s+"
    r"|(?<![-=])[<>≤≥]=?\s?|[\w)}]\^\{?|√\(?|\\[A-Za-z]{2,8}\{|\b[A-Za-z]{1,8}\()$",
    re.IGNORECASE,
)
# What belongs to a number that ends here: a unit or variable written onto it, a percent sign, a scale word.
_BELONGING = re.compile(
    r"(?:(?:\\?%|\\(?!text|mathrm|mbox|quad)[A-Za-z]+|\^\{?-?\w{1,4}\}?|[\w°²³/]|[-(](?=\w))(?!\\[,;!]))*"
    r"(?:[\s-](?i:hundred|thousand|lakhs?|million|crores?|billion|trillion)\b|\s?\\?%|\s+and\s+(?:a\s+)?half\b"
    r"|\s?[-+*/×÷^±]\s?[b-z](?![A-Za-z'])|!(?=[.\w^+*/-]))*"
)
_EXPLICIT = re.compile(
    r"\byes\b|\b(?:not )?(?:true|false)\b(?=\W*$|[*_\"')]*[.,;:!?\n]|\s(?:because|since|as)\b)"
    r"|\bno\b(?=\W*$|[*_\"')]*[.,;:!?\n]|\s(?:because|since|as|it|they|he|she|that|this|you|we|i)\b)",
    re.IGNORECASE,
)
_ONE = r"(?:[(\[]\s?[A-Ja-j]\s?[)\]]|[A-J]{1,6}\b[)\]]?)"
_LETTER_RUN = re.compile(
    r"(?<![A-Za-z(\[])[\s*_:$]{0,6}(?:(?:[Oo]ption|[Cc]hoice)s?[\s*:]{1,3})?(?!A\s(?!and\b|or\b|is\b)[a-z])"
    rf"(?<!not )(?<!except )({_ONE}(?:\s?(?:,\s?and\b|and\b|or\b|[,;&/])\s?{_ONE}){{0,9}})"
    r"(?![\w'’?]|\s?[=+*/^]|\s?-\s?\w*\d)"
)
_OPTION = re.compile(
    r"(?i:\b(?:option|choice|alternative))[\s:*]{0,3}\(?([A-J])\b|(?<!\w)\(([A-Ja-j])\)"
    r"|(?:^|(?i:\b(?:is|be|it's|so|thus|hence|therefore)[\s:,]{1,3}))([A-J])\)"
    r"|\b([A-J])\)? (?i:is|must be) (?i:the )?(?i:correct|right|best|answer|choice|option|true)\b"
    r"|(?i:so|thus|hence|therefore|gives(?: us)?|it is|it's|=>|->|imo)[\s,:-]{1,3}([A-J])[\s.*]*$"
)


@dataclass(frozen=True)
class Extracted:
    """An answer and the rule that found it; ``answer`` is None where no rule fired."""

    answer: str | None
    rule: str


def extract(text: str, answer_type: str = "number", choices: Choices = None) -> Extracted:
    r"""Find the final answer in ``text``.

    Order: ``#### x``, the last balanced ``\boxed{}``, ``[[Answer: x]]``, "the answer is x", then by ``answer_type``
    what the text ends in: an option, a bold value, an equation's result, the last number, letter or yes/no.
    ``choices`` (Problem.choices) lets a value be read as its option. A text that marks no answer and ends in
    saying that it cannot be told gives none (rule ``refused``); so does a question.
    """
    text = text[-MAX_TEXT:]
    marked = next(reversed(_HASHES.findall(text)), "")
    if marked.strip() and (_is_value(marked, answer_type) or text.rstrip().endswith(marked.strip())):
        return Extracted(_clean(marked), "hashes")
    if (boxed := last_boxed(text)) is not None:
        return Extracted(boxed, "boxed")
    if bracketed := _BRACKETS.findall(text):
        return Extracted(bracketed[-1].strip(), "brackets")
    letters = options(choices)
    for match in reversed(list(_STATED.finditer(text))[-MAX_STATEMENTS:]):
        stated = text[match.end() : match.end() + MAX_STATEMENT].partition("\n")[0]
        if _UNANSWERED.match(stated):
            return Extracted(None, "refused")
        if (found := _stated(stated, answer_type, letters)) is not None:
            return Extracted(found, "answer_is")
        if _REFUSAL.search(stated):
            return Extracted(None, "refused")
    return _ending(text, answer_type, letters)


def _clean(text: str) -> str:
    return text.strip().strip("*").rstrip(".").strip()


def _is_value(text: str, answer_type: str) -> bool:
    """Return whether a ``####`` line that text follows is a value, and no Markdown heading such as "Step 2"."""
    heading = re.match(r"\W*[A-Za-z]{2,}", text) and not re.match(r"\W*(?:yes|no|true|false|option)\b", text, re.I)
    return not heading and answer_type != "text" and any(char.isalnum() for char in text)


def _stated(text: str, answer_type: str, letters: dict[str, str]) -> str | None:
    """Return the value at the start of what follows "the answer is", up to the end of the line."""
    if answer_type in NUMERIC_TYPES:
        reason = _REASON.search(text, 1)
        clause = text[: reason.start()] if reason else text
        return _number(_SENTENCE.split(clause)[0], first=True) or _number(text, first=True)
    if answer_type == "boolean":
        return _boolean(text, first=True)
    if answer_type == "choice":
        return _stated_choice(text, letters)
    if answer_type == "multi_choice":
        run = _LETTER_RUN.match(text)
        return run[1] if run else None
    if answer_type == "expression" and (value := _stated_expression(text)):
        return value
    return _clean(_SENTENCE.split(text.strip())[0]) or None


def _stated_expression(text: str) -> str | None:
    hidden, formulas = hide_formulas(text)
    return stated_value(_SENTENCE.split(hidden.strip())[0], formulas)


def _ending(text: str, answer_type: str, letters: dict[str, str]) -> Extracted:
    """Return what an unmarked text ends in. Questions are passed over: who asks does not answer."""
    sentences = [part.strip()[-MAX_SENTENCE:] for part in _SENTENCE.split(text) if part.strip()]
    refused = bool(sentences) and _REFUSAL.search(sentences[-1]) is not None
    if answer_type == "choice" and sentences and (not refused or named_by_value(sentences[-1], letters)):
        return _ending_choice(sentences, letters)
    if refused:
        return Extracted(None, "refused")
    said = [sentence for sentence in sentences if not sentence.rstrip("*\"') ").endswith("?")]
    if answer_type in NUMERIC_TYPES:
        return _ending_number(said)
    if answer_type == "expression" and (value := _ending_expression(text)):
        return Extracted(value, "formula")
    if answer_type == "boolean":
        found = _boolean(" ".join(said), first=False)
    elif answer_type == "multi_choice":
        runs = [match[1] for sentence in said for match in _LETTER_RUN.finditer(sentence)]
        found = runs[-1] if runs else None
    else:
        found = _clean(said[-1]) if said else None
    return Extracted(found, "last" if found else "none")


def _ending_expression(text: str) -> str | None:
    """Return the value of the last sentence, remarks such as "I hope this helps" and questions aside."""
    hidden, formulas = hide_formulas(text)
    sentences = [part.strip() for part in _SENTENCE.split(hidden) if part.strip()]
    for sentence in reversed(sentences):
        if sentence.rstrip("*\"') ").endswith("?"):
            continue
        if (value := sentence_value(_BULLET.sub("", sentence), formulas)) is not None:
            return value
        if _DENIAL.search(sentence) or not _REMARK.search(sentence):
            return None
    return None


def _ending_number(said: list[str]) -> Extracted:
    for sentence in reversed(said):
        sentence = _BULLET.sub("", sentence)
        if not any(char.isdecimal() for char in sentence):
            continue
        bold = [(value, part) for part in _BOLD.findall(sentence) if (value := parse_number(part)) is not None]
        if len({value for value, _ in bold}) == 1:
            return Extracted(bold[0][1], "bold")
        if EQUALS.search(sentence) and (found := _number(sentence, first=True)) is not None:
            return Extracted(found, "equation")
        if (found := _number(sentence, first=False)) is not None:
            return Extracted(found, "last")
    return Extracted(None, "none")


def _number(text: str, *, first: bool) -> str | None:
    """Return the first or last number of a text, or the first after its last equals sign; with what belongs to it.

    Numbers that are joined ("5 or 7", "3 + 2", "3-5") are given back together, and so are equal to no number.
    """
    start = 0
    if first:
        ends = [match.end() for match in EQUALS.finditer(text)]
        start = next((end for end in reversed(ends) if any(char.isdecimal() for char in text[end:])), 0)
    if start and _UNSOLVED.search(text):
        return _clean(text)
    found = [number for number in numbers(text) if number.start >= start]
    if not found:
        return None
    low = high = 0 if first else len(found) - 1
    while high + 1 < len(found) and _are_joined(text, found[high], found[high + 1]):
        high += 1
    while low > 0 and _are_joined(text, found[low - 1], found[low]):
        low -= 1
    begin, end = found[low].start, found[high].end
    if hedge := _HEDGED.search(text[max(0, begin - 20) : begin]):
        begin -= hedge.end() - hedge.start()
    belonging = _BELONGING.match(text, end)
    return text[begin : belonging.end() if belonging else end].strip()


def _are_joined(text: str, left: Found, right: Found) -> bool:
    return right.start - left.end <= 60 and _JOINED.fullmatch(text, left.end, right.start) is not None


def _boolean(text: str, *, first: bool) -> str | None:
    """Return the first or last yes, no, true or false that stands as an answer; "yes or no" is none."""
    text = re.sub(r"\b(?:yes|no|true|false)\s?(?:/|or|and)\s?(?:yes|no|true|false)\b", " ", text, flags=re.IGNORECASE)
    found = [match[0] for match in _EXPLICIT.finditer(text)]
    return found[0 if first else -1] if found else None


def _stated_choice(text: str, letters: dict[str, str]) -> str | None:
    if run := _LETTER_RUN.match(text):
        return _with_value(run[1], text[run.end() :], letters)
    sentence = _SENTENCE.split(text.strip())[0]
    return _option_of(sentence, letters, first=True) if letters else _number(sentence, first=True) or _clean(sentence)


def _option_of(sentence: str, letters: dict[str, str], *, first: bool) -> str | None:
    """Return the letter of the option whose value a sentence gives: whole, after its last equals sign, as a number."""
    tail = EQUALS.split(sentence)[-1]
    number = _number(sentence, first=first or tail != sentence)
    for value in (sentence, tail, number):
        if value and (named := named_by_value(value, letters)):
            return min(named)
    return None


def _with_value(letter: str, after: str, letters: dict[str, str]) -> str:
    """Return an option's letter, together with what follows it where that is another option's value."""
    after = after.strip(" ).:*-$\n")
    value = named_by_value(after, letters)
    return f"{letter}) {after}" if value and letter.strip("()[] ").upper() not in value else letter


def _mentioned(sentence: str, letters: dict[str, str]) -> set[str]:
    """Return the options that stand in a sentence, by their words or as a number that nothing is joined to."""
    found = numbers(sentence)
    joined = {number.start for pair in pairwise(found) if _are_joined(sentence, *pair) for number in pair}
    alone = {number.value for number in found if number.start not in joined}
    mentioned = set()
    for letter, value in letters.items():
        worth = parse_number(value)
        if worth in alone if worth is not None else len(value) > 1 and _has_words(sentence, value):
            mentioned.add(letter)
    return mentioned


def _has_words(sentence: str, words: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words.strip())}(?!\w)", sentence, re.IGNORECASE) is not None


def _ending_choice(sentences: list[str], letters: dict[str, str]) -> Extracted:
    last = sentences[-1]
    if named := list(_OPTION.finditer(last)):
        letter = next(filter(None, named[-1].groups())).upper()
        return Extracted(_with_value(letter, last[named[-1].end() :], letters), "option")
    if alone := re.fullmatch(r"\W*([A-J])\W*", last) or re.match(r"([A-J])[.:]\s", last):
        return Extracted(_with_value(alone[1], last[alone.end() :], letters), "letter")
    if letters and (found := _option_of(last, letters, first=False)):
        return Extracted(found, "value")
    mentioned = _mentioned(last, letters)
    return Extracted(mentioned.pop(), "mention") if len(mentioned) == 1 else Extracted(None, "none")
