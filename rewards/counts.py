"""Counts of an episode that no reward depends on: who wrote how much, and what the verifier said."""

from __future__ import annotations

from rollout.records import Episode


def counts(episode: Episode) -> dict[str, float]:
    """Return an episode's counts by name: ``tokens/ROLE`` that the decomposer and the verifier wrote, ``rewritten``
    sub-questions, ``judged`` replies, and ``verdict/CLASS`` for how many of them each class was named."""
    judged = [turn.verdicts for turn in (*episode.turns, *episode.refused) if turn.verdicts]
    found = {"tokens/decomposer": episode.decomposer_tokens, "tokens/verifier": episode.verifier_tokens}
    found |= {"rewritten": len(episode.refused), "judged": len(judged)}
    for name in dict.fromkeys(name for verdicts in judged for name in verdicts):
        found[f"verdict/{name}"] = sum(name in verdicts for verdicts in judged)
    return {name: float(count) for name, count in found.items() if count}
