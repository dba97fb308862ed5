"""The rules for reading yes or no: it must be explicit, not denied and not left open."""

from __future__ import annotations

import re

# What may follow a word that is an answer by itself, in bold or quotes or not: an end, a dash or a remark in brackets.
_ENDED = r"\W*$|[*_\"'”’)]*(?:[.,;:!?\n—]|\s?[-–—]\s|\s\()"
_EXPLICIT = re.compile(
    rf"\byes\b|\b(?:true|false)\b(?={_ENDED}|[*_\"'”’)]*\s(?:because|since|as|for|so)\b)"
    rf"|\bno\b(?={_ENDED}|[*_\"'”’)]*\s(?:because|since|as|it|they|he|she|that|this|you|we|i)\b)",
    re.IGNORECASE,
)
_BOTH = re.compile(
    r"\b(?:yes|no|true|false)\W{0,3}(?:/|\b(?:or|and|nor|but also)\b)\W{0,3}(?:yes|no|true|false)\b", re.IGNORECASE
)
_FILLED = (
    r"(?:\s(?:simply|just|really|actually|be|a|an|the|is|it|that|say|clear|definite|in fact|at all|seem|look|appear"
    r"|sound|to)){0,4}"
)
# "not true" is no, and so is "far from true"; "not yes" and "not no" are neither.
_NOT = re.compile(rf"(?:\b(?:not|never|cannot)|n['’]t){_FILLED}\s[\W_]{{0,3}}$", re.IGNORECASE)
_HARDLY = re.compile(
    r"(?:\b(?:hardly|rarely|seldom|scarcely|barely|far from|anything but|nowhere near|by no means|in no way"
    r"|no longer|almost never)|"
    rf"\b(?:neither|nor|without|instead of|rather than|unlikely to be|less than)){_FILLED}\s[\W_]{{0,3}}$",
    re.IGNORECASE,
)
_LEFT_OPEN = re.compile(
    r"(?:\b(?:perhaps|maybe|possibly)\W{0,3}|\b(?:whether|if"
    r"|(?:wrong|false|incorrect) to (?:say|answer|claim))\s[^.;:,]{0,40}|\b(?:some|others|many|people) say\s"
    r"|\b(?:opposite|reverse|contrary) is\s|(?:\bnot|n['’]t) (?:think|believe|say|suppose|claim|conclude|mean"
    r"|agree)\b[^.;:,]{0,40}|(?:\b(?:not|never)|n['’]t)\s(?:always|necessarily|entirely|completely|wholly|strictly"
    r"|quite|exactly|fully|totally|only|generally|usually|so|very)\s(?:a\s|the\s)?[\W_]{0,3})$",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"\bdepend(?:s|ing)?\b(?! on (?:it|this)\b)|\b(?:varies|some say|others say)\b"
    r"|\b(?:unknown|unclear|uncertain|undecided|undetermined|debatable|inconclusive|ambiguous|arguable)\b"
    r"|\b(?:might|may|could)(?: or may not| or might not| well| also| both)? (?:be|go)\b[^.;]{0,30}\b(?:true|false"
    r"|yes|no|right|either way|both ways|both)\b"
    r"|\b(?:true|false|yes|no)\b(?: only)? (?:for|in|of|about|at) (?:some|certain|many|most|a few|part)\b"
    r"|\b(?:sometimes|partly|partially|both|either|half|only partly) (?:true|false|yes|no)\b|\bneither\b"
    r"|(?:^|[.!?,:;]\s)\W*(?:maybe|perhaps|possibly)\b|\b(?:maybe|perhaps)\W*$"
    r"|\b(?:hard|difficult|impossible|tough|too early) to (?:say|tell|know|decide|judge)\b"
    r"|\bnot (?:sure|certain|clear|known|decided|settled|enough)\b"
    r"|\bno (?:clear|simple|definite|single|one) answer\b|\b(?:yes|true)\W{1,3}(?:and|but also|or) (?:no|false)\b"
    r"|\b(?:can|could|might|may)(?:not|n['’]t) (?:say|tell|decide|know)\b",
    re.IGNORECASE,
)
# A line that is an answer: "No", "Yes, because ...".
_ANSWER = re.compile(
    r"\W*(?:not\s)?(?:yes|no|true|false)\b(?:\W*$|[*_\"')]*[.,;:!–—-]|\W{1,3}because\b)", re.IGNORECASE
)
# A conclusion that begins with its answer: "So no, salt is not a colour."
_CONCLUSION = re.compile(
    r"\W*(?:so|thus|therefore|hence|then|finally|overall|in conclusion)\b[\s,:]{1,3}(?:the answer is |it is |it's "
    r"|it must be )?((?:not )?(?:yes|no|true|false)\b[^\n]?)",
    re.IGNORECASE,
)
# A text that begins with its answer, and a remark in it about something else.
_BEGINS = re.compile(r"\W*(?:yes|no)\b", re.IGNORECASE)
_REMARK = re.compile(
    r"(?:^|[.!?:;\n]\s{1,3}|\b(?:and|as|because|since)\s|,\s(?=which))(?:this|that|which|it)(?:\s(?:is|was)|['’]s)"
    r"(?:n['’]t|\snot)?(?:\s(?:indeed|also|clearly|certainly|really))?\s[\W_]{0,3}$",
    re.IGNORECASE,
)


