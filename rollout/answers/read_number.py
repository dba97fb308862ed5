"""The rules for reading a number from a sentence, whether or not it is stated as the answer."""

from __future__ import annotations

import re

from rollout.answers.number_words import in_digits
from rollout.answers.numbers_and_options import (
    CHANGES_NEXT,
    EQUALS,
    SEPARATOR,
    TAKES_BACK,
    Found,
    numbers,
    parse_number,
    with_scales_in_words,
)
from rollout.answers.statements import first_sentence, without_bullet

_REASON = re.compile(
    r"\b(?:because|since|as(?! (?:many|much|long|old|tall|big|large|far|high)\b)(?<!(?:many|much|long|tall"
    r"|high) as)(?<!(?:old|big|far) as)(?<!large as)|which|where|so|that is|i\.e|due to|given)\b",
    re.IGNORECASE,
)
# An aside in brackets behind a word or number: "(cats)", "(3 for each of 7 guests)", "(= 3 * 7)"; not "(9 - 4)".
_ASIDE = re.compile(r"(?<=[\w$%*])\s?\((?=[^()]{0,200}(?:[^\W\d]{2}|=))(?!\s?-?\d+\s?\))[^()\\]{0,200}\)")
# What leads to the result behind the last of them.
_RESULT = re.compile(EQUALS.pattern + r"|[⇒→≡]|\\(?:equiv|implies|[Rr]ightarrow|Longrightarrow)(?![A-Za-z])")
# An equation that is no answer yet (2x = 10), answers twice at its end (x = 2, y = 3), or is none (5 = 7).
_UNSOLVED = re.compile(
    r"(?<![/\d])\d{1,400}[a-z]\s?=\s?[-\d.]+\W*$"
    r"|\b[A-Za-z]\s?=\s?[-\d.]+(?:\s\w{1,10})?\s?(?:,|;|\band\b)\s{0,2}[A-Za-z]\s?="
    r"(?=(?:[^A-Za-z,;]*[=≈≃≅])?[^=≈≃≅]*$)"
    r"|^\s*-?\d+\s?=\s?-?\d+\W*$"
)
_BOLD = re.compile(r"(?<!\w)\*\*([^*\n]{1,100})\*\*")
# A bold number that is one of two: "**8** or 9", "8 or **9**".
_BOLD_OR = re.compile(r"\d[\w%]{0,20}\s+or\s+\$?\*\*\s?\$?[-\d]|\d[^*\n]{0,20}\*\*\s+or\s+[$*]{0,3}-?\d")
# Between two equals signs: a result, "or", and what the next is the result of: a name or a computation.
_OR_ANOTHER = re.compile(
    r"[\s*$]{0,4}-?[\d.,]{1,40}\d?[*$]{0,3}(?:\s[A-Za-z]{1,12})?,?\sor\s"
    r"((?:[A-Za-z]{1,20}\s){0,4}[A-Za-z]{0,20}|\$?[\d.]{1,20}(?:\s?[-+*/×÷]\s?\$?[\d.]{1,20}){1,9})\s{0,3}"
)
# What joins two numbers into one statement: alternatives, a list, a range, arithmetic left undone.
_JOINED = re.compile(
    r"[\s$*_%]{0,4}(?:[A-Za-z]+[\s*_]{1,3}){0,2}(?:(?:and/or|or|and|nor|versus|mod)\s{1,3}(?:[A-Za-z]+\s)?"
    r"|to\s)[\s$*_(]{0,4}|\s?(?:ft|feet|foot|h|hrs?|hours?|min|minutes?|lbs?|pounds?|dollars?|years?|months?|weeks?"
    r"|days?|m|km|kg)\.?\s{1,3}|\s?[A-Za-z]{1,12}\s?[+*×÷]\s?[\s$(]{0,3}"
    r"|\.|[!)]{1,3}\s?(?:\\times|\\cdot|[-+*/×÷^])?[\s$(]{0,3}|分之"
    r"|(?:[A-Za-z]{1,4}(?=[-/,]))?[\s%]{0,2}(?:\*\*|[-−+*/x×÷:^,;|&–—±]|\\times|\\cdot|\{,\}|\\[,! ])?[\s$(]{0,3}"
)
# An operation in words: "3 times 4", "5 more than 12", "20 % of 45".
_OPERATED = re.compile(
    r"[\s$]{0,2}(?:times(?: as \w{2,6} as)?|plus|minus|divided by|multiplied by|to the power(?: of)?|raised to"
    r"|choose|added to|subtracted from|taken from|\\?%\s?of|percent of"
    r"|(?:more|less|fewer|greater|larger|smaller|higher|lower) than)\s{1,3}[\s$*_(]{0,4}"
)
# A share of a number is an operation too: "1/2 of 26".
_SHARE = re.compile(r"\s+of\s+(?:the |these |all )?[\s$]{0,3}")
_UNDONE = re.compile(rf"{_OPERATED.pattern}|[+*×]|\)\(|\\(?:cdot|times)|\b(?:half|twice|double|triple)\b|\d/\d+ of ")
# What stands before a number and changes what it says: not 12, more than 12, half of 12, > 12, x^12, f(12), k(k-1)/12.
_HEDGED = re.compile(
    rf"(?:{CHANGES_NEXT}|\b(?:minus|negative|log|ln|sqrt|sin|cos|tan)\s+"
    r"|(?<![-=])[<>≤≥]=?\s?|[\w)}]\^\{?|√\(?|\\l(?:floor|ceil|vert)\s?|\|\s?|\\[A-Za-z]{2,8}\{|\b[A-Za-z]{1,8}\("
    r"|(?<![A-Za-z])[A-Za-z]\s?[-−+*/×÷]\s?|[)\]}]\s?[+*/×÷]\s?|[)\]}][-−]|\}\s?\{)$",
    re.IGNORECASE,
)
# What belongs to a number that ends here: a unit or variable written onto it, a percent sign, a scale word.
_BELONGING = re.compile(
    r"(?:(?:\\?%|\\(?!text|mathrm|mbox|quad)[A-Za-z]+|\^\{?-?\w{1,4}\}?|[\w°²³/]"
    r"|[-(](?=\w))(?!\\[,;!]))*(?:[\s-](?i:hundred|thousand|lakhs?|million|crores?|billion|trillion|squared|cubed"
    r"|factorial)\b|\s?\\?%|\s+and\s+(?:(?:a|one)\s+)?(?:half|quarter)\b|\s?[-+*/×÷^±]\s?[b-z](?![A-Za-z'])"
    r"|!(?=[.\w^+*/-]|\s[a-z=+*/×÷·]|\s?\\))*"
    rf"(?:[\s*$]{{0,3}}{TAKES_BACK})?"
)
# The exponent of a unit is no number of its own, and "the 5th digit", "a 6-digit block" state none.
_UNIT_POWER = re.compile(
    r"(?:(?<![A-Za-z\\])(?:[kcdm]?m|ft|feet|foot|in|inch(?:es)?|yd|yards?|mi|miles?|s|sec|units?|met(?:er|re)s?"
    r"|centimet(?:er|re)s?)|\\(?:text|mathrm|mbox)\s?\{[^{}]{1,20}\})\s?(?:\^|\*\*)\s?\{?\s?-?$"
)
_SUFFIX = r"\s?(?:\^?\{?\\(?:text|mathrm|mbox)\{)?(?:st|nd|rd|th)\b\}{0,2}\$?(?=\s[a-z])"
_ORDINAL = re.compile(rf"{_SUFFIX}|-[a-z]{{3}}", re.IGNORECASE)
# An ordinal that names something; one after an equals sign is a result ("7 - 1 = 6th place").
_ORDINAL_NAME = re.compile(rf"(?<![\d.,/=])(?<!=\s)\d{{1,9}}{_SUFFIX}", re.IGNORECASE)
# An ordinal directly behind a verb of being somewhere or coming in.
_PLACED = re.compile(
    rf"\b(?:is|was|are|were|be|came|comes?|finish(?:ed|es)?|ranks?|ranked|places?|placed|ended|ends)\s"
    rf"(?:(?:up|in|on|at|as)\s){{0,2}}(?:the\s|his\s|her\s|their\s)?{_ORDINAL_NAME.pattern}",
    re.IGNORECASE,
)
_VERB_BEFORE = re.compile(
    r"\b(?:is|are|was|were|be|equals?|costs?|makes?|gets?|has|have|had|needs?|takes?|pays?|earns?|weighs?|contains?"
    r"|gives?|leaves?|becomes?|totals?|measures?|receives?|spends?|saves?|holds?|comes to|amounts to"
    r"|adds up to)(?:\s(?:exactly|only|just|about|now|then|still|approximately|around|roughly|equal|worth|left|with"
    r"|to|at|(?:a |the )?total of|altogether|in all|another)){0,4}[\s$*:(\\]{1,4}$"
    r"|(?<!the )\b(?:only|exactly|just)\s$",
    re.IGNORECASE,
)
_BEGINS_WITH_WORDS = re.compile(r"\W*(?:[A-Za-z]{2}|[AI]\s)")
# An opening clause up to its comma, and an opening phrase or subject that has a count in it: "In the first 2 hours",
# "On day 6", "The 3 sisters", "A box of 12 eggs".
_OPENING = re.compile(
    r"\W*(?!(?:in (?:total|all|sum|the end)|at (?:first|least|most|the end)|of course|for a total)\b)(?:in|after"
    r"|within|for|during|over|by|at|on|with|from|of|both|every|each|if|when|since|as|because|given|before|per|once"
    r"|while|to)\b",
    re.IGNORECASE,
)
_ADVERB = re.compile(r"\W*[A-Za-z']+(?: [A-Za-z']+){0,2},\s")
_COUNT_WORDS = re.compile(
    r"[\s$]*(?:(?:the|these|those|all|both|each|every|any|first|next|last|another|about|exactly|only|just|end|of|a"
    r"|total|day|week|month|year|hour|minute|step|round|stage|page|level|other)\b[\s$]*){0,5}",
    re.IGNORECASE,
)
_SUBJECT_COUNT = re.compile(
    r"\W*(?:(?:the|these|those|all|both|all (?:the|of the)|each of the|every one of the|my|your|his|her|its|our"
    r"|their|[a-z]+['’]s)|(?:an?|the|each|every|one) [a-z]+ (?:of|with|for|in|at)(?: the| all| these)?)[\s$]{1,3}",
    re.IGNORECASE,
)
_CONCLUDED = (
    r"\b(?:so|thus|hence|therefore|which (?:is|gives|makes|equals)|that is|i\.e\.|making|but|it is"
    r"|rather{})\b[\s,:]{{1,3}}(?:[A-Za-z']+\s){{0,3}}"
)
_SO = re.compile(_CONCLUDED.format(""), re.IGNORECASE)
# Behind arithmetic left undone "or" gives its result: "8 * 14, or 112".
_SO_OR = re.compile(_CONCLUDED.format("|or"), re.IGNORECASE)


