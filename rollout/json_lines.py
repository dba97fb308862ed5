"""JSON lines, one JSON value a line in UTF-8, and files that are written whole or not at all."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

# What ends in this was never finished.
PARTIAL = ".partial"


def numbered(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, one by one, each with its number from 1."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            # Some editors write a byte order mark before the first line.
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                yield number, line


def decode(line: bytes, parse_float: Callable[[str], Any] = float) -> Any:
    """Return a line's JSON value, with ``parse_float`` for its numbers that are not whole; raises ValueError that says
    in a few words why it has none."""
    try:
        return json.loads(line.decode("utf-8").rstrip(), parse_float=parse_float)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}; allowed: one JSON object a line") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"no UTF-8: byte {error.start + 1}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is complete or as it was before."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_lines(path: Path, rows: Iterable[Any], *, ascii_only: bool = True) -> None:
    """Write each row as a line of JSON; the file is complete or as it was before."""
    write_whole(path, "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows))
