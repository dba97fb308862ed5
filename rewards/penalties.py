"""The penalties that an episode is charged, and the sub-questions that caused them.

Each penalty is charged at most once: ``copy`` for restating the question, ``repeat`` for asking again in the same
words, ``given`` for handing over a value that is known only after solving the problem, in a sub-question or in the
concepts before them, ``invalid`` for a decomposition that could not be used as written.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewards.leak import NOTHING, Handed
from rewards.nouns_and_vectors import sentences, word_key
from rewards.overlap import content, shared
from rewards.turns import repeated
from rollout.records import Episode

# A sub-question restates a question if it has this share of its words that tell something, in any order. People's
# sub-questions reach as much of a short question by chance, of a long one hardly ever.
RESTATED, RESTATED_LONG, LONG = 0.8, 0.65, 12


def charges(episode: Episode, handed: Sequence[Handed], concepts: Handed = NOTHING) -> dict[str, list[int]]:
    """Return the penalties charged, each with the sub-questions that share it: the first one that copies or repeats, or
    all that hand something over. ``invalid`` belongs to no sub-question, nor does ``given`` if only the ``concepts``
    hand something over."""
    question, asked = episode.problem.question, episode.subquestions
    found: dict[str, list[int]] = {}
    for index, text in enumerate(asked):
        if is_copy(text, question, first=index == 0):
            found.setdefault("copy", [index])
    if again := repeated(episode):
        found["repeat"] = [min(again)]
    leaking = [index for index, one in enumerate(handed) if one.charged]
    if leaking or concepts.charged:
        found["given"] = leaking
    if episode.decomposition and episode.decomposition.invalid:
        found["invalid"] = []
    return found


def is_copy(subquestion: str, question: str, *, first: bool = True) -> bool:
    """Return whether a sub-question restates the whole question, in any order of words, or is the ``first`` and only
    asks what the question's last sentence asks. If it is not the first, this is not a copy, because decompositions
    written by people end in this way."""
    asked, whole = content(subquestion), content(question)
    enough = RESTATED_LONG if len(whole) >= LONG else RESTATED
    if word_key(subquestion) == word_key(question) or shared(whole, asked) >= enough:
        return True
    return first and sorted(word_key(subquestion)) == sorted(word_key((sentences(question) or [""])[-1]))