def stated_number(text: str) -> str | None:
    """Return the number that is stated as the answer in the text after "the answer is".

    It is the result of an equation, the number after the sentence's verb, or the first number that is not in an opening
    phrase ("In 2 hours"); a reason is not read. If that is not a number ("twice 23"), it is the number concluded from
    it ("so 46"). If something beside a number changes its value, both are returned, and the result equals no number.
    """
    text = re.sub(r"(?<=[\d)])!=", "! =", _readable(re.sub(r"^\W*that\s", "", text, flags=re.IGNORECASE)))
    # An aside is left out, unless nothing is said outside it.
    text = _ASIDE.sub("", text) if numbers(_ASIDE.sub("", text)) else text
    sentence = first_sentence(text)
    reason = _REASON.search(sentence, 1)
    found = _of_clause(sentence[: reason.start()] if reason else sentence)
    found = found or _of_clause(sentence) or number(sentence, first=True)
    if found is not None and parse_number(found) is not None:
        return found
    undone = found is not None and _UNDONE.search(found) and not re.search(r"\bor\b", found)
    for so in (_SO_OR if undone else _SO).finditer(sentence):
        said = number(sentence[so.end() :], first=True)
        at_once = numbers(sentence[so.end() :][:3])
        if said is not None and at_once and parse_number(said) is not None:
            return said
    return found


