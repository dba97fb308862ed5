"""One text that holds sub-questions, their answers and the final answer.

The control for keeping decomposer and solver apart. Whoever plays the solver writes it: the policy with
``policy.plays=both``, in one call.
"""

from __future__ import annotations

from rollout.strategies.exchange import Exchange


async def run(exchange: Exchange) -> None:
    """Run one episode; nobody is asked for anything else."""
    await exchange.whole()
