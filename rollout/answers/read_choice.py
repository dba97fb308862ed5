"""The rules for reading options: by letter or by text, one or several, but never one that is denied."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from rollout.answers.number_words import in_digits
from rollout.answers.numbers_and_options import EQUALS, named_by_value, numbers, option_text, parse_number
from rollout.answers.read_number import are_joined, number
from rollout.answers.statements import first_sentence

# Words before the answer's letter that leave it as it is: "most likely D", 'the option "B"'.
_LEAD = re.compile(
    r"(?:[\s*_:$\"'“”‘’«»`,]|\b(?:most|very|almost|quite|likely|probably|clearly|definitely|certainly|obviously"
    r"|therefore|thus|then|hence|simply|actually|indeed|just|surely|presumably|possibly|again|of course|both|that"
    r"|it is|it's|options?|choices?|answers?|letters?|statements?|the|correct|right|best|still|either|only"
    r"|i (?:think|believe|guess|would say)|that it is)\b){0,24}",
    re.IGNORECASE,
)
_ONE = re.compile(
    r"[(\[]\s?([A-Ja-j])\s?[)\]]|([A-J]{1,6})(?![\w?]|['’]\w|\s?[=+^]|\s?\*(?=\s?\w)|\s?/(?!\s?[A-J]\b)"
    r"|\s?-\s?\w*\d)[)\]]?"
)
_BETWEEN = re.compile(
    r"[\s*_\"'“”.\])]{0,4}(?:(?:,\s?)?(?:and|or|as well as|along with|plus)\b|[,;&/+]|(?=\s?[(\[])|\s(?=[A-J]\))"
    r"|\s(?=(?:[A-J]\s){0,9}[A-J]\W*$)|\n[ \t*•-]{0,4}(?:\d{1,2}[.)]\s)?)[\s*_\"'“”(\[]{0,4}(?:(?:and|or"
    r"|also)\s)?(?:(?:the\s)?(?:option|choice|statement|letter)s?\s)?[\s*_\"'“”]{0,3}",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|never|cannot|neither|none|nor|except|doubt(?:s|ful)?|unlike|but not|rather than|instead of"
    r"|other than|without|eliminat(?:e[sd]?|ing)|rul(?:e[sd]?|ing) out|exclud(?:e[sd]?|ing)|discard(?:s|ed|ing)?"
    r"|reject(?:s|ed|ing)?|dismiss(?:es|ed|ing)?|cross(?:es|ed|ing)? out)"
    r"|n['’]t)(?:\s(?:that|if|it is|it was|it's))*(?:\s(?:think|believe|say|suppose|feel|choose|pick|select|expect"
    r"|agree)(?:\s(?:that|with))?(?:\s(?:it|the answer|this|that|the correct answer|the right answer)(?:'s"
    r"|\s(?:is|was|can be|could be|would be|should be)))?)?(?:\s(?:be|the|an?|options?|choices?|answers?|either"
    r"|equal|to|correct|right|have been|necessarily|of|both|letter|any|out)){0,5}[\s:*\"'“”(]{0,4}$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\s*_)\]\"'“”,]{0,4}(?:(?:is|are|was|were|can|could|would|should|must|does|do|did|has|have|will|seems?"
    r"|looks?)(?:\s(?:be|been|to be|clearly|also|definitely|therefore|thus|both|all|obviously|probably|most likely"
    r"|simply|just|an?|the))*(?:n['’]t\b|\s(?:not|never|wrong|incorrect|false|untrue|invalid|impossible|unlikely"
    r"|out|too|ruled out|eliminated|excluded|rejected|discarded|dismissed)\b)|(?:fails?|cannot)\b)",
    re.IGNORECASE,
)
_OPTION = re.compile(
    r"(?i:\b(?:options?|choices?|alternatives?))[\s:*\"“]{0,3}\(?([A-J])\b|(?<!\w)[(\[]([A-Ja-j])[)\]]"
    r"|(?:^|(?i:\b(?:is|be|it's|so|thus|hence|therefore)[\s:,]{1,3}))[*\"“]{0,3}([A-J])\)"
    r"|\b([A-J])\)? (?i:is|must be|would be|seems|looks) (?i:the )?(?i:most likely (?!\W*$)|probably )?(?i:correct"
    r"|right|best|answer|choice|option|true|one|most likely)\b|\b([A-J]) (?i:remains|is left)\b"
    r"|(?i:choose|pick|select|opt for|go(?:ing)? (?:with|for))[\s:*\"“]{1,3}\(?([A-J])(?!\w)"
    r"|(?i:so|thus|hence|therefore|gives(?: us)?|it is|it's|it must be|leaving(?: only)?|left with(?: only)?"
    r"|leaves(?: us with| only)?|odd one out is|=>|->|imo)[\s,:*\"“-]{1,5}([A-J])[\s.*\"”]*$"
)
_ODD_ONE_OUT = re.compile(r"\b(?:except|unlike|other than)\b", re.IGNORECASE)
_VALUE_TAKEN_BACK = re.compile(
    r"\W{0,3}(?:is|was|are|would be|can be|could be|must be"
    r"|has to be)(?: (?:wrong|incorrect|false|ruled out|excluded|eliminated)"
    r"|(?:n['’]t| not) (?:the )?(?:correct|right|answer))\b",
    re.IGNORECASE,
)
# A conclusion that is nothing but its option: "So it is (B)."
_CONCLUSION = re.compile(
    r"\W*(?i:so|thus|therefore|hence|then|finally|overall"
    r"|in conclusion)[\s,:]{1,3}(?i:(?:the|my) (?:answer|choice) is |it is |it's |it must be |i choose "
    r"|i would choose )?(?i:(?:the )?(?:option|choice|letter) )?[*\"“(\[]{0,3}([A-J])[)\]*\"”]{0,3}(?=[.,:;!]|\s*$)"
)


class Named(NamedTuple):
    """Options named one after another, as written, and the position where the list ends."""

    letters: list[str]
    text: str
    end: int


def named_options(text: str, at: int, letters: dict[str, str]) -> Named | None:
    """Return the options that a text names from a position onwards: "(A) stone, (C) brick", "A and C", "[A, C]"."""
    found: list[str] = []
    start, end = at, at
    has_texts, denied = False, _DENIED_BEFORE.search(text[max(0, at - 80) : at]) is not None
    while (one := _ONE.match(text, at)) and not _is_word(text, one, letters):
        if found and not denied and _goes_on(text, one, letters):
            break
        found += [letter.upper() for letter in one[1] or one[2]]
        at = end = one.end()
        own = _own_text(text, at, letters.get(found[-1], ""))
        if own > at:
            at, has_texts = own, True
        between = _BETWEEN.match(text, at)
        if between is None:
            break
        at = between.end()
    if not found:
        return None
    written = text[start:end].strip()
    if has_texts or "\n" in written:
        written = (" or " if re.search(r"\bor\b", written) else ", ").join(found)
    return Named(found, written, end)


def _is_word(text: str, one: re.Match[str], letters: dict[str, str]) -> bool:
    """Return whether what looks like a letter is the article "A" or the pronoun "I"."""
    if one[0] not in ("A", "I"):
        return False
    follows = re.match(r"\s(?!and\b|or\b|is\b|nor\b|are\b|because\b|since\b|as\b)[a-z]", text[one.end() :])
    return follows is not None and _own_text(text, one.end(), letters.get(one[0], "")) == one.end()


def _goes_on(text: str, one: re.Match[str], letters: dict[str, str]) -> bool:
    """Return whether a later letter begins a sentence of its own ("A, and B is too small")."""
    after = text[_own_text(text, one.end(), letters.get((one[1] or one[2])[-1].upper(), "")) :]
    return re.match(r"[\s*]{0,3}(?:is|was|has|does|gives|leads)\b", after) is not None


def _own_text(text: str, at: int, value: str) -> int:
    """Return the end of an option's own text after its letter; the same position if that text does not follow."""
    gap = re.compile(r"[\s.:),*\"'–—-]{0,5}").match(text, at)
    start = gap.end() if gap else at
    value = value.strip()
    if (
        value
        and text[start : start + len(value)].lower() == value.lower()
        and not text[start + len(value) :][:1].isalnum()
    ):
        return start + len(value)
    return at


