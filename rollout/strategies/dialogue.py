"""A decomposer that writes one text after another: the concepts, then sub-question by sub-question.

Its prompt is the ``next`` template with what it wrote so far, as it wrote it, and the answers. Where it reads plain
text, each prompt begins with the prompt and the completion before it. A sub-question that is to be written again stands
in the prompt, with its verdict, until another has taken its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rollout.answers.marks import without_thinking
from rollout.episode.contracts import Reply, Written
from rollout.episode.parse_decomposition import parse_next
from rollout.records import Decomposition, Turn
from rollout.strategies.exchange import Exchange


class Dialogue:
    """The decomposer's side of an iterative episode, after the solver's attempt. One that has all its sub-questions
    beforehand hands them out one by one, and writes nothing else."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._episode = exchange, exchange.episode
        self._concepts: Written | None = None
        self._pairs: list[tuple[Written, Turn]] = []
        self._refused: list[tuple[Written, Turn]] = []
        self._last = Written("")
        self._given: Iterator[str] | None = None

    async def concepts(self) -> str | None:
        """Return the concepts that the question needs, on one line; None where nobody is to write them."""
        exchange = self._exchange
        if not (exchange.settings.concepts and exchange.writes):
            return None
        reply = await exchange.write(exchange.prompts.concepts(exchange.problem, self._attempt()), "concepts")
        if reply is None:
            return None
        self._concepts = _as_written(reply)
        return " ".join(without_thinking(reply.text).split())

    async def next_subquestion(self) -> str | None:
        """Return the next sub-question; None where the decomposer ends the list, or something else does, which the
        episode says."""
        exchange, episode, settings = self._exchange, self._episode, self._exchange.settings
        if not exchange.writes:
            return await self._next_given()
        if episode.decomposition is None:
            episode.decomposition = Decomposition("", [])
        decomposition = episode.decomposition
        if decomposition.invalid is not None:
            return None
        if len(episode.turns) == settings.max_subquestions:
            episode.note = f"no more than {settings.max_subquestions} sub-questions (strategy.max_subquestions)"
            return None
        reply = await exchange.write(
            exchange.prompts.next(exchange.problem, self._attempt(), self._concepts, self._pairs, self._refused), "next"
        )
        if reply is None:
            decomposition.invalid = "prompt_too_long"
            return None
        decomposition.text += reply.text.rstrip("\n") + "\n"
        parsed = parse_next(reply.text, settings, truncated=reply.truncated or reply.cut)
        decomposition.invalid = parsed.invalid
        if not parsed.subquestions:
            return None
        self._last = _as_written(reply)
        decomposition.subquestions.append(parsed.subquestions[0])  # whether or not it will be answered
        return parsed.subquestions[0]

    def times_refused(self, question: str) -> int:
        """Return how many replies to this very sub-question were refused since the last that was accepted."""
        return sum(turn.question == question for _, turn in self._refused)

    def must_be_rewritten(self, turn: Turn) -> bool:
        """Return whether the verdict refuses the sub-question, and the decomposer may write it again."""
        settings = self._exchange.settings
        again = len(self._refused) < settings.retries and self._exchange.writes
        return again and not set(settings.rewrite_on).isdisjoint(turn.verdicts)

    def refuse(self, turn: Turn) -> None:
        """Have the sub-question written again."""
        if self._episode.decomposition is not None:
            self._episode.decomposition.subquestions.pop()
            self._episode.decomposition.invalid = None  # whatever was wrong with it is gone too
        self._exchange.refuse(turn)
        self._refused.append((self._last, turn))

    def accept(self, turn: Turn) -> None:
        """Take a sub-question and its answer up into what everybody has in view."""
        self._episode.turns.append(turn)
        self._pairs.append((self._last, replace(turn, text=without_thinking(turn.text))))
        self._refused.clear()

    def _attempt(self) -> str:
        return without_thinking(self._episode.initial.text) if self._episode.initial else ""

    async def _next_given(self) -> str | None:
        if self._given is None:
            self._given = iter(await self._exchange.decompose(self._attempt()))
        return next(self._given, None)


def _as_written(reply: Reply) -> Written:
    """Return a reply as a piece of a later prompt: as the policy wrote it, or without a frozen model's thinking."""
    return reply.written or Written(without_thinking(reply.text))
