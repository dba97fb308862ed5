"""The helper process of ``rewards.equivalence``: one JSON request a line in, one JSON reply a line out.

Run by path, so it imports nothing of the project. It keeps standard output for replies alone: whatever a library
prints goes to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys

MEMORY_BYTES = 4 << 30


def equal(gold: str, found: str) -> bool:
    """Whether math-verify finds the two LaTeX texts the same, gold first; what cannot be read equals nothing."""
    from math_verify import LatexExtractionConfig, parse, verify
    from sympy import nan, zoo

    sides = []
    for text in (gold, found):
        # The library's own time-outs use signals and would fire in the wrong place; the caller keeps the time.
        read = parse(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
        values = [value for value in read if not isinstance(value, str)]
        if not values or any(value.has(nan, zoo) for value in values):
            return False
        sides.append(values)
    return bool(verify(*sides, timeout_seconds=None))


def main() -> None:
    """Answer requests until standard input ends."""
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # A tower of powers must end in an error here, not take the machine's memory.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin:
        request = json.loads(line)
        # Should the caller die in the middle, nobody is left to end a computation that never ends.
        signal.alarm(request["seconds"])
        reply: dict[str, bool | str]
        try:
            reply = {"equal": equal(request["gold"], request["found"])}
        except Exception as error:  # noqa: BLE001 - sympy raises anything; the caller decides what it means
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        signal.alarm(0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