def is_denied(text: str, start: int, end: int, letters: dict[str, str], named: str = "") -> bool:
    """Return whether a text denies the option that it names between two positions: "not D", "C is incorrect"."""
    if named in letters:
        end = _own_text(text, end, letters[named])
    return bool(_DENIED_BEFORE.search(text[max(0, start - 80) : start]) or _DENIED_AFTER.match(text[end : end + 80]))


def _value_is_denied(text: str, start: int, end: int) -> bool:
    """Return whether a text says that an option's value is not the answer. "Except 54" and "54 is not divisible" do not
    say so: they may name the odd one out."""
    before, after = text[max(0, start - 80) : start], text[end : end + 80]
    if _DENIED_BEFORE.search(before) and not _ODD_ONE_OUT.search(before):
        return True
    return _VALUE_TAKEN_BACK.match(after) is not None


def stated_choice(text: str, letters: dict[str, str]) -> str | None:
    """Return the option that is stated as the answer; several are returned together and equal no option."""
    lead = _LEAD.match(text)
    at = lead.end() if lead else 0
    if (run := named_options(text, at, letters)) and not is_denied(text, at, run.end, letters, run.letters[-1]):
        if len(set(run.letters)) > 1:
            return run.text
        return _with_value(run.text, first_sentence(text[run.end :]), letters)
    sentence = first_sentence(text)
    if found := _last_option(sentence, letters):
        return found
    if letters:
        return option_of(sentence, letters, first=True)
    return number(sentence, first=True) or sentence.strip().strip("*").rstrip(".").strip()


