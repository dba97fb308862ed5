r"""The boxes, ``\boxed{...}``, in which a text marks its answer."""

from __future__ import annotations

import re

from rollout.answers.numbers_and_options import untexted

MAX_BETWEEN = 100
_JOINT = re.compile(r"[\s$,;&]*(?:and|or|)[\s$,;&]*")


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last ``\boxed{...}`` with balanced braces.

    Boxes with only "and", "or" or a comma between them are one answer with several values: ``3 and -1``.
    """
    if not (found := _boxes(text)):
        return None
    start, end = found[-1]
    content = text[start:end].strip()
    for before, after in zip(reversed(found[:-1]), reversed(found), strict=False):
        if (joint := _joint(text, before[1], after[0])) is None:
            break
        content = f"{text[before[0] : before[1]].strip()}{joint}{content}"
    return content


def _joint(text: str, end: int, start: int) -> str | None:
    r"""Return " and ", " or " or ", " if nothing else stands between two boxes, as in ``, \quad \text{and} \quad``."""
    if not 0 < start - end < MAX_BETWEEN:
        return None
    between = re.sub(r"\\boxed\s{0,3}\{$", "", text[end + 1 : start])
    if "\n\n" in between:
        return None
    bare = untexted(re.sub(r"\\[()\[\]]|\\hspace\{[^{}]*\}|\\(?=&)", " ", between))
    if not _JOINT.fullmatch(bare):
        return None
    word = re.search(r"and|or", bare)
    return f" {word[0]} " if word else ", " if re.search(r"[,;&]", bare) else None


def _boxes(text: str) -> list[tuple[int, int]]:
    r"""Return start and end of the content of each balanced ``\boxed{}``, in one pass; escaped braces do not count."""
    boxes: list[tuple[int, int]] = []
    opened: list[int | None] = []
    for match in re.finditer(r"\\boxed\s{0,3}\{|\\[\\{}]|[{}]", text):
        if match[0] == "}" and opened:
            start = opened.pop()
            if start is not None and text[start : match.start()].strip():
                boxes.append((start, match.start()))
        elif match[0].endswith("{") and match[0] != "\\{":
            opened.append(match.end() if match[0].startswith("\\boxed") else None)
    return sorted(boxes)
