"""Sub-questions that refer to earlier ones as ``#k``, the k-th that was written, and are answered as soon as those are.

The notation is that of StrategyQA's human decompositions (Geva et al., TACL 2021, arXiv 2101.02235). What is put to
the solver has the answers in place of the references, and in view the turns referred to. A sub-question that
refers to itself, to a later one or to one that is not there leaves no order to rely on: then all are answered in
sequence as in ``daslam``, and the episode's note says so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from rollout.answers.marks import without_thinking
from rollout.episode.parse_decomposition import _REFERENCE, number_of, references
from rollout.records import Turn
from rollout.strategies.exchange import Exchange
from rollout.turn_answer import turn_answer


async def run(exchange: Exchange) -> None:
    """Run one episode."""
    episode = exchange.episode
    episode.initial = await exchange.solve()
    questions = await exchange.decompose(episode.initial.text)
    episode.note = out_of_order(questions, episode.numbers)
    if episode.note is None:
        await _by_dependency(exchange, questions)
    else:
        for question in questions:
            asked = with_answers(question, episode.turns, exchange.problem.answer_type, episode.numbers)
            episode.turns.append(await exchange.answer(question, episode.turns, asked))
    episode.final = await exchange.solve()


async def _by_dependency(exchange: Exchange, questions: Sequence[str]) -> None:
    """Answer each sub-question as soon as those it refers to are answered."""
    numbers, turns = exchange.episode.numbers, list[Turn | None]([None] * len(questions))
    answered = [asyncio.Event() for _ in questions]

    async def answer(index: int) -> Turn:
        needed = references(questions[index], numbers)
        for number in needed:
            await answered[number - 1].wait()
        in_view = [turn for number, turn in enumerate(turns, 1) if turn is not None and number in needed]
        asked = with_answers(questions[index], turns, exchange.problem.answer_type, numbers)
        turn = turns[index] = await exchange.answer(questions[index], in_view, asked)
        answered[index].set()
        return turn

    await exchange.answer_at_once([answer(index) for index in range(len(questions))])


def out_of_order(questions: Sequence[str], numbers: Sequence[int | None] = ()) -> str | None:
    """Say what is wrong with the references; return None if every one is to an earlier sub-question."""
    for number, question in enumerate(questions, 1):
        if wrong := [written for written in references(question) if number_of(written, numbers) >= number]:
            return f"answered in sequence: sub-question {number} refers to #{min(wrong)}, which is not before it"
    return None


def with_answers(
    question: str, turns: Sequence[Turn | None], answer_type: str, numbers: Sequence[int | None] = ()
) -> str | None:
    """Return the sub-question with answers in place of its references; None where that changes nothing.

    An answer is what the reply gives of the kind that its sub-question asks for: a number, yes or no, or its stated
    answer or last line. Where the sub-question tells no kind, the problem's ``answer_type`` does. A reference without
    an answer stays as written.
    """

    def value(match: re.Match[str]) -> str:
        turn = next(iter(turns[number_of(int(match[1]), numbers) - 1 :]), None)
        read = (turn_answer(turn, answer_type) or without_thinking(turn.text)) if turn else ""
        return " ".join(read.split()) or match[0]

    asked = _REFERENCE.sub(value, question)
    return None if asked == question else asked