def stated_choices(text: str, letters: dict[str, str]) -> str | None:
    """Return the options that are stated as the answers: as written or, if their texts follow, as letters."""
    lead = _LEAD.match(text)
    at = lead.end() if lead else 0
    run = named_options(text, at, letters)
    return None if run is None or is_denied(text, at, run.end, letters, run.letters[-1]) else run.text


def names_options(line: str, letters: dict[str, str]) -> bool:
    """Return whether a line contains only options: letters, with or without their texts, or one option's text."""
    line = line.strip("*_ .")
    run = named_options(line, 0, letters)
    if run is None:
        return bool(named_by_value(line, letters))
    rest = line[_own_text(line, run.end, letters.get(run.letters[-1], "")) :].strip(" .:)]*")
    return not rest or bool(named_by_value(rest, letters))


def ending_choices(said: list[str], letters: dict[str, str]) -> str | None:
    """Return the last options that the sentences name and do not deny; options on separate lines are one answer."""
    lines = _option_lines(said, letters)
    if len(lines) > 1:
        return ", ".join(lines)
    for sentence in reversed(said):
        found, at = None, 0
        while at < len(sentence):
            lead = re.compile(r"(?<![A-Za-z\d])(?=[(\[A-J])").search(sentence, at)
            if lead is None:
                break
            run = named_options(sentence, lead.end(), letters)
            if run is None:
                at = lead.end() + 1
                continue
            if not is_denied(sentence, lead.end(), run.end, letters, run.letters[-1]):
                found = run.text
            at = run.end
        if found:
            return found
    return None


def _option_lines(said: list[str], letters: dict[str, str]) -> list[str]:
    """Return the letters of the last sentences that are one option each: "(A) stone"."""
    found: list[str] = []
    for sentence in reversed(said):
        line = re.sub(r"^(?:[-*•\s]{1,4}|\d{1,2}[.)]\s)", "", sentence)
        run = named_options(line, 0, letters)
        if run is None or len(run.letters) > 1 or is_denied(line, 0, run.end, letters, run.letters[0]):
            break
        if line[_own_text(line, run.end, letters.get(run.letters[0], "")) :].strip(" .*)"):
            break
        found.insert(0, run.letters[0])
    return found


def concluded_choice(sentence: str) -> str | None:
    """Return the option of a sentence that only concludes it, such as "So it is (B)."."""
    found = _CONCLUSION.match(sentence)
    return found[1] if found and not is_denied(sentence, found.start(1), found.end(1), {}) else None


def ending_choice(sentences: list[str], letters: dict[str, str]) -> tuple[str | None, str]:
    """Return the option that the last sentence names, and the rule that found it."""
    last = sentences[-1]
    if found := _last_option(last, letters):
        return found, "option"
    lead = _LEAD.match(last)
    alone = re.compile(r"\W{0,3}([A-J])(?:\W*$|[.:,]\s)").match(last, lead.end() if lead else 0)
    if alone and not is_denied(last, alone.start(1), alone.end(1), letters, alone[1]):
        return _with_value(alone[1], last[alone.end() :], letters), "letter"
    if (first := _first_line_option(sentences, letters)) is not None:
        return first, "letter"
    if letters and (value := option_of(last, letters, first=False)):
        return value, "value"
    mentioned = _mentioned(last, letters)
    return (mentioned.pop(), "mention") if len(mentioned) == 1 else (None, "none")


