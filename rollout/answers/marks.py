"""The marks that set an answer apart from the text around it: tags, ``####`` and ``[[Answer: ...]]``."""

from __future__ import annotations

import re

from rollout.thinking import outside_thinking

_TAG = re.compile(r"<(/?)((?:final_?)?(?:answer|result|response|output)|final|conclusion)>", re.IGNORECASE)
_CLOSED = re.compile(r"</([A-Za-z][\w-]{0,20})>")
_BLOCKS = ("p", "div", "li", "ul", "ol", "tr", "td", "table", "h1", "h2", "h3", "h4", "step", "section")
_POWERS = {"<sup>": "^{", "</sup>": "}", "<sub>": "_{", "</sub>": "}"}
_BRACKETS = re.compile(r"\[\[\s{0,3}answer\s{0,3}:([^\]]{0,1000})\]\]", re.IGNORECASE)
_HASHES = re.compile(r"(?<!#)####(?!#)([^\n]*)")
# "1. Find the cost", "2 - Compare", "3.1 Add the parts", "a) Start", "(b) Go on", "IV. Check", "5 boxes:".
_HEADING = re.compile(
    r"\W*(?:\d{1,2}(?:\.\d{1,2}){0,3}(?:\\?[.):]|\s?[–—-](?=\s))[*_]{0,3}\s+[*_]{0,3}[^\W\d]"
    r"|\d{1,2}(?:\.\d{1,2}){0,3}\.?\s+[*_]{0,3}[A-Z][a-z]+\s+[a-z]"
    r"|\(?[A-Za-z][.):]\s*[*_]{0,3}\s*[^\W\d]{2}|\(?[IVXivx]{1,4}[.):]\s*[*_]{0,3}\s*[^\W\d]{2})|[^\n]*:[*_\s]*$"
)


def without_thinking(text: str) -> str:
    """Return what a model says after its thinking (``<think>...</think>``); nothing if it was cut off while it thought.

    A text that has no such tags comes back as it is. Unlike in a list of sub-questions, what stands before thinking is
    left out too.
    """
    begin, end = outside_thinking(text)[-1]
    if end < len(text):
        return ""
    return text[begin:].lstrip() if begin else text


def tagged(text: str) -> str | None:
    """Return the content of the last ``<answer>...</answer>`` (or final, result, ...) that says something.

    One that is not closed goes on to the end: a stop string takes the closing tag away.
    """
    content, opened = None, None
    for match in _TAG.finditer(text):
        if not match[1]:
            opened = match
        elif opened is not None and opened[2].lower() == match[2].lower():
            content, opened = _filled(text[opened.end() : match.start()]) or content, None
    return (opened is not None and _filled(text[opened.end() :])) or content


def _filled(content: str) -> str | None:
    return content.strip() if any(char.isalnum() for char in content) else None


def without_tags(text: str) -> str:
    """Return a text without the tags it closes (``<b>12</b>``); bold and powers keep their meaning."""
    names = {name.lower() for name in _CLOSED.findall(text)}
    if not names and "<br" not in text:
        return text

    def plain(match: re.Match[str]) -> str:
        tag, name = re.sub(r"\s", "", match[0].lower()), match[1].lower()
        if name == "br" or (name in _BLOCKS and name in names):
            return "\n"
        if name not in names:
            return match[0]
        return "**" if name in ("b", "strong") else _POWERS.get(tag, "")

    return re.sub(r"</?([A-Za-z][\w-]{0,20})\s?/?>", plain, text)


def bracketed(text: str) -> str | None:
    """Return the content of the last ``[[Answer: ...]]``."""
    found = _BRACKETS.findall(text)
    return found[-1].strip() if found else None


def hashed(text: str) -> tuple[str, bool] | None:
    """Return the last ``####`` line, and whether the text ends with it; None for a numbered heading, and for none."""
    lines = [(match[1].strip().strip("#").strip(), match.end()) for match in _HASHES.finditer(text)]
    if not lines or not any(char.isalnum() for char in lines[-1][0]):
        return None
    line, ends = lines[-1][0], not any(char.isalnum() for char in text[lines[-1][1] :])
    numbers = [line.strip("*_. )") for line, _ in lines]
    counted = len(lines) > 1 and numbers == [str(number) for number in range(1, len(lines) + 1)]
    return None if counted and not ends else (line, ends)


def is_heading(line: str) -> bool:
    """Return whether a ``####`` line is a numbered or lettered heading."""
    return _HEADING.match(line) is not None