def ending_number(said: list[str]) -> tuple[str | None, str]:
    """Return the number that sentences end in, and the rule that found it (``bold``, ``equation``, ``last``, ``none``).

    The last sentence with a number is read; digits take precedence over number words, and every number over an ordinal
    ("on the 2nd day").
    """
    for sentence in reversed(said):
        sentence = _without_ordinals(without_bullet(_readable(sentence, words=False)))
        if (worded := _word_behind_verb(sentence)) is not None:
            return worded, "last"
        if not numbers(sentence):
            worded = number(_counted(in_digits(sentence)), first=False)
            if worded is None or parse_number(worded) is None:
                continue
            return worded, "last"
        bold = [(value, part) for part in _BOLD.findall(sentence) if (value := parse_number(part)) is not None]
        if len({value for value, _ in bold}) == 1 and not _BOLD_OR.search(sentence):
            return bold[0][1], "bold"
        if EQUALS.search(sentence) and (found := number(sentence, first=True)) is not None:
            return found, "equation"
        if (found := number(sentence, first=False)) is not None:
            return found, "last"
    return None, "none"


def _without_ordinals(sentence: str) -> str:
    """Return a sentence without the ordinals before a word, unless it has no other number than ordinals, or says what
    place something has: "Bob is in 4th place", "she came 4th of all"."""
    if _PLACED.search(sentence):
        return sentence
    others = re.sub(r"(?<!\d)\d{1,9}(?:st|nd|rd|th)\b", "", _ORDINAL_NAME.sub("", sentence))
    return _ORDINAL_NAME.sub("", sentence) if numbers(_counted(in_digits(others))) else sentence