def _first_line_option(sentences: list[str], letters: dict[str, str]) -> str | None:
    """Return the option that a text begins with, as a letter with or without its text, if reasons follow; None for a
    list of the options."""
    if len(sentences) < 2 or not re.match(r"\W{0,3}[A-J]\b", sentences[0]):
        return None
    begins = [names_options(sentence, letters) for sentence in sentences[:2]]
    return stated_choice(sentences[0], letters) if begins == [True, False] else None


def _last_option(sentence: str, letters: dict[str, str]) -> str | None:
    """Return the last option that a sentence names by letter and does not deny; joined options come together."""
    for match in reversed(list(_OPTION.finditer(sentence))):
        group = next(index for index, letter in enumerate(match.groups(), 1) if letter)
        letter, start, end = match[group].upper(), match.start(group), match.end()
        if is_denied(sentence, match.start(), end, letters, letter) or is_denied(sentence, start, end, letters, letter):
            continue
        run = named_options(sentence, start, letters)
        if run and len(set(run.letters)) > 1:
            return run.text
        before = named_before(sentence, start, letters)
        return f"{before}, {letter}" if before else _with_value(letter, sentence[end:], letters)
    return None


def named_before(sentence: str, end: int, letters: dict[str, str]) -> str | None:
    """Return the option that a letter at ``end`` is joined to ("(A) or (B)"); None if it stands alone."""
    for one in _ONE.finditer(sentence, max(0, end - 60), end):
        run = named_options(sentence, one.start(), letters)
        if run and len(set(run.letters)) > 1 and run.end >= end and not _is_word(sentence, one, letters):
            denied = is_denied(sentence, one.start(), run.end, letters, run.letters[-1])
            return None if denied else ", ".join(run.letters[:-1])
    return None


def option_of(sentence: str, letters: dict[str, str], *, first: bool) -> str | None:
    """Return the letter of the option whose value is a sentence, its part after the last equals sign or its number."""
    tail = EQUALS.split(sentence)[-1]
    stated = number(sentence, first=first or tail != sentence)
    for value in (sentence, re.sub(_LEAD, "", sentence, count=1), tail, stated):
        if value and (named := named_by_value(value, letters)):
            return min(named)
    return None


# A dash that is no minus sign, and what a value begins with.
_LEADING_DASH = re.compile(r"-+(?![\d.$\\])[\s*$]*")
_VALUE = re.compile(r"[-−+]?\$?(?:\.?\d|\\)")


def _with_value(letter: str, after: str, letters: dict[str, str]) -> str:
    """Return an option's letter, together with the text after it if that is another option's value, and not the
    option's own or a reason in which a number stands."""
    if _own_text(after, 0, letters.get(letter.strip("()[] ").upper(), "")):
        return letter
    after = _LEADING_DASH.sub("", after.strip(" ).:,*$\"'”\n"))
    wanted = option_text(after).lower()
    if not _VALUE.match(after) and all(option_text(one).lower() != wanted for one in letters.values()):
        return letter
    value = named_by_value(after, letters)
    return f"{letter}) {after}" if value and letter.strip("()[] ").upper() not in value else letter


def _mentioned(sentence: str, letters: dict[str, str]) -> set[str]:
    """Return the options in a sentence that are not denied, by their words or as a number that stands alone."""
    found = numbers(sentence)
    joined = {each.start for pair in pairwise(found) if are_joined(sentence, *pair) for each in pair}
    alone = {
        each.value
        for each in found
        if each.start not in joined and not _value_is_denied(sentence, each.start, each.end)
    }
    mentioned = set()
    for letter, value in letters.items():
        worth = parse_number(value)
        by_words = len(value) > 1 and (worth is None or in_digits(value) != value) and _has_words(sentence, value)
        if by_words or (worth is not None and worth in alone):
            mentioned.add(letter)
    return mentioned


def _has_words(sentence: str, words: str) -> bool:
    found = re.finditer(rf"(?<!\w){re.escape(words.strip())}(?!\w)", sentence, re.IGNORECASE)
    return any(not _value_is_denied(sentence, match.start(), match.end()) for match in found)