def boolean(text: str, *, first: bool) -> str | None:
    """Return the first or last yes, no, true or false that is given as an answer; "not true" if true is denied.

    "Yes or no", "not yes", "neither" and "far from false" are not answers. If nothing explicit follows an undecided
    remark ("it depends"), there is no answer. A text that begins with yes or no has answered: "this is true" after
    it is about something else.
    """
    text = _BOTH.sub(" ", text)
    matches = list(_EXPLICIT.finditer(text))
    begun = _BEGINS.match(text)
    if begun and matches and begun.end() == matches[0].end() and all(map(_of_truth, matches[1:])):
        matches = [match for match in matches if not _is_remark(text, match)]
    found = [(match.start(), answer) for match in matches if (answer := _answer(text, match))]
    if not found:
        return None
    at, answer = found[0 if first else -1]
    return None if not answer or (first and is_undecided(text[:at])) else answer


def is_answer(line: str) -> bool:
    """Return whether a line begins with yes or no and is not a heading ("No change in cost")."""
    return _ANSWER.match(line) is not None


def concluded_boolean(sentence: str) -> str | None:
    """Return the yes or no with which a concluding sentence begins."""
    found = _CONCLUSION.match(sentence)
    return boolean(found[1], first=True) if found else None


def is_undecided(text: str) -> bool:
    """Return whether a sentence leaves the answer open ("it depends") and decides nothing after that."""
    ends = [undecided.end() for undecided in _UNDECIDED.finditer(text)]
    return bool(ends) and not any(_answer(text, match) for match in _EXPLICIT.finditer(text, ends[-1]))


def denies(text: str) -> bool:
    """Return whether a text names yes or no and takes it back ("the answer is not yes"), or names both."""
    answers = [_answer(text, match) for match in _EXPLICIT.finditer(text)]
    return not any(answers) and (bool(answers) or _BOTH.search(text) is not None)


def _of_truth(match: re.Match[str]) -> bool:
    return match[0].lower() in ("true", "false")


def _is_remark(text: str, match: re.Match[str]) -> bool:
    """Return whether an explicit word ends "this is true" at the start of a sentence or reason; "so this is true" is a
    conclusion."""
    return _of_truth(match) and _REMARK.search(text[max(0, match.start() - 50) : match.start()]) is not None


def _answer(text: str, match: re.Match[str]) -> str:
    """Return what an explicit word means in its place: itself, "not true", or nothing."""
    word, before = match[0], text[max(0, match.start() - 50) : match.start()]
    if _LEFT_OPEN.search(before):
        return ""
    if _HARDLY.search(before):
        return "not true" if word.lower() == "true" else ""
    if _NOT.search(before):
        return f"not {word}" if _of_truth(match) else ""
    return word
