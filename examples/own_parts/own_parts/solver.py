"""A solver of one's own: the rules for the embedded task, which now and then do not know."""

from __future__ import annotations

import hashlib
from typing import Any

from rollout.episode.contracts import Reply
from rollout.solvers.base import Backend
from rollout.solvers.program import CANNOT_TELL, answer


class Forgetful(Backend):
    """Answers one prompt in ``options.forgets`` with "I cannot tell."; which ones is fixed by their text."""

    @property
    def identity(self) -> dict[str, Any]:
        """The identity that tells its replies from another solver's, for the cache."""
        return {"backend": "forgetful", "options": self.settings.options}

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt."""
        digest = hashlib.sha256(f"{sample} {prompt}".encode()).digest()
        forgotten = int.from_bytes(digest[:4], "big") % self.settings.options["forgets"] == 0
        text = CANNOT_TELL if forgotten else answer(prompt)
        reply = Reply(text, tokens=len(text.split()), prompt_tokens=len(prompt.split()))
        self.usage.count(reply)
        return reply
