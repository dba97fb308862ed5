"""The rules by which yes or no is read: explicit, not denied and not left open."""

from __future__ import annotations

import re

_EXPLICIT = re.compile(
    r"\byes\b|\b(?:true|false)\b(?=\W*$|[*_\"'”’)]*[.,;:!?\n]|\s(?:because|since|as|for|so)\b)"
    r"|\bno\b(?=\W*$|[*_\"'”’)]*[.,;:!?\n]|\s(?:because|since|as|it|they|he|she|that|this|you|we|i)\b)",
    re.IGNORECASE,
)
_BOTH = re.compile(
    r"\b(?:yes|no|true|false)\W{0,3}(?:/|\b(?:or|and|nor|but also)\b)\W{0,3}(?:yes|no|true|false)\b", re.IGNORECASE
)
    r"\b(?:yes|no|true|false)\W{0,3}(?:/|\b(?:or|and|nor|but also)\b)\W{0,3}(?:yes|no|true|false)\b", re.I
)
_FILLED = r"(?:\s(?:simply|just|really|actually|be|a|an|the|is|it|that|say|clear|definite|in fact|at all|seem|look|appear|sound|to)){0,4}"
# "not true" is no, and so is "far from true"; "not yes" and "not no" are neither.
_NOT = re.compile(rf"(?:\b(?:not|never|cannot)|n['’]t){_FILLED}\s[\W_]{{0,3}}$", re.IGNORECASE)
_HARDLY = re.compile(
    r"(?:\b(?:hardly|rarely|seldom|scarcely|barely|far from|anything but|nowhere near|by no means|in no way"
    r"|no longer|almost never)|"
    rf"\b(?:neither|nor|without|instead of|rather than|unlikely to be|less than)){_FILLED}\s[\W_]{{0,3}}$",
    re.IGNORECASE,
)
_LEFT_OPEN = re.compile(
    r"(?:\b(?:perhaps|maybe|possibly)\W{0,3}|\b(?:opposite|reverse|contrary) is\s|(?:\bnot|n['’]t) (?:think"
    r"|believe|say|suppose|claim|conclude|mean|agree)\b[^.;:,]{0,40}"
    r"|(?:\b(?:not|never)|n['’]t)\s(?:always|necessarily|entirely|completely|wholly|strictly|quite|exactly|fully"
    r"|totally"
    r"|only|generally|usually|so|very)\s(?:a\s|the\s)?[\W_]{0,3})$",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"\bdepend(?:s|ing)?\b(?! on (?:it|this)\b)|\b(?:unknown|unclear|uncertain|undecided|undetermined|debatable"
    r"|inconclusive"
    r"|ambiguous|arguable)\b"
    r"|\b(?:might|may|could)(?: or may not| or might not| well| also| both)? (?:be|go)\b[^.;]{0,30}\b(?:true|false"
    r"|yes|no|right"
    r"|either way|both ways|both)\b"
    r"|\b(?:true|false|yes|no)\b(?: only)? (?:for|in|of|about|at) (?:some|certain|many|most|a few|part)\b"
    r"|\b(?:sometimes|partly|partially|both|either|half|only partly) (?:true|false|yes|no)\b|\bneither\b"
    r"|(?:^|[.!?,:;]\s)\W*(?:maybe|perhaps|possibly)\b|\b(?:maybe|perhaps)\W*$"
    r"|\b(?:hard|difficult|impossible|tough|too early) to (?:say|tell|know|decide|judge)\b"
    r"|\bnot (?:sure|certain|clear|known|decided|settled|enough)\b|\bno (?:clear|simple|definite|single|one) answer\b"
    r"|\b(?:yes|true)\W{1,3}(?:and|but also|or) (?:no|false)\b|\b(?:can|could|might|may)(?:not|n['’]t) (?:say|tell"
    r"|decide|know)\b",
    re.IGNORECASE,
)


def boolean(text: str, *, first: bool) -> str | None:
    """Return the first or last yes, no, true or false that stands as an answer, "not true" where it is denied so.

    "Yes or no" is none, and so are "not yes", "neither", and "far from false". Where nothing explicit follows an
    undecided remark ("it depends") there is no answer.
    """
    text = _BOTH.sub(" ", text)
    found = [(match.start(), answer) for match in _EXPLICIT.finditer(text) if (answer := _answer(text, match))]
    if not found:
        return None
    at, answer = found[0 if first else -1]
    return None if not answer or (first and is_undecided(text[:at])) else answer


def is_undecided(text: str) -> bool:
    """Return whether a sentence leaves the answer open: "it depends", "it might be true for some"."""
    for undecided in _UNDECIDED.finditer(text):
        if not any(_answer(text, match) for match in _EXPLICIT.finditer(text, undecided.end())):
            return True
    return False


def denies(text: str) -> bool:
    """Return whether a text has an explicit yes or no and takes each of them back ("the answer is not yes")."""
    answers = [_answer(text, match) for match in _EXPLICIT.finditer(text)]
    return (bool(answers) and not any(answers)) or (_BOTH.search(text) is not None and not any(answers))


def _answer(text: str, match: re.Match[str]) -> str:
    """Return what an explicit word says where it stands: itself, "not true", or nothing."""
    word, before = match[0], text[max(0, match.start() - 50) : match.start()]
    about_truth = word.lower() in ("true", "false")
    if _LEFT_OPEN.search(before):
        return ""
    if _HARDLY.search(before):
        return "not true" if word.lower() == "true" else ""
    if _NOT.search(before):
        return f"not {word}" if about_truth else ""
    return word
