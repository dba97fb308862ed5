"""R1, entity coverage: do the sub-questions speak of what the question speaks of?

N(x) is the set of distinct noun lemmas of x; N(Q') is over all sub-questions together. With no noun in Q the
part is 1. After Juneja et al. (EMNLP 2023), reconstructed; ``authors_code`` as their published code computes.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewards.modes import Part
from rewards.text import TextResources
from rollout.records import Episode


def entity_coverage(asked: frozenset[str], covered: frozenset[str], mode: str) -> float:
    """|N(Q')| / |N(Q)| (paper), 1 - |N(Q) ^ N(Q')| / |N(Q)| (authors_code), |N(Q) & N(Q')| / |N(Q)| (bounded)."""
    if not asked:
        return 1.0
    if mode == "paper":
        return len(covered) / len(asked)
    if mode == "authors_code":
        return 1.0 - len(asked ^ covered) / len(asked)
    return len(asked & covered) / len(asked)


def score(episode: Episode, subquestions: Sequence[str], resources: TextResources, mode: str) -> Part:
    """The part and, a sub-question, what it newly covers (bounded mode; the shares add up to the part)."""
    asked, *each = resources.nouns([episode.problem.question, *subquestions])
    value = entity_coverage(asked, frozenset().union(*each), mode)
    shares, seen = [], frozenset[str]()
    for nouns in each:
        shares.append(len((nouns & asked) - seen) / len(asked) if asked else 0.0)
        seen |= nouns
    return Part(value, shares if mode == "bounded" else None)
