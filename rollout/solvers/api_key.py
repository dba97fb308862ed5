"""The API key of a server: read from the environment, and removed from every text."""

from __future__ import annotations

import os
from urllib.parse import quote, quote_plus

from rollout.solvers.base import SolverMisconfigured

# No provider's key has so few characters.
SHORTEST_SECRET = 8


class ApiKey:
    """The key in an environment variable. Its ``value`` is empty if there is none.

    White space around the key is not part of it: a secret made with ``echo`` ends in a line break. A placeholder such
    as ``none``, for a server that needs no key, is not hidden: it is no secret, and replies may contain it.
    """

    def __init__(self, variable: str) -> None:
        self.variable = variable
        raw = os.environ.get(variable, "")
        self.value = raw.strip()
        self._forms = _forms(raw) if len(self.value) >= SHORTEST_SECRET else []

    def check(self) -> None:
        """Raise SolverMisconfigured if no HTTP header can hold the key; the message contains no part of it."""
        if not (self.value.isascii() and self.value.isprintable()):
            raise SolverMisconfigured(
                f"solver.api_key_env: the value of {self.variable} is no key, since it holds a line break, another "
                "control character or a letter outside ASCII (the value is not shown); allowed: one line as the "
                "provider gave it"
            )

    def hide(self, text: str) -> str:
        """Return the text without the key, whether written plainly or as errors, literals and URLs write it."""
        for form in self._forms:
            text = text.replace(form, "[key]")
        return text


def _forms(raw: str) -> list[str]:
    """Return the forms of a key in texts, longest first, so that replacing one leaves no part of another."""
    texts = {raw, raw.strip()}
    forms = set(texts)
    for text in texts:
        encoded = text.encode(errors="surrogateescape")
        forms |= {repr(text)[1:-1], repr(encoded)[2:-1], quote(encoded, safe=""), quote(encoded), quote_plus(encoded)}
    return sorted((form for form in forms if form.strip()), key=len, reverse=True)
