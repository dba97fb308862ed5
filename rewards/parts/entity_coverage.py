"""R1, entity coverage: do the sub-questions mention what the question mentions?

N(x) is the set of distinct noun lemmas of x; N(Q') is over all sub-questions together. If Q has no noun, the
part is 1. After Juneja et al. (EMNLP 2023), reconstructed; ``authors_code`` is their published code.
Texts are read in lower case and with single spaces, so that case and spacing do not change what counts as a noun. In
``bounded`` the verbs of questions with "do" are not nouns, and a sub-question covers the nouns that it asks about; a
list of nouns covers nothing.
"""

from __future__ import annotations

from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources, plain
from rewards.reward import Part
from rollout.records import Episode
from rollout.turn_answer import asks


def entity_coverage(asked: frozenset[str], covered: frozenset[str], mode: str) -> float:
    """Return |N(Q')| / |N(Q)| (paper), 1 - |N(Q) ^ N(Q')| / |N(Q)| (authors_code) or |N(Q) & N(Q')| / |N(Q)|
    (bounded)."""
    if not asked:
        return 1.0
    if mode == "paper":
        return len(covered) / len(asked)
    if mode == "authors_code":
        return 1.0 - len(asked ^ covered) / len(asked)
    return len(asked & covered) / len(asked)


def nouns_of(episode: Episode, resources: TextResources, mode: str) -> tuple[frozenset[str], list[frozenset[str]]]:
    """Return the nouns of the question, and those that each sub-question covers."""
    texts = [episode.problem.question, *episode.subquestions]
    if mode != "bounded":
        asked, *each = resources.tagged_nouns([plain(text) for text in texts])
        return asked, each
    whole, *found = resources.read_nouns(texts)
    covered = [
        one.asked if asks(text) else frozenset[str]() for text, one in zip(episode.subquestions, found, strict=True)
    ]
    return whole.true, covered


def score(episode: Episode, resources: TextResources, settings: Rewards) -> Part:
    """Return the part. A sub-question's share is what it adds to the ones before it; the shares add up to the part."""
    mode = settings.formulas
    asked, each = nouns_of(episode, resources, mode)
    shares, covered, value = [], frozenset[str](), entity_coverage(asked, frozenset(), mode)
    for nouns in each:
        covered |= nouns
        before, value = value, entity_coverage(asked, covered, mode)
        shares.append(value - before)
    return Part(value, shares)
