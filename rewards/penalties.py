"""What an episode is charged for, and which of its sub-questions caused it.

Every penalty is charged once, however often it was earned: ``copy`` for restating the question, ``repeat`` for asking
again in the same words, ``given`` for handing over what only solving the problem gives, ``invalid`` for a decomposition
that could not be used as written.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewards.leak import Handed
from rewards.nouns_and_vectors import sentences, word_key
from rewards.overlap import content, shared
from rewards.turns import repeated
from rollout.records import Episode

# A sub-question restates a question if it has this share of its words that tell something, in any order. People's
# sub-questions reach as much of a short question by chance, of a long one hardly ever.
RESTATED, RESTATED_LONG, LONG = 0.8, 0.65, 12


def charges(episode: Episode, handed: Sequence[Handed]) -> dict[str, list[int]]:
    """Return what is charged, and the sub-questions that share the charge: the first that copies or repeats, all that
    hand something over. ``invalid`` is of no one sub-question."""
    question, asked = episode.problem.question, episode.subquestions
    found: dict[str, list[int]] = {}
    for index, text in enumerate(asked):
        if is_copy(text, question, first=index == 0):
            found.setdefault("copy", [index])
    if again := repeated(episode):
        found["repeat"] = [min(again)]
    if leaking := [index for index, one in enumerate(handed) if one.charged]:
        found["given"] = leaking
    if episode.decomposition and episode.decomposition.invalid:
        found["invalid"] = []
    return found


def is_copy(subquestion: str, question: str, *, first: bool = True) -> bool:
    """Return whether a sub-question restates the whole question, in any order of its words; or, as the ``first``, only
    asks what the question's last sentence asks. After others that is no copy: so decompositions of people end."""
    asked, whole = content(subquestion), content(question)
    enough = RESTATED_LONG if len(whole) >= LONG else RESTATED
    if word_key(subquestion) == word_key(question) or shared(whole, asked) >= enough:
        return True
    return first and sorted(word_key(subquestion)) == sorted(word_key((sentences(question) or [""])[-1]))
