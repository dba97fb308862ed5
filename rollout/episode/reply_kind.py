"""The kind of reply that a question asks for: a number, yes or no, or a name or another text.

The words that ask decide, never what was replied. Of several sentences the last that asks counts; where none does,
the caller says which kind is meant.
"""

from __future__ import annotations

import re
from functools import lru_cache

# As the answer types of a problem are called.
NUMBER, YES_OR_NO, TEXT = "number", "boolean", "text"
# What is asked is told in a few words; of a longer text the end is read.
MAX_CHARS = 1_000

_MEASURED = (
    "many|much|old|tall|far|long|big|large|high|heavy|fast|wide|deep|often|few|hot|cold|thick|quickly|late|early|soon|"
    "small|short|slow|slowly|loud|more|less|fewer|close"
)
# Nouns whose value is a number, as in "What is the total cost of the pens?" or "In what year was he born?".
_QUANTITIES = frozenset((
    "number", "numbers", "amount", "amounts", "total", "sum", "difference", "product", "quotient", "remainder",
    "cost", "costs", "price", "prices", "value", "values", "average", "mean", "median", "percent", "percentage",
    "proportion", "fraction", "ratio", "rate", "speed", "distance", "length", "width", "height", "depth", "weight",
    "mass", "area", "volume", "perimeter", "circumference", "diameter", "radius", "age", "ages", "duration",
    "profit", "profits", "revenue", "income", "salary", "wage", "wages", "pay", "earnings", "savings", "balance",
    "change", "tax", "discount", "tip", "fee", "interest", "debt", "payment", "loss", "expense", "expenses",
    "spending", "budget", "population", "temperature", "capacity", "size", "quantity", "count", "score",
    "probability", "chance", "maximum", "minimum", "year", "years", "month", "months", "week", "weeks", "day",
    "days", "hour", "hours", "minute", "minutes", "second", "seconds", "dollars", "cents", "calories", "increase",
    "decrease", "share", "portion", "combined", "remaining", "commission", "deposit", "refund", "lifespan",
    "elevation", "density", "frequency", "gestation", "expectancy", "mileage",
))  # fmt: skip
# Nouns that no number answers, as in "What is his name?"; of any other the problem's own kind is meant: "What is the
# bill?", "What is the hypotenuse?".
_NO_QUANTITIES = frozenset((
    "name", "names", "nickname", "title", "color", "colour", "kind", "type", "sort", "species", "city", "country",
    "capital", "state", "place", "location", "person", "man", "woman", "animal", "object", "item", "language",
    "nationality", "religion", "profession", "job", "occupation", "reason", "cause", "purpose", "relationship",
    "meaning", "definition", "genre", "brand", "company", "band", "author", "way", "method", "formula", "equation",
    "rule", "pattern", "relation", "operation", "problem", "question", "word", "letter", "shape", "unit", "units",
    "date", "flavor", "flavour", "fruit", "weather", "goal", "step", "steps", "fact", "facts", "expression", "factor",
    "factors", "form", "given", "known", "wrong",
))  # fmt: skip
_AUXILIARIES = (
    "is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|shall|should|may|might|must|isn't|aren't|wasn't|"
    "weren't|don't|doesn't|didn't|hasn't|haven't|hadn't|can't|couldn't|won't|wouldn't|shouldn't"
)
# A full stop after an initial or a title ends no sentence. The kind depends on no capitals, so this reads lower case;
# ``rollout.episode.sentences`` goes by the capitals of names, which a prompt keeps.
_SENTENCE = re.compile(r"(?<=[.?!])(?<!\b[a-z]\.)(?<!\b(?:mr|ms|dr|st|jr|sr|vs|no)\.)(?<!\bmrs\.)\s+(?=\D)")
_HOW = re.compile(rf"\bhow (?:very |exactly )?(?:{_MEASURED})\b|\bhow [a-z]{{3,12}} (?:is|are|was|were)\b")
_YES_OR_NO = re.compile(rf"(?:(?:and|but|so|then|also|now),? )?(?:{_AUXILIARIES})\b")
_AUXILIARY = re.compile(rf"\b(?:{_AUXILIARIES})\b")
_NAMED = re.compile(
    r"what(?:'s|\s(?:is|are|was|were|will be|would be))\s"
    r"(?:(?:the|his|her|its|their|our|your|my|an?|[a-z]+'s)\s(.+)|[a-z])"
)
_WHAT = re.compile(r"\b(?:what|which)(?:'s|’s)?((?:[\s,]+[\w%$#'’./*+-]+){0,9})")
# This names something and asks nothing of it.
_ABOUT_ALONE = re.compile(r"(?:so |and |but |now )?(?:what|how) about\b")
# What is said of the thing asked for, no longer the thing: "the name | of the year".
_ABOUT = re.compile(r"\s(?:of|for|that|who|where|when|if|in|on|at|by|from|with|to|and|after|before)\b")
_SUM = re.compile(
    r"\s(?:is|are|was|would be|does)\s(?:\$?\d|half|twice|double"
    # A reference to another sub-question's answer asks for a number only if something is computed with it.
    r"|#\d+\s*(?:[-+*/×%]|plus\b|minus\b|times\b|divided\b|multiplied\b|percent\b))"
    r"|\s(?:do|does|did)\s.*\s(?:cost|weigh|equal|pay|charge|total)$"
)
_ASKS_FOR_TEXT = re.compile(r"\b(?:who|whom|whose|where|when|why|how|what|which)\b")
_COMMAND = re.compile(
    r"(?:please )?(?:find|calculate|compute|determine|count|work out|add|subtract|multiply|divide|give|state|tell me)\b"
    r"(.*)"
)


