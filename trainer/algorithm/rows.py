"""Rows: the token sequences in which the learner sees the policy calls of an episode.

Nothing is tokenised again. Calls share a row only where the ids themselves say that one goes on from the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rollout.records import PolicyCall

# A prompt's and a completion's token ids.
Pair = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Row:
    """One policy call, or several of which each begins with all tokens of the one before.

    ``token_ids`` go from the first policy token to the last. ``gaps`` are the ranges in them, between two calls, that
    the policy read and did not write; a gap may be empty. ``logprobs``, ``versions`` and ``rewards`` have an entry for
    each of ``token_ids``, zero in gaps.
    """

    prompt_ids: list[int]
    token_ids: list[int]
    logprobs: list[float]
    versions: list[int]
    rewards: list[float]
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.token_ids)

    @property
    def pair(self) -> Pair:
        """All that comes before the first policy token, and the rest."""
        return self.prompt_ids, self.token_ids

    @property
    def first_call(self) -> Pair:
        """Prompt and completion of the first of its calls."""
        return self.prompt_ids, self.token_ids[: self.gaps[0][0]] if self.gaps else self.token_ids

    @property
    def mask(self) -> list[bool]:
        """Whether the policy wrote each of ``token_ids``."""
        written = [True] * len(self.token_ids)
        for start, stop in self.gaps:
            written[start:stop] = [False] * (stop - start)
        return written

    @property
    def ends(self) -> list[bool]:
        """Whether each of ``token_ids`` is the last of its call."""
        last = {len(self.token_ids) - 1, *(start - 1 for start, _ in self.gaps)}
        return [place in last for place in range(len(self.token_ids))]


def make_rows(calls: Sequence[PolicyCall], rewards: Sequence[list[float]]) -> list[Row]:
    """Return the rows of an episode's policy calls, in order, with a reward for each token of each call.

    A call whose prompt begins with the prompt and completion of the one before it, token for token, is put into the
    same row; any other is a row of its own. Every call has a token.
    """
    rows: list[Row] = []
    for call, paid in zip(calls, rewards, strict=True):
        row = Row(call.prompt_ids, call.token_ids, call.logprobs, call.versions, paid)
        if rows and _goes_on(rows[-1], row):
            row = _joined(rows.pop(), row)
        rows.append(row)
    return rows


def _goes_on(row: Row, following: Row) -> bool:
    """Return whether the prompt of ``following`` begins with the whole of ``row``."""
    return following.prompt_ids[: len(row)] == [*row.prompt_ids, *row.token_ids]


def _joined(row: Row, following: Row) -> Row:
    """Return both in one row, with what is new in the second prompt as a gap between them."""
    gap = following.prompt_ids[len(row) :]
    start = len(row.token_ids)
    return Row(
        row.prompt_ids,
        [*row.token_ids, *gap, *following.token_ids],
        [*row.logprobs, *(0.0 for _ in gap), *following.logprobs],
        [*row.versions, *(0 for _ in gap), *following.versions],
        [*row.rewards, *(0.0 for _ in gap), *following.rewards],
        [*row.gaps, (start, start + len(gap))],
    )
