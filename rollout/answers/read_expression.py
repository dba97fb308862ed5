"""The expression that a text states or ends in."""

from __future__ import annotations

import re

from rollout.answers.formulas import hide_formulas, sentence_value, stated_value
from rollout.answers.statements import asks, first_sentence, sentences, without_bullet

# A last remark after the sentence with the answer.
_REMARK = re.compile(
    r"\b(?:hope|helps?|let me know|questions?|done|verified|thanks?|(?:this|that|which) is)\b", re.IGNORECASE
)
_DENIAL = re.compile(r"\b(?:not|no|never|wrong|incorrect|mistake|false|wait)\b|n't\b", re.IGNORECASE)


def stated_expression(text: str) -> str | None:
    """Return the formula that follows "the answer is"; None if there is none."""
    hidden, formulas = hide_formulas(text)
    return stated_value(first_sentence(hidden), formulas)


def ending_expression(text: str) -> str | None:
    """Return the value of the last sentence that is not a question or a remark such as "I hope this helps"."""
    hidden, formulas = hide_formulas(text)
    for sentence in reversed(sentences(hidden)):
        if asks(sentence):
            continue
        if (value := sentence_value(without_bullet(sentence), formulas)) is not None:
            return value
        if _DENIAL.search(sentence) or not _REMARK.search(sentence):
            return None
    return None
