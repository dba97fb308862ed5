"""A verifier's verdicts beside the true ones, on problems of the embedded task: what each reply deserves follows from
the question's own sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rollout.answers.marks import without_thinking
from rollout.data.graph import has_graph
from rollout.episode.parse_decomposition import references
from rollout.episode.verdict import read_verdict
from rollout.records import Episode, Turn
from rollout.solvers.program_verifier import judge_reply


def verdict_pairs(episode: Episode) -> list[tuple[str, str]]:
    """Return (true class, named class) for each class that a verdict of the episode names, those on sub-questions that
    were written again included; nothing where the truth is not known."""
    if not has_graph(episode.problem):
        return []
    numbered = [(turn, index) for index, turn in enumerate(episode.turns)]
    numbered += [(turn, episode.place_of(turn)) for turn in episode.refused]
    return [
        (_true_class(episode, turn, index), named)
        for turn, index in numbered
        if turn.verdicts
        for named in turn.verdicts
    ]


def _true_class(episode: Episode, turn: Turn, index: int) -> str:
    question = episode.problem.question
    before = [question, *(_said(one) for one in _in_view(episode, turn, index))]
    return read_verdict(judge_reply(question, "\n".join(before), turn.asked or turn.question, _said(turn)))[0]


def _in_view(episode: Episode, turn: Turn, index: int) -> Sequence[Turn]:
    """Return the earlier turns that stood in a turn's prompt, which its strategy decides."""
    if episode.strategy == "independent":
        return []
    before = episode.turns[:index]
    if episode.strategy == "dependency_graph" and episode.note is None:
        wanted = references(turn.question, episode.numbers)
        return [earlier for number, earlier in enumerate(before, 1) if number in wanted]
    return before


def _said(turn: Turn) -> str:
    return " ".join(without_thinking(turn.text).split())
