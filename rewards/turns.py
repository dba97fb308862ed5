"""Find the replies to an episode's sub-questions, and the sub-questions that only repeat earlier ones."""

from __future__ import annotations

from decimal import Decimal

from rewards.nouns_and_vectors import word_key
from rollout.answers.mark import verdict
from rollout.records import Episode, Turn
from rollout.turn_answer import number_of


def turns_of(episode: Episode) -> list[Turn | None]:
    """Return each sub-question's turn; None if it was not answered."""
    waiting: dict[str, list[Turn]] = {}
    for turn in reversed(episode.turns):
        waiting.setdefault(turn.question, []).append(turn)
    return [waiting[question].pop() if waiting.get(question) else None for question in episode.subquestions]


def repeated(episode: Episode) -> set[int]:
    """Return the indices of the sub-questions that repeat an earlier one's words, regardless of case and punctuation.

    A sub-question that gets a new answer is not a repeat: people ask again when a solution returns to a quantity. $8
    and 8 are the same answer, and so are yes and true.
    """
    found: set[int] = set()
    answers: dict[tuple[str, ...], list[Decimal | str | None]] = {}
    for index, (question, turn) in enumerate(zip(episode.subquestions, turns_of(episode), strict=True)):
        before = answers.setdefault(word_key(question), [])
        answer = _key(turn.answer) if turn and turn.answer is not None else None
        if before and (answer is None or answer in before):
            found.add(index)
        before.append(answer)
    return found


def _key(answer: str) -> Decimal | str:
    """Return what is equal for two ways to write one answer."""
    number, decided = number_of(answer), verdict(answer)
    return number if number is not None else answer.strip().lower() if decided is None else str(decided)
