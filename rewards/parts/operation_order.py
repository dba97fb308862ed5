"""R3, order of operations: does the guided solution do the same arithmetic as the gold solution, in the same order?

o and ô are the arithmetic operations in order of appearance in the gold solution S and the guided solution Ŝ.
The part is 1 if neither side has an operation, 0 if only one side has, and absent without a gold solution. After
Juneja et al. (EMNLP 2023), reconstructed; ``authors_code`` compares 15 operator strings in the order of a fixed list,
as published.
"""

from __future__ import annotations

from collections.abc import Sequence

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import MAX_CHARS, TextResources
from rewards.parts.arithmetic_in_text import longest_common_subsequence, operations
from rewards.reward import Part
from rollout.records import Episode

AUTHORS_OPERATORS = ("+", "-", "*", "/", "^", "=", "<", ">", "sqrt", "sin", "cos", "tan", "log", "times", "frac")


def operation_order(gold: Sequence[str], guided: Sequence[str], mode: str) -> float:
    """Return the number of equal positions divided by m (paper), +-0.5 for each position of the shorter list
    (authors_code), or the longest common subsequence divided by the length of the longer list (bounded)."""
    if not gold and not guided:
        return 1.0
    if not gold or not guided:
        return 0.0
    same = [a == b for a, b in zip(gold, guided, strict=False)]
    if mode == "paper":
        return sum(same) / len(gold)
    if mode == "authors_code":
        return sum(0.5 if equal else -0.5 for equal in same)
    return longest_common_subsequence(gold, guided) / max(len(gold), len(guided))


def authors_operators(text: str) -> list[str]:
    """Return the operator strings that occur in a text, in the list's order, one entry per occurrence."""
    return [operator for operator in AUTHORS_OPERATORS for _ in range(text.count(operator))]


def sequences(episode: Episode, mode: str) -> tuple[list[str], list[str]] | None:
    """Return the gold and guided operations of an episode; None without a gold solution."""
    gold = episode.problem.solution
    if gold is None:
        return None
    read = authors_operators if mode == "authors_code" else operations
    return read(gold[:MAX_CHARS]), read(episode.final.text[:MAX_CHARS])


def score(episode: Episode, resources: TextResources, settings: Rewards) -> Part:
    """Return the part of one episode."""
    both = sequences(episode, settings.formulas)
    return Part(None if both is None else operation_order(*both, settings.formulas), None)
