"""The thinking of a model, set in tags before what it says."""

from __future__ import annotations

import re

_TAG = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)


def outside_thinking(text: str) -> list[tuple[int, int]]:
    """Return the parts of a text that are no thinking (``<think>…</think>``). An opening tag may be missing, where the
    prompt ended with it, and a closing one, where the text was cut off."""
    parts: list[tuple[int, int]] = []
    begin, opened = 0, False
    for tag in _TAG.finditer(text):
        if not tag[1]:
            if not opened:
                parts.append((begin, tag.start()))
            opened = True
        else:
            if not opened:
                parts.clear()
            begin, opened = tag.end(), False
    return parts if opened else [*parts, (begin, len(text))]
