"""From a verifier's text to the kinds of mistakes that it names, LM2's nine classes (arXiv 2404.02255, section 3).

A class counts where it is named and not denied: "no conceptual error" and "conceptual: no" name none. What follows the
last "Verdict:" is read if it names something, else the whole. Time is linear in the text's length, of which the end is
read.
"""

from __future__ import annotations

import re

NO_MISTAKE, UNREADABLE = "no_mistake", "unreadable"
# Each class, and the words that name it.
CLASSES: dict[str, str] = {
    "conceptual": r"conceptual|wrong\s{1,3}concepts?",
    "computational": r"computational|(?:calculation|computation|arithmetic(?:al)?)\s{1,3}(?:errors?|mistakes?)",
    "procedural": r"procedural|wrong\s{1,3}procedure",
    "misunderstood": r"misunderst(?:ood|ands?|anding)|misread(?:s|ing)?|misinterpret(?:s|ed|ing|ation)?",
    "first_step": r"(?:first|1st|initial)[\s_-]{1,3}step",
    "first_half": r"(?:first|1st)[\s_-]{1,3}half",
    "second_half": r"(?:second|2nd|latter)[\s_-]{1,3}half",
    "last_step": r"(?:last|final)[\s_-]{1,3}step",
}
VERDICTS = (*CLASSES, NO_MISTAKE, UNREADABLE)
# Each class as a verifier is taught to write it; the others are written as they are called.
_TAUGHT = {
    "misunderstood": "misunderstood question", "first_step": "error in the first step",
    "first_half": "error in the first half", "second_half": "error in the second half",
    "last_step": "error in the last step", NO_MISTAKE: "no mistake",
}  # fmt: skip
MAX_CHARS = 4_000

_WORDS = "|".join(CLASSES.values())
_NAMED = re.compile("|".join(rf"\b(?P<{name}>{words})\b" for name, words in CLASSES.items()))
_NO_MISTAKE = re.compile(
    r"(?:\b(?:no|not|without|zero|free\sof)|n't)"
    r"(?:\s{1,3}(?:any|a|an|single|such|have|contain|make|made|find|found|see|of)){0,3}[\s_-]{1,3}(?:mistakes?|errors?)\b"
    r"|\b(?:mistake|error)s?[\s-]free\b"
)
_LABEL = re.compile(r"\bverdicts?\b[\s*_\"']{0,5}(?:is\b|are\b|:|=)")
# A line of a checklist that says no.
_UNCHECKED = re.compile(
    rf"\b(?:{_WORDS})\b[^,.;:=\n]{{0,24}}[\"'*]{{0,3}}\s?[:=]\s?[\"'*]{{0,3}}(?:no|none|false|0)\b(?![\s_-](?:mis|err))"
)
# A denial holds to the end of its sentence or clause, and over the commas of a list.
_CLAUSE = re.compile(r"[.;:!?\n]|\b(?:but|however|although|though|yet|except|rather|instead|only)\b")
_DENIED = re.compile(r"\b(?:no|not|without|never|neither|nor|none|free\sof|cannot|rules?\sout)\b|n't\b")
_PRAISED = re.compile(
    r"\b(?:is|are|was|were|looks?|seems?)\s(?:all\s|also\s|entirely\s)?(?:correct|right|fine|valid|sound|accurate|ok)\b"
)
_NEXT_ITEM = re.compile(r"\s{0,3}(?:(?:and|or|nor|any|an?|the|in)\s){0,4}$")


def read_verdict(text: str) -> list[str]:
    """Return the classes that a reply names, in the order of ``CLASSES``; ``no_mistake`` where it says that there is
    none, and ``unreadable`` where it names nothing. A mistake that is named outweighs a "no mistake"."""
    said = _UNCHECKED.sub(" ", text[-MAX_CHARS:].lower().replace("’", "'"))
    labels = list(_LABEL.finditer(said))
    after = said[labels[-1].end() :] if labels else ""
    return _classes(after) or _classes(said) or [UNREADABLE]


def write_verdict(name: str) -> str:
    """Return a class in the words that ``read_verdict`` reads as it."""
    return _TAUGHT.get(name, name)


def _classes(said: str) -> list[str]:
    named: set[str] = set()
    start = 0
    for end in [*(match.start() for match in _CLAUSE.finditer(said)), len(said)]:
        named |= _named(said[start:end])
        start = end
    found = [name for name in CLASSES if name in named]
    return found or ([NO_MISTAKE] if _NO_MISTAKE.search(said) else [])


def _named(clause: str) -> set[str]:
    """Return the classes that a clause names and does not deny. A denial ends at a comma after which something begins
    that is no further item of a list."""
    found: set[str] = set()
    denied = False
    for piece in clause.split(","):
        names = list(_NAMED.finditer(piece))
        if denied and not (names and _NEXT_ITEM.match(piece[: names[0].start()])):
            denied = False
        denial = _DENIED.search(piece)
        if not (denied or _PRAISED.search(piece)):
            until = denial.start() if denial else len(piece)
            found |= {str(match.lastgroup) for match in names if match.start() < until}
        denied = denied or denial is not None
    return found
