"""The content words of a text, and how far the content words of two texts agree."""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache

from rewards.nouns_and_vectors import MAX_CHARS
from rollout.words import words

_COMMON = frozenset((
    "a", "about", "above", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "because", "been", "before", "being", "below", "between", "both", "but", "by", "can", "could", "did", "do",
    "does", "doing", "down", "during", "each", "either", "else", "few", "for", "from", "further", "had", "has",
    "have", "having", "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its",
    "itself", "just", "let", "many", "may", "me", "might", "more", "most", "much", "must", "my", "no", "nor", "not",
    "now", "of", "off", "on", "once", "only", "or", "other", "our", "out", "over", "own", "per", "please", "shall",
    "she", "should", "so", "some", "still", "such", "than", "that", "the", "their", "theirs", "them", "then",
    "there", "these", "they", "this", "those", "through", "to", "too", "under", "until", "up", "us", "very", "was",
    "we", "were", "what", "when", "where", "whether", "which", "while", "who", "whom", "whose", "why", "will",
    "with", "would", "yes", "you", "your", "question", "answer", "tell", "find", "total", "altogether",
))  # fmt: skip


@lru_cache(maxsize=2_000)
def content(text: str) -> frozenset[str]:
    """Return the stems of a text's content words: numbers, and all words that are not common ones."""
    return frozenset(
        _stem(word) for word in words(text[:MAX_CHARS]) if (word not in _COMMON and len(word) > 1) or word.isdigit()
    )


def _stem(word: str) -> str:
    """Return a word without the ending of a plural or a verb, roughly."""
    for ending in ("ing", "ies", "ied", "es", "ed", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) > 2:
            return word[: -len(ending)]
    return word


def shared(part: Set[str], whole: Set[str]) -> float:
    """Return the share of ``part`` that is in ``whole``; 0 if ``part`` is empty."""
    return len(part & whole) / len(part) if part else 0.0


def agreement(left: Set[str], right: Set[str]) -> float:
    """Return Dice's coefficient of two sets; 0 if both are empty."""
    return 2 * len(left & right) / (len(left) + len(right)) if left or right else 0.0
