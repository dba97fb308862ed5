"""The key of a server's account: read from the environment, and taken out of every text."""

from __future__ import annotations

import os
from urllib.parse import quote, quote_plus

from rollout.solvers.base import SolverMisconfigured


class ApiKey:
    """The key in an environment variable. Its ``value`` is empty where there is none.

    White space around the key is no part of it: a secret made with ``echo`` ends in a line break.
    """

    def __init__(self, variable: str) -> None:
        self.variable = variable
        raw = os.environ.get(variable, "")
        self.value = raw.strip()
        self._forms = _forms(raw)

    def check(self) -> None:
        """Raise SolverMisconfigured, without any part of the key, if no HTTP header can hold it."""
        if not (self.value.isascii() and self.value.isprintable()):
            raise SolverMisconfigured(
                f"solver.api_key_env: the value of {self.variable} is no key, since it holds a line break, another "
                "control character or a letter outside ASCII (the value is not shown); allowed: one line as the "
                "provider gave it"
            )

    def hide(self, text: str) -> str:
        """Return the text without the key, as it is or as errors, literals and URLs write it."""
        for form in self._forms:
            text = text.replace(form, "[key]")
        return text


def _forms(raw: str) -> list[str]:
    """Return what stands for a key in texts, the longest first, so that none leaves a part of another."""
    texts = {raw, raw.strip()}
    forms = set(texts)
    for text in texts:
        encoded = text.encode(errors="surrogateescape")
        forms |= {repr(text)[1:-1], repr(encoded)[2:-1], quote(encoded, safe=""), quote(encoded), quote_plus(encoded)}
    return sorted((form for form in forms if form.strip()), key=len, reverse=True)