@lru_cache(maxsize=2_000)
def reply_kind(question: str, otherwise: str = TEXT) -> str:
    """Return the kind of reply that a question asks for: ``number``, ``boolean`` or ``text``, as answer types are
    called; ``otherwise`` where its words ask for none, or for something that may be a number or a text."""
    text = " ".join(question[-MAX_CHARS:].lower().replace("’", "'").split())
    said = [sentence for sentence in _SENTENCE.split(text) if sentence]
    asked = next((sentence for sentence in reversed(said) if sentence.endswith("?")), said[-1] if said else "")
    asked = asked.strip(" ?!.:\"'")
    if _ABOUT_ALONE.match(asked):
        return otherwise
    if _YES_OR_NO.match(asked):
        return YES_OR_NO
    if _HOW.search(asked):
        return NUMBER
    if what := _WHAT.search(asked):
        return NUMBER if _is_quantity(what[1]) else (_may_be_quantity(what[0]) and otherwise) or TEXT
    if _ASKS_FOR_TEXT.search(asked):
        return TEXT
    if command := _COMMAND.match(asked):
        return NUMBER if _is_quantity(command[1]) else otherwise
    # "If both are yes, is the third higher?" and "The first is higher than the second?"
    return YES_OR_NO if text.endswith("?") and _AUXILIARY.search(asked) else otherwise


def _is_quantity(thing: str) -> bool:
    """Return whether what stands after "what" names a quantity before it says what the quantity is of."""
    if _SUM.search(thing):
        return True
    return not _QUANTITIES.isdisjoint(_named(thing))


def _named(thing: str) -> list[str]:
    """Return the words that name a thing, up to what is said of it."""
    about = _ABOUT.search(thing)
    return (thing[: about.start()] if about else thing).replace("'s", "").split()


def _may_be_quantity(asked: str) -> bool:
    """Return whether "what is" is followed by a noun that a number may answer."""
    named = _NAMED.fullmatch(" ".join(asked.split()))
    if named is None or named[1] is None:  # "What is x?"
        return named is not None
    words = _named(f" {named[1]}")
    return bool(words) and _NO_QUANTITIES.isdisjoint(words) and not words[-1].endswith("ing")
