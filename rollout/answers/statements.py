"""Split a text into sentences; find those that state an answer, say that there is none, or draw a conclusion."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_STATEMENT = 300
MAX_DISPLAY = 1_000
MAX_STATEMENTS = 10

# A full stop after an initial, a title or a line's number ends no sentence, and neither does a factorial's mark.
_SENTENCE = re.compile(
    r"\n+|(?<=[.?])(?<!\b[A-Z].)(?<!\b(?:Rs|Mr|Dr|St|No|vs).)(?<!\b(?:Ms|Mt|Ft|Lt|Jr|Sr|Co).)"
    r"(?<!\b(?:Mrs|Gen|Col|Sgt|Gov|Rev|Sen|Rep|Inc|Maj|Hon).)(?<!\b(?:Prof|Capt|Bros|Corp|Univ).)(?<!\bapprox.)"
    r"(?<!\n\d\.)(?<!\n\d\d\.)[^\S\n]+"
    r"|(?<=!)[^\S\n]+(?!(?!is\b|are\b|equals\b)[a-z]|[=+*/×÷·^-]|\\(?:cdot|times|div|approx|frac))|(?<=[。！？])"
)
_BULLET = re.compile(r"^(?:[-*•>]|\d{1,2}[.)])\s+(?=\S)")
_VERB = (
    r"(?:is|are|was|were|(?:will|would|should|must|can|could|has to"
    r"|ought to)\s(?:(?:then|thus|therefore|now|only)\s)?be|equals|becomes|comes (?:out )?to|works out (?:as|to)"
    r"|turns out to be)\b"
)
# What may stand between "the answer" and its verb: "(in dollars)", "to the question", "that we are looking for".
_QUALIFIER = (
    r"(?:\s?\([^()\n]{0,60}\)|,\s[^,.:;?!\n]{0,60},|\s(?:to|for|of|in|on|at)\s[^.:;?!\n]{0,100}?"
    r"|(?:\s(?:here|then|now|thus|therefore|hence|also)){1,2}|\s(?:that|which) [a-z]+ [a-z]+(?: out| to)?"
    r"|\s(?:that )?(?:we|you|i|they) (?:are |were |have )?(?:looking for|after|want(?:ed)?|need(?:ed)?|seek|sought"
    r"|get|got|find|found|obtain(?:ed)?|reach(?:ed)?|asked for)(?:\s[^.:;?!\n]{0,30}?)?)"
)
_STATED = re.compile(
    r"(?<!wrong )(?<!incorrect )(?<!false )(?<!no )\b(?:answers?|ans)\b(?:"
    r"(?:\.(?=\s{0,2}\(?[A-J]\b))?[*_\s]{0,4}(?:[:=]|[-–—]\s|(?=\(?[A-J]\)?(?:\s+is\b|[.\s]*$)))"
    rf"|{_QUALIFIER}?[*_\s]{{0,4}}{_VERB}"
    r"|(?:\s?\([^()\n]{0,60}\)|\s(?:to|for|of|in) [^.:;?!\n=\d]{0,60}?)[*_\s]{0,4}[:=])[*_:=,\s]{0,4}"
    r"|\b(?:correct|right|best|proper|true|my|final) (?:options?|choices?|statements?|letters?|picks?|guess) "
    rf"(?:{_VERB}|[:=])[*_:\s]{{0,4}}"
    r"|(?:答案(?:应该|應該)?(?:是|为|為|等于)?|答え?(?:は|(?=[:：]))|正解は|คำตอบ(?:คือ)?|정답은|답은)[:：\s]{0,3}",
    re.IGNORECASE | re.MULTILINE,
)
_CHOSEN = re.compile(
    r"\bI(?:['’](?:d|ll)| would| will| shall| can"
    r"| must)? (?:(?:therefore|thus|then|have to|probably) ){0,2}(?:choose|pick|select|go (?:with|for)|opt for|say"
    r"|answer|vote for|guess|conclude|mark)\b[*_:,\s]{0,4}"
    r"|\bI(?:['’]m| am) (?:going (?:with|for)|choosing|picking|selecting)\b[*_:,\s]{0,4}"
    r"|^\W{0,3}(?i:(?:most )?(?:likely|probably)|(?:almost )?certainly|definitely"
    r"|clearly)\b(?=[\s,:]{1,3}[*\"(]{0,3}[A-J]\b)",
    re.MULTILINE,
)
# "I do not think the answer is 12", "the answer is unique", "our answer is correct" state nothing.
_DOUBTED = re.compile(
    r"(?:\b(?:if|whether)|(?:\bnot|n['’]t|\bmight|\bmay|\btempted to|\bwrongly|\bmistakenly|\bincorrectly) "
    r"(?:think|believe|say|suppose|mean|guess|assume|claim|conclude))"
    r"(?: that)?(?: (?:the|our|my|your|its|final|right|correct)){0,3} $",
    re.IGNORECASE,
)
_ABOUT_IT = re.compile(
    r"\W{0,3}(?:indeed |also |clearly |simply )?(?:unique|correct|right|wrong|incorrect|reasonable|valid|consistent"
    r"|found|given|shown|below|above|as follows|in (?:the|a)|obvious|clear|easy|irrational)\b(?!\W{0,3}\n)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:cannot|can't|can not|could not|couldn't|unable to|impossible to|not possible to"
    r"|no way to)\s+(?:be\s+)?(?:tell|told|say|said|answer|answered|determine|determined|know|known|solve|solved"
    r"|find|found|compute|computed|calculate|calculated|work out|worked out|decide|help|assist|give|provide|do that"
    r"|be sure|be certain|sure)\b|\b(?:do not|don't|did not|didn't) (?:know|understand|have enough)\b"
    r"|\b(?:not sure|unsure|no idea|undetermined)\b"
    r"|\b(?:not enough|insufficient|no|missing|too little) (?:information|data|facts|details|solution|answer)\b",
    re.IGNORECASE,
)
_VALUE_ALL_THE_SAME = re.compile(
    r"[^.;]{0,100}?\b(?:so|thus|therefore|hence|but(?: [\w']+){0,4} (?:yes|no))\b", re.IGNORECASE
)
_UNANSWERED = re.compile(
    r"\W*(?:unknown|unclear|undefined|undetermined|not (?:known|clear|given|possible|stated))\b", re.IGNORECASE
)
_CONCLUDES = re.compile(
    r"\W*(?:so|thus|therefore|hence|then|consequently|accordingly|finally|overall|altogether"
    r"|in (?:total|all|conclusion|short|summary)|(?:this|that|which) (?:means|gives|leaves)|we (?:get|have|find))\b"
    r"|.{0,300}(?:=|\banswers?\b|\bin (?:all|total)\b)",
    re.IGNORECASE,
)
# The answer to a step: "for one shelf", "for the first part", "in step 2".
_STEP = re.compile(
    r"\b(?:for|to|in|of|per) (?:one|a single|each|every|(?:the )?(?:first|second|third|next)|(?:this|the|that) step"
    r"|step \w+|part \(?\w+\)?|half)\b",
    re.IGNORECASE,
)
_EMPTY_LINE = re.compile(r"[\s*_:$]{0,10}\n[\s*_>-]{0,10}(?:\d{1,2}[.)]\s(?=\(?[A-J]\)))?")
_DISPLAY = re.compile(r"\s{0,3}(?:(\\\[)|\$\$)")


def sentences(text: str) -> list[str]:
    """Return the sentences of a solver's text. The end of a line ends a sentence, which it does not in a question; the
    mark of a factorial does not."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def first_sentence(text: str) -> str:
    """Return the first sentence of a text, without the spaces around it."""
    return _SENTENCE.split(text.strip())[0]