def _word_behind_verb(sentence: str) -> str | None:
    """Return the number in words after the last verb of a sentence that also has digits: "In 2 hours he has nine"."""
    found = numbers(sentence)
    tail = sentence[found[-1].end :] if found and not EQUALS.search(sentence) else ""
    digits = in_digits(tail)
    last = numbers(digits)[-1:]
    if not last or not _VERB_BEFORE.search(digits[max(0, last[0].start - 60) : last[0].start]):
        return None
    worded = number(digits, first=False)
    return worded if worded is not None and parse_number(worded) is not None else None


def number(text: str, *, first: bool, results: re.Pattern[str] = EQUALS) -> str | None:
    """Return the first or last number of a text, or the first after its last equals sign, and its unit, if any.

    Joined numbers ("5 or 7", "3 + 2", "3-5") are returned together, and so equal no number.
    """
    everything = _counting(text)
    start = 0
    if first:
        ends = [match.end() for match in results.finditer(text)]
        last = everything[-1].end if everything else 0
        start = next((end for end in reversed(ends) if end < last), 0)
    if start and (_UNSOLVED.search(text) or _answers_twice(text, everything, results)):
        return text.strip().strip("*").rstrip(".").strip()
    found = [each for each in everything if each.start >= start]
    return _with_surroundings(text, found, 0 if first else len(found) - 1, is_result=start > 0) if found else None


def _answers_twice(text: str, found: list[Found], results: re.Pattern[str]) -> bool:
    """Return whether the last two results are alternatives: "x = 8 or x = 9". What is computed on from the first result
    ("= 90 minutes or 90 / 60 = 1.5 hours"), or gives the same, is none."""
    *_, before, last = [None, None, *results.finditer(text)]
    if before is None or last is None:
        return False
    said = _OR_ANOTHER.fullmatch(text, before.end(), last.start())
    one, other = (next((each for each in found if each.start >= match.end()), None) for match in (before, last))
    if said is None or one is None or other is None or one.value is None or one.value == other.value:
        return False
    if re.match(r"\s?\\?%", text[other.end :]):
        return False
    return re.search(rf"(?<![\d.,]){re.escape(text[one.start : one.end])}(?![\d,]|\.\d)", said[1]) is None


