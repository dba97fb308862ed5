"""Draws as votes: which answers are the same, which has the majority, and the gate that looks at nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from rollout.answers.extract import parse_number
from rollout.records import NUMERIC_TYPES, Attempt
from rollout.strategies.exchange import Exchange, together

_BARE_NUMBER = re.compile(r"[\d\s.,/+−$%-]+")


def answer_key(answer: str | None, answer_type: str) -> Decimal | str | None:
    """Return what equal answers have in common: the number if one is stated, else the text in lower case; or None.

    Outside the numeric answer types a text counts as a number only if it is nothing else: ``x + 2`` is not 2.
    """
    if answer is None or not answer.strip():
        return None
    number = parse_number(answer) if answer_type in NUMERIC_TYPES or _BARE_NUMBER.fullmatch(answer) else None
    return answer.strip().lower() if number is None else number


def majority(draws: Sequence[Attempt], answer_type: str) -> Attempt:
    """Return the earliest draw of the most frequent answer, of ties that of the one given first. Draws without an
    answer have no vote; where none has one it is the first."""
    keys = [answer_key(draw.answer, answer_type) for draw in draws]
    votes = Counter(key for key in keys if key is not None)
    chosen = max(votes, key=lambda key: votes[key], default=None)  # of equal counts the one counted first
    return replace(draws[keys.index(chosen)])


def agree(draws: Sequence[Attempt], answer_type: str) -> bool:
    """Return whether every draw has an answer and all are the same."""
    keys = {answer_key(draw.answer, answer_type) for draw in draws}
    return len(keys) == 1 and None not in keys


async def gate_closed(exchange: Exchange) -> bool:
    """Return whether the solver's own draws agree, so that their majority has answered the question and nothing is left
    to be done. Never with ``gate: always``, which draws nothing; the gold answer is not looked at."""
    settings, episode = exchange.settings, exchange.episode
    if settings.gate == "always":
        return False
    await together([exchange.draw(sample) for sample in range(1, settings.gate_samples + 1)], episode.draws)
    closed = agree(episode.draws, episode.problem.answer_type)
    episode.gate = "closed" if closed else "open"
    if closed:
        episode.final = majority(episode.draws, episode.problem.answer_type)
        episode.initial = replace(episode.final)
    return closed
