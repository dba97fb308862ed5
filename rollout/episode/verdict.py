"""From a verifier's text to the kinds of mistakes that it names, LM2's nine classes (arXiv 2404.02255, section 3).

A class counts where a clause names it, unless the clause or what it is listed under denies it ("no conceptual error",
"conceptual: no", "none of these: conceptual") or says that nothing is wrong ("the first step is correct"), or the reply
has said before that it has no mistake. What follows the last "Verdict:" is read if it names something, else the whole.
Time is linear in the text's length, of which the end is read.
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
_LABEL = re.compile(r"\bverdicts?\b[\s*_\"']{0,5}(?:is\b|are\b|:|=)")

# A clause ends at a mark, at a word of contrast, at a comma after which comes no further item of a list of classes, and
# before a class that has a verb of its own.
_CONTRAST = re.compile(r"\b(?:but|however|although|though|yet|except|rather|instead|only|while|whereas)\b")
_ITEM = rf"\s{{0,3}}(?:(?:and|or|nor|any|an?|the|in)\s){{0,4}}(?:{_WORDS})\b"
_CLAUSE = re.compile(
    rf"[.;:!?\n]|{_CONTRAST.pattern}|,(?!{_ITEM})"
    rf"|(?:,|\band\b)(?={_ITEM}(?:\s\w{{1,20}})?\s(?:is|was|has|had|does|contains|looks|seems)\b)"
)

# What says of a whole clause that nothing is wrong.
_NO_MISTAKE = re.compile(
    r"(?:\b(?:no|not|nothing|without|never|zero|free\s(?:of|from))|n't)"
    r"(?:\s{1,3}(?:any|a|an|single|such|be|is|was|have|contain|make|made|find|found|see|of)){0,3}"
    r"[\s_-]{1,3}(?:mistakes?|mistaken|errors?|wrong|incorrect|flaws?|flawed|issues?)\b"
    r"|\b(?:mistake|error)s?[\s-]free\b|\b(?:mistakes?|errors?)(?:\sfound)?\s?[:=]\s?(?:none|0)\b"
)
_NOT_FREE = re.compile(r"\b(?:not|never|hardly|isn't|wasn't)\s(?:\w{1,20}\s)?free\s(?:of|from)\b")
_RIGHT = r"(?:correct|right|fine|valid|sound|accurate|ok|okay|good)"
_IS_RIGHT = (
    rf"(?:is|are|was|were|looks?|seems?)\s(?:(?:all|also|both|entirely|completely|perfectly)\s){{0,2}}{_RIGHT}\b"
)
# What denies the classes after it.
_DENIED = re.compile(
    r"\b(?:no|nothing|without|never|neither|nor|none|free\sof|cannot|rules?\sout)\b|\[\s?\]"
    rf"|(?:\bnot|n't)\b(?!\s(?:(?:quite|entirely|fully)\s)?{_RIGHT}\b)"
)
_PRAISED = re.compile(
    rf"\b{_IS_RIGHT}|(?<!\bto\s)\b(?:correctly|rightly|properly|accurately)\b"
    r"|^(?:but|yet|though|although|while|whereas)\s(?:still\s)?(?:correct|fine|valid|accurate)\s(?:in|at)\b"
)
_WRONG = re.compile(r"\b(?:errors?|wrong(?:ly)?|incorrect(?:ly)?|flaw(?:s|ed)?|mis\w{1,20})\b")
# A line of a checklist that says so of its class.
_UNCHECKED = re.compile(
    rf"\b(?:{_WORDS})\b[^,.;:=?|\n]{{0,24}}?(?:[ \"'*_]{{0,4}}[:=?|]|\s[-–—])[ \"'*_]{{0,4}}"
    rf"(?:{_RIGHT}|n/?a|none|false|(?:no|not|0)(?:\s(?:\w{{1,20}}\s)?(?:mistakes?|errors?|issues?|applicable|present|wrong))?)"
    rf"\b(?! (?!(?:{_WORDS}|because|since|and|found)\b)\w)"
)
# What says of the reply as a whole that it has no mistake. One word alone says so at the very beginning.
_WHOLE = r"(?:answer|reply|response|solution|everything|it|this|steps)"
_CLEARED = re.compile(
    rf"(?:{_NO_MISTAKE.pattern})(?!\s(?:in|with)\s(?!(?:the|this|that)\s{_WHOLE}\b))"
    rf"|\b{_WHOLE}\s{_IS_RIGHT}|^[ \"'*_]*(?:none|{_RIGHT})\W*$"
)
# What denies the list after its colon, and what denies the classes of the clause before.
_NONE_OF = re.compile(
    r"(?:\b(?:none|neither|nothing|free)\s(?:of|from|among)\b|(?:\b(?:not|never|without)\b|n't)[^\n]{0,40}\bany\sof\b)"
    r"\s(?:the\s)?(?:these|those|them|following|mistakes?|errors?|issues?|kinds?|types?|classes)\b"
)
_LIST_ENDS = re.compile(r"\.|\n(?!\s{0,8}[-*•\d])")
_SENTENCE = re.compile(r"\b(?:is|was|has|had|there|contains|makes|made)\b")
_NONE_FOUND = re.compile(
    r"\W*(?:but |and |i |we )?(?:found |see |saw )?none"
    r"(?: of (?:them|these|those|the (?!others?\b|rest\b|remaining\b)\w{1,20}))?"
    r"(?:(?: (?:is|are|was|were))?(?: (?:found|present|seen|detected|there|here|made))| appl(?:y|ies))?\W*"
)


def read_verdict(text: str) -> list[str]:
    """Return the classes that a reply names, in the order of ``CLASSES``; ``no_mistake`` where it says that there is
    none, and ``unreadable`` where it names nothing. A mistake that is named outweighs a "no mistake"."""
    said = text[-MAX_CHARS:].lower().replace("’", "'")
    labels = list(_LABEL.finditer(said))
    after = said[labels[-1].end() :] if labels else ""
    return _classes(after) or _classes(said) or [UNREADABLE]


def write_verdict(name: str) -> str:
    """Return a class in the words that ``read_verdict`` reads as it."""
    return _TAUGHT.get(name, name)


def _classes(said: str) -> list[str]:
    """Return what a text names. Once it has said that the reply has no mistake, a class that it mentions is no mistake
    either, unless the clause says that something is wrong or a word of contrast has come between."""
    said = _NOT_FREE.sub("has", said)
    checked, start = _UNCHECKED.sub(" ", said), 0
    named: set[str] = set()
    last: set[str] = set()  # those that the clause before has added
    cleared, denied, praised = False, False, _NO_MISTAKE.search(said) is not None
    for end in [*(match.start() for match in _CLAUSE.finditer(checked)), len(checked)]:
        clause, start = checked[start:end], end
        contrast = _CONTRAST.match(clause) is not None
        cleared, denied = cleared and not contrast, denied and not (contrast or _LIST_ENDS.match(clause))
        if not _NAMED.search(clause):
            if last and _NONE_FOUND.fullmatch(clause):
                named, praised = named - last, True
            last = last if not clause.strip(" .;:!?\n") else set()
            denied = denied or (checked.startswith(":", end) and _NONE_OF.search(clause) is not None)
            cleared = cleared or _CLEARED.search(clause) is not None
            praised = praised or cleared or denied
        elif denied and not _SENTENCE.search(clause):
            continue
        elif _says_wrong(clause) or not (cleared or _says_right(clause)):
            last = _before_denial(clause) - named
            named |= last
    return [name for name in CLASSES if name in named] or [NO_MISTAKE] * praised


def _says_wrong(clause: str) -> bool:
    return _WRONG.search(_NO_MISTAKE.sub(" ", clause)) is not None


def _says_right(clause: str) -> bool:
    praise = _PRAISED.search(clause)
    praised = praise is not None and not _DENIED.search(clause, 0, praise.start())
    return praised or _NO_MISTAKE.search(clause) is not None


def _before_denial(clause: str) -> set[str]:
    denial = _DENIED.search(clause)
    until = denial.start() if denial else len(clause)
    return {str(match.lastgroup) for match in _NAMED.finditer(clause, 0, until)}