def are_joined(text: str, left: Found, right: Found, *, is_result: bool = False) -> bool:
    """Return whether two neighbouring numbers belong together: "5 or 7", "3 + 2" or "3 more than 9". The last is not
    joined if it is the result of an equation ("9 - 6 = 3 more than 6")."""
    if right.start - left.end > 60:
        return False
    patterns = [_JOINED] if is_result else [_JOINED, _OPERATED]
    if not is_result and re.search(r"[/½⅓⅔¼¾]|frac", text[left.start : left.end]):
        patterns.append(_SHARE)
    return any(pattern.fullmatch(text, left.end, right.start) for pattern in patterns)


def _readable(text: str, *, words: bool = True) -> str:
    """Return a text with one thousands separator, with number words in digits and letters that scale money in words."""
    text = with_scales_in_words(SEPARATOR.sub(",", text))
    return in_digits(text) if words else text


def _counting(text: str) -> list[Found]:
    """Return the numbers of a text except the exponents of units (cm^2)."""
    return [found for found in numbers(text) if not _UNIT_POWER.search(text[max(0, found.start - 40) : found.start])]


def _counted(text: str) -> str:
    """Return a text with "one" for each lone 1 or 2, unless it is after a verb or at the end: it may be a pronoun. The
    whole part of a mixed number ("2 1/2") is none."""

    def kept(match: re.Match[str]) -> str:
        behind_verb = _VERB_BEFORE.search(text[max(0, match.start() - 60) : match.start()])
        return match[0] if behind_verb or not text[match.end() :].strip(" .!*") else "one"

    return re.sub(r"(?<![\d.,/])\b[12]\b(?![\d/,]|\.\d| \d+/\d)", kept, text)


def _of_clause(clause: str) -> str | None:
    """Return the number that a clause states: its result, else the number after its verb or after its opening."""
    if _RESULT.search(clause) and (result := number(clause, first=True, results=_RESULT)) is not None:
        return result
    found = _counting(clause)
    found = [each for each in found if not _ORDINAL.match(clause, each.end)]
    if not found:
        return None
    if not _BEGINS_WITH_WORDS.match(clause[: found[0].start]):
        return _with_surroundings(clause, found, 0)
    opening, comma = _OPENING.match(clause), re.search(r",\s", clause)
    if (adverb := _ADVERB.match(clause, 0, found[0].start + 1)) is not None:
        return _of_clause(clause[adverb.end() :])
    if opening and comma and any(each.start >= comma.end() for each in found):
        return _of_clause(clause[comma.end() :])
    behind_verb = (
        index for index, each in enumerate(found) if _VERB_BEFORE.search(clause[max(0, each.start - 60) : each.start])
    )
    first = next(behind_verb, None)
    if first is None:
        first = 0
        before = clause[: found[0].start]
        in_opening = (opening and _COUNT_WORDS.fullmatch(before, opening.end())) or _SUBJECT_COUNT.fullmatch(before)
        if in_opening and len(found) > 1 and not are_joined(clause, found[0], found[1]):
            first = 1
    return _with_surroundings(clause, found, first)


def _with_surroundings(text: str, found: list[Found], index: int, *, is_result: bool = False) -> str:
    """Return a number with the numbers joined to it, the words that change it and whatever belongs to it."""
    low = high = index
    while high + 1 < len(found) and are_joined(text, found[high], found[high + 1], is_result=is_result):
        high += 1
    while low > 0 and are_joined(text, found[low - 1], found[low], is_result=is_result):
        low -= 1
    begin, end = found[low].start, found[high].end
    if hedge := _HEDGED.search(text[max(0, begin - 60) : begin]):
        begin -= hedge.end() - hedge.start()
    if belonging := _BELONGING.match(text, end):
        end = belonging.end()
    said = text[begin:end].strip()
    # "$300K" is money, but no longer with what follows it here: "$300K$".
    in_formula = with_scales_in_words(said) != said and with_scales_in_words(text) == text
    return said.removeprefix("$") if in_formula else said