def without_bullet(sentence: str) -> str:
    """Return a sentence without the list marker at its start."""
    return _BULLET.sub("", sentence)


def asks(sentence: str) -> bool:
    """Return whether a text ends in a question mark, emphasis, quotes and brackets aside; a question is no answer."""
    return sentence.rstrip("*\"'”’) ").endswith(("?", "？", "؟"))


def refuses(sentence: str) -> bool:
    """Return whether a sentence says that the answer cannot be told."""
    return any(not _VALUE_ALL_THE_SAME.match(sentence, match.end()) for match in _REFUSAL.finditer(sentence))


def is_unanswered(stated: str) -> bool:
    """Return whether the text after "the answer is" says that there is no answer."""
    return _UNANSWERED.match(stated) is not None


def concludes(sentence: str) -> bool:
    """Return whether a sentence draws a conclusion or computes, and so overrides a refusal before it."""
    return _CONCLUDES.match(sentence) is not None


@dataclass(frozen=True)
class Statement:
    """The text after "the answer is", up to the end of its line or formula (``words``); the same with the lines below
    (``block``); the text after its first sentence (``rest``); and whether it answers only a step of the problem."""

    words: str
    block: str
    rest: str
    of_step: bool


def statements(text: str, answer_type: str) -> list[Statement]:
    """Return the last places where a text states its answer, last one first. "I choose" states an option. If the answer
    is a text, "clear" and "in the morning" are answers; otherwise they are remarks about the answer."""
    found = list(_STATED.finditer(text))
    if answer_type.endswith("choice"):
        found = sorted([*found, *_CHOSEN.finditer(text)], key=lambda match: match.end())
    found = [match for match in found if not _DOUBTED.search(text, max(0, match.start() - 80), match.start())]
    said = [_statement(text, match) for match in reversed(found[-MAX_STATEMENTS:])]
    return [statement for statement in said if answer_type == "text" or not _ABOUT_IT.match(statement.words)]


def _statement(text: str, match: re.Match[str]) -> Statement:
    words, end = _said(text, match.end())
    sentence = first_sentence(words)
    before = _SENTENCE.split(text[max(0, match.start() - 100) : match.start()])[-1]
    of_step = _STEP.search(f"{before}{match[0]}{sentence}") is not None
    return Statement(
        words,
        words + text[end : end + MAX_STATEMENT],
        words[words.find(sentence) + len(sentence) :] + text[end:],
        of_step,
    )


def _said(text: str, start: int) -> tuple[str, int]:
    """Return what is stated from ``start`` onwards, and its end: a line (the next, if it is empty) or a formula."""
    blank = _EMPTY_LINE.match(text, start)
    start = blank.end() if blank and blank.end() < len(text) else start
    opened = _DISPLAY.match(text, start)
    if opened:
        end = text.find("\\]" if opened[1] else "$$", opened.end(), opened.end() + MAX_DISPLAY)
        if end > 0:
            return text[start : end + 2].replace("\n", " "), end + 2
    end = text.find("\n", start, start + MAX_STATEMENT)
    end = min(len(text), start + MAX_STATEMENT) if end < 0 else end
    return text[start:end], end
