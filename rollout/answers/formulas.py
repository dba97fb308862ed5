r"""Find the formula that gives a sentence's value: in "the sum is $5$, since $2 + 3 = 5$" it is 5.

Formulas (``$x$``, ``$$x$$``, ``\(x\)``, ``\[x\]``) are replaced by marks while a sentence is read, so that a full
stop, a comma or a word inside a formula has no effect. Every pass takes time linear in the text.
"""

from __future__ import annotations

import re

from rollout.answers.expressions.units import UNITS

MAX_FORMULA = 2_000
MAX_PLAIN = 200

_CLOSING = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}
# A formula of two words in a row is text between two dollar amounts.
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}\s[A-Za-z]{3,}")
_MARK = re.compile(r"⟪(\d+)⟫")
_JOIN = re.compile(r"\s{0,3}(?:,|;|,?\s{0,3}\b(?:and|or)\b|&)\s{0,3}")
_VERB = re.compile(
    r"\b(?:is|are|be|was|equals?|equal to|becomes?|gives?|gets?|obtain|have|has|find|yields?|simplifies to|reduces to"
    r"|comes to)\b:?|[=≈]"
    # A colon between numbers, with a space on either side or on neither, is a ratio's.
    r"|(?!(?<=[\d)}⟫]):[\d(\\⟪]|(?<=[\d)}⟫]\s):\s[\d(\\⟪]):",
    re.IGNORECASE,
)
_BEGINNING = re.compile(r"\W*(?:since|because|as|if|when|where|given|for|with|using|from|by|at|in)\b", re.IGNORECASE)
_REASON = re.compile(
    r"[,;]?\s(?:since|because|as|where|when|whenever|if|for|given|due|by|at|from|using|with|provided|assuming|i\.e"
    r"|in|on|recall|note)\b|\s\(",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(
    r"\b(?:then|so|thus|hence|therefore|(?:we|you) (?:get|have|find|obtain)|answer|which (?:is|equals|gives))\b",
    re.IGNORECASE,
)
_DENIED = re.compile(r"(?:\b(?:not|than|never|except|instead of|exceeds|neither|nor|without)|n't)\s*$", re.IGNORECASE)
_ABOUT = re.compile(r"\b(?:approximately|about|roughly|around|nearly)\s*$", re.IGNORECASE)
_SUBJECT = re.compile(r"⟪(\d+)⟫ (?:is|are) (?:the|our|what)\b|⟪(\d+)⟫ equals the\b")
_PLAIN_SUBJECT = re.compile(r" (?:is|are) (?:the|our) (?:\w{1,12} )?(?:answers?|values?|solutions?|results?)\b")
_BEFORE_STATED = re.compile(r"[\s*_]*(?:[A-Za-z]\s?=|equal to|given by|simply)?\s*")
_SIZE = r"(?:(?:square|sq\.?|cubic|cu\.?)\s)?"
_UNIT_AFTER = re.compile(rf"\s{{0,2}}-?({_SIZE}[A-Za-z]{{1,12}}(?:\^\{{?[23]\}}?|[²³])?)(?![A-Za-z])")
_UNIT_AT_END = re.compile(rf"(?:(?<=[\d)])|(?<=pi))\s({_SIZE}[A-Za-z]+)$")
_PERCENT_AFTER = re.compile(r"\s?(?:\\?%|percent\b)")
_LEADING = re.compile(
    r"^[\s*_>-]*(?:(?:so|thus|hence|therefore|then|and|finally|now|we (?:get|have|find|obtain))\b[\s,:]*)*",
    re.IGNORECASE,
)
_FUNCTION = r"sqrt|cbrt|abs|pi|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|infinity|inf|theta|and|or"
_SHORT_WORDS = r"(?:a\s\d|is|it|of|to|in|we|be|so|at|on|as|by|an|if|no|do|go|he|me|my|up|us|hi|ok)\b"
_PLAIN_TOKEN = re.compile(
    r"\\(?:begin|end|text|mbox|mathrm|mathbf)\s?\{[^{}]{0,60}\}|\\[A-Za-z]+|\\[\\!,;:{}%$ ]|&"
    rf"|(?<![A-Za-z])(?:{_FUNCTION}|(?!{_SHORT_WORDS})(?:[A-Za-z]|[a-z]{{2}}|[A-Z]{{2,3}}))(?![A-Za-z])"
    r"|(?<=[\d)}]):(?=[\d(\\])|(?<=[\d)}]\s):(?=\s[\d(\\])|[\d\s.,;+*/^=()\[\]{}|!<>%°√∛π∞≤≥≠±·×÷²³⁰¹⁴-⁹∪∩∈_'-]"
)
_MATHEMATICAL = re.compile(r"\d|pi|π|[=^+*/√]|\\[A-Za-z]|\w\s?-\s?\w")


def hide_formulas(text: str) -> tuple[str, list[str]]:
    """Return the text with each formula replaced by a mark (⟪0⟫, ⟪1⟫ ...), and the formulas."""
    formulas: list[str] = []
    pieces: list[str] = []
    opened: tuple[str, int, int] | None = None
    done = 0
    text = re.sub("[⟪⟫]", " ", text)
    for match in re.finditer(r"\\[\\$]|\$\$?|\\[()\[\]]", text):
        token = match[0]
        if opened is not None and token == _CLOSING[opened[0]]:
            content = text[opened[2] : match.start()].strip()
            if _is_formula(content, opened[0]):
                end = content[-1] if content[-1] in ".?!" else ""
                pieces += [text[done : opened[1]], f"⟪{len(formulas)}⟫{end}"]
                formulas.append(content.rstrip(".,;?").strip())
                done, opened = match.end(), None
                continue
            # The dollar that opened it was an amount of money; this one may open a formula.
            opened = (token, match.start(), match.end()) if token in _CLOSING else None
        elif token in _CLOSING and (opened is None or match.start() - opened[2] > MAX_FORMULA):
            opened = (token, match.start(), match.end())
    return "".join(pieces) + text[done:], formulas


def _is_formula(content: str, opening: str) -> bool:
    if not content.rstrip(".,;?!").strip() or len(content) > MAX_FORMULA or "\n\n" in content:
        return False
    return opening != "$" or not _PROSE.search(re.sub(r"\\[A-Za-z]+\s?\{[^{}]*\}", "", content))


def sentence_value(sentence: str, formulas: list[str]) -> str | None:
    """Return the value that a sentence (with its formulas hidden) gives; None if it gives none.

    It is the last formula that is not a reason, together with the formulas joined to it. In a sentence without formulas
    it is the mathematics in plain text after the verb, if the rest of the sentence is nothing but mathematics.
    """
    clause = _without_reason(sentence, formulas)
    marks = [mark for mark in _MARK.finditer(clause) if not _DENIED.search(_before(clause, mark))]
    # The exact value, where there is one beside its approximation.
    marks = [mark for mark in marks if not _ABOUT.search(_before(clause, mark))] or marks
    if not marks:
        return None if _MARK.search(clause) else _plain_value(clause)
    subject = _SUBJECT.match(_LEADING.sub("", clause, count=1))
    if subject and len(formulas[int(subject[1] or subject[2])]) > 1:
        return formulas[int(subject[1] or subject[2])]
    first = last = len(marks) - 1
    while first and _JOIN.fullmatch(clause, marks[first - 1].end(), marks[first].start()):
        first -= 1
    return _shown(clause, marks[first : last + 1], formulas)


def stated_value(stated: str, formulas: list[str]) -> str | None:
    """Return the value at the start of the text after "the answer is" (with its formulas hidden)."""
    marks = list(_MARK.finditer(stated))
    if not marks or not _BEFORE_STATED.fullmatch(stated[: marks[0].start()]):
        return sentence_value(f"It is {stated}", formulas)
    last = 0
    while last + 1 < len(marks) and _JOIN.fullmatch(stated, marks[last].end(), marks[last + 1].start()):
        last += 1
    return _shown(stated, marks[: last + 1], formulas)


def _without_reason(sentence: str, formulas: list[str]) -> str:
    """Return a sentence without a reason at its end and without a condition at its start."""
    if (beginning := _BEGINNING.match(sentence)) and (comma := sentence.find(",", beginning.end())) > 0:
        rest = sentence[comma + 1 :]
        if _MARK.search(rest) or not _MARK.search(sentence):
            sentence = rest
    verb = _VERB.search(sentence)
    for mark in _MARK.finditer(sentence):
        if (verb is not None and verb.end() <= mark.start()) or "=" in formulas[int(mark[1])]:
            reason = _REASON.search(sentence, mark.end())
            return sentence[: reason.start()] if reason and not _CONCLUSION.search(sentence, reason.end()) else sentence
    return sentence


def _before(clause: str, mark: re.Match[str]) -> str:
    return clause[max(0, mark.start() - 20) : mark.start()]


def _shown(clause: str, marks: list[re.Match[str]], formulas: list[str]) -> str:
    """Return the formulas of joined marks, with the words between them and the unit after them."""
    start, end = marks[0].start(), marks[-1].end()
    glued = re.search(r"(?<![\w.])-?\d{1,9}(?:\.\d{1,9})?$", _before(clause, marks[0]))
    text = (glued[0] if glued else "") + _MARK.sub(lambda mark: formulas[int(mark[1])], clause[start:end])
    if _PERCENT_AFTER.match(clause, end):
        return text + "\\%"
    unit = _UNIT_AFTER.match(clause, end)
    return f"{text}\\text{{ {unit[1]}}}" if unit and _is_unit(unit[1]) else text


def _is_unit(words: str) -> bool:
    name = re.sub(r"^(?:square|sq\.?|cubic|cu\.?)\s|[\^{}²³\d]", "", words.lower())
    return name != "in" and (name in UNITS or name.removesuffix("s") in UNITS or name in ("unit", "units"))


def _plain_value(clause: str) -> str | None:
    """Return the mathematics in plain text that a sentence gives, if there is no doubt about it."""
    clause = clause[-MAX_PLAIN:]
    reason = _REASON.search(clause)
    for text in (clause, clause[: reason.start()] if reason else ""):
        text = _LEADING.sub("", text, count=1).strip().rstrip(".,;:!*")
        verbs = sorted(_VERB.finditer(text), key=lambda verb: verb[0] not in "=≈:")
        for tail in (text, *(text[verb.end() :].strip(" *_:") for verb in reversed(verbs))):
            if (value := _plain_mathematics(tail)) is not None:
                return value
        if subject := _PLAIN_SUBJECT.search(text):
            return _plain_mathematics(text[: subject.start()])
    return None


def _plain_mathematics(text: str) -> str | None:
    """Return a text if it is nothing but mathematics and more than one letter; a unit after it is marked as words."""
    unit = _UNIT_AT_END.search(text)
    bare = text[: unit.start()] if unit and _is_unit(unit[1]) else text
    if not _MATHEMATICAL.search(bare) or _PLAIN_TOKEN.sub("", bare):
        return None
    return bare if unit is None or bare == text else f"{bare}\\text{{ {unit[1]}}}"
