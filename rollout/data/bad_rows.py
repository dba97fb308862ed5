"""Say in words what is wrong with rows of files: bad rows, equal ones in one line, and fields that may be misspelt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path

from conf.schema.keys import did_you_mean
from rollout.records import Problem, RecordError

# Of files that are wrong from the first row to the last, so many lines are said, and so many rows are named in a line.
BAD_ROWS_NAMED, LINES_NAMED = 50, 5
# Fields that are read of ``Problem.meta``.
READ_OF_META = ("answer_aliases", "subanswers", "concepts", "equations", "subject", "level", "raw_type")
# From this likeness on a field may be a misspelt one.
ALIKE = 0.75


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its file, the number of its line (0: the file as a whole), what is wrong with it, and
    the names of its fields."""

    path: Path
    line: int
    error: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.error}" if self.line else f"{self.path} {self.error}"


def in_words(bad: Sequence[BadRow]) -> list[str]:
    """Return a line for each bad row, one for all rows of a file in which the same is wrong; then how many more there
    are, and which fields may be misspelt."""
    groups: dict[tuple[Path, str], list[BadRow]] = {}
    for row in bad:
        groups.setdefault((row.path, row.error), []).append(row)
    said, left = [_line(rows) for rows in groups.values()], list(groups.values())[BAD_ROWS_NAMED:]
    more = [f"and {sum(map(len, left)):,} more"] if left else []
    unread = misspelt(meant(name for row in bad for name in row.fields))
    return [*said[:BAD_ROWS_NAMED], *more, *([f"not read: {', '.join(unread)}"] if unread else [])]


def _line(rows: Sequence[BadRow]) -> str:
    if len(rows) == 1:
        return str(rows[0])
    lines = ", ".join(str(row.line) for row in rows[:LINES_NAMED]) + (", …" if len(rows) > LINES_NAMED else "")
    return f"{rows[0].path}, {len(rows):,} rows (lines {lines}): {rows[0].error}"


def refuse_bad(bad: Sequence[BadRow], skip: bool) -> None:
    """Raise a RecordError that names bad rows, unless they are to be skipped."""
    if bad and not skip:
        head = f"{len(bad):,} bad rows (data.on_bad_row=skip leaves them out and counts them):"
        raise RecordError("\n  ".join([head, *in_words(bad)]))


def meant(names: Iterable[str]) -> dict[str, str]:
    """Return those of the names that are no field of a problem, each with the field that may be meant, empty if none
    may, or if it is read as it is."""
    own = [field.name for field in fields(Problem)]
    others = dict.fromkeys(name for name in names if name not in own)
    known = [*own, *READ_OF_META]
    near = {name: get_close_matches(name, known, n=1, cutoff=ALIKE) for name in others if name not in READ_OF_META}
    return {name: next(iter(near.get(name, ())), "") for name in others}


def other_fields(problems: Iterable[Problem]) -> dict[str, str]:
    """Return the fields that a problem has not, each with the name of the one that may be meant, empty if none may."""
    return meant(name for problem in problems for name in problem.meta)


def misspelt(others: dict[str, str]) -> list[str]:
    """Return in words those of the other fields with which another one may be meant."""
    return [f"{name}{did_you_mean([field])}" for name, field in others.items() if field]
