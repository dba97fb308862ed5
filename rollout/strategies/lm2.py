"""Attempt, concepts, then sub-question by sub-question: answered, judged, written again where the verdict refuses it.

After Juneja et al. (LM2, arXiv 2404.02255), section 3: the decomposer writes what concepts the question needs, then one
sub-question at a time with the answers so far in view; the solver answers it, the verifier judges the reply. The paper
states no stop: here it is the decomposer's own end mark, or ``strategy.max_subquestions``. Ablations are
``verifier=none`` and ``strategy.concepts=false``.
"""

from __future__ import annotations

from rollout.strategies.dialogue import Dialogue
from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Run one episode."""
    episode, decomposer = exchange.episode, Dialogue(exchange)
    episode.initial = await exchange.solve()
    episode.concepts = await decomposer.concepts()
    while (question := await decomposer.next_subquestion()) is not None:
        # Asked the same again, a greedy solver would repeat itself: its next reply is drawn.
        turn = await exchange.answer(question, episode.turns, sample=decomposer.times_refused(question))
        if decomposer.must_be_rewritten(turn):
            decomposer.refuse(turn)
        else:
            decomposer.accept(turn)
    episode.final = await exchange.solve()
