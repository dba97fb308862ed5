"""Page through episodes: ``python -m rollout.show RUN_DIR_OR_FILE [--only KIND | --given] [--limit N] [--no-pager]``.

Lines are read and shown one by one, so the file may be of any size. On a terminal they go to a pager ($PAGER, else
less). A malformed line is named by its number on standard error and the exit status is 1; the rest is still shown.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from rollout import json_lines
from rollout.options import with_options
from rollout.records import Attempt, Episode, RecordError, Turn, change

Row = dict[str, Any]
# What scoring adds to an episode's line.
SCORED: dict[str, tuple[type, ...]] = {
    "correct": (int, float), "correct_initial": (int, float), "reward": (dict,), "error": (str,), "split": (str,),
    "step": (int,), "token_versions": (list,),
}  # fmt: skip
# What a terminal would obey is shown as a picture of itself.
VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | dict.fromkeys(range(127, 160), "�")


ONLY: dict[str, Callable[[Row, Episode], bool]] = {
    "rescued": lambda row, episode: change(row["correct_initial"], row["correct"]) == 1,
    "broken": lambda row, episode: change(row["correct_initial"], row["correct"]) == -1,
    "invalid": lambda row, episode: episode.decomposition is not None and episode.decomposition.invalid is not None,
    "given": lambda row, episode: bool((row["reward"] or {}).get("given") or (row["reward"] or {}).get("gives_answer")),
    "failed": lambda row, episode: episode.outcome != "ok" or row["error"] is not None,
    "rewritten": lambda row, episode: bool(episode.refused),
}


def read(line: bytes) -> tuple[Row, Episode]:
    """Return a line's object, None for what scoring did not add, and its episode; raises ValueError."""
    row = json_lines.decode(line)
    episode = Episode.from_json(row)
    for name, kinds in SCORED.items():
        if row.get(name) is not None and not isinstance(row[name], kinds):
            raise RecordError(f"field '{name}' must be {kinds[-1].__name__} or null, found {type(row[name]).__name__}")
    return dict.fromkeys(SCORED) | row, episode


def view(number: int, row: Row, episode: Episode) -> tuple[Rule, Table]:
    """Return what is shown of the episode on a line: a heading, and a table with a row each for who said what."""
    body = Table.grid(padding=(0, 2, 0, 0))
    body.add_column(style="dim", justify="right", no_wrap=True)
    body.add_column(overflow="fold")

    def add(label: str, text: str | None, style: str = "") -> None:
        if text:
            body.add_row(label, Text(text.translate(VISIBLE), style))

    decomposition, problem = episode.decomposition, episode.problem
    add("question", with_options(problem.question, problem.choices, problem.answer_type))
    add("draws", " · ".join(draw.answer or "no answer" for draw in episode.draws))
    add("gate", episode.gate)
    if episode.initial is not None and episode.gate != "closed":
        add("attempt", _said(episode.initial), _colour(row["correct_initial"]))
    if decomposition is not None and decomposition.invalid is not None:
        add("invalid", f"{decomposition.invalid}: {decomposition.text!r}", "yellow")
    add("note", episode.note, "yellow")
    add("concepts", episode.concepts)
    for label, turn, style in _asked(episode):
        add(label, turn.question if turn.asked is None else f"{turn.question}  (asked: {turn.asked})", style or "bold")
        add(" ", _said(turn), style)
        add("verdict", ", ".join(turn.verdicts), _verdict_colour(turn))
    add("final", _said(episode.final), _colour(row["correct"]))
    add("gold", episode.problem.answer, "bold")
    add("outcome", None if episode.outcome == "ok" else episode.outcome, "red")
    add("error", row["error"], "red")
    add("reward", _reward(row["reward"] or {}))
    add("cost", _cost(episode))
    return Rule(Text(_heading(number, row, episode).translate(VISIBLE), "bold"), align="left"), body


def _heading(number: int, row: Row, episode: Episode) -> str:
    versions = row["token_versions"] or [episode.weight_version]
    parts = [
        f"line {number}",
        episode.problem.id,
        episode.strategy,
        episode.solver and f"solver {episode.solver}",
        None if row["split"] == episode.strategy else row["split"],  # as "direct", which is both
        None if row["step"] is None else f"step {row['step']}",
        f"weight version {'-'.join(dict.fromkeys(str(version) for version in versions))}",
        None if row["correct"] is None else "right" if row["correct"] >= 1 else "wrong",
        *(name for name, holds in ONLY.items() if holds(row, episode)),
    ]
    return " · ".join(part for part in parts if part)


def _asked(episode: Episode) -> list[tuple[str, Turn, str]]:
    """Return the turns as the episode grew, each with its label and style: those whose sub-question was written again
    stand where they were asked. Without a turn a sub-question is shown as not answered."""
    decomposition, turns = episode.decomposition, list(episode.turns)
    shown: list[Turn] = []
    for question in decomposition.subquestions if decomposition else []:
        answered = bool(turns) and turns[0].question == question
        shown.append(turns.pop(0) if answered else Turn(question, "(not answered)"))
    rows = [(episode.place_of(turn), "again", turn, "yellow") for turn in episode.refused]
    rows += [(place, str(place + 1), turn, "") for place, turn in enumerate([*shown, *turns])]
    return [(label, turn, style) for _, label, turn, style in sorted(rows, key=lambda row: row[0])]


def _verdict_colour(turn: Turn) -> str:
    return "dim" if turn.verdicts in (["no_mistake"], ["unreadable"]) else "red"


def _said(part: Attempt | Turn) -> str:
    return part.text if part.answer is None else f"{part.text}  → {part.answer}"


def _colour(correct: float | None) -> str:
    return "" if correct is None else "green" if correct >= 1 else "red"


def _reward(reward: Row) -> str:
    """Return the total, then the parts, then what was taken off, in one line."""
    penalties = reward.get("penalties")
    charged = penalties.items() if isinstance(penalties, dict) else ()
    values = {"total": None, **reward} | {f"less {name}": value for name, value in charged}
    return " · ".join(f"{name} {value:.3g}" for name, value in values.items() if isinstance(value, (int, float)))


def _cost(episode: Episode) -> str:
    tokens = {
        "solver": episode.solver_tokens, "read": episode.solver_prompt_tokens, "policy": episode.policy_tokens,
        "verifier": episode.verifier_tokens, "read by it": episode.verifier_prompt_tokens,
    }  # fmt: skip
    counted = ", ".join(f"{name} {count}" for name, count in tokens.items() if count)
    calls = f"{len(episode.calls)} policy calls" if len(episode.calls) > 1 else ""
    return " · ".join(part for part in (counted and f"tokens {counted}", calls, f"{episode.seconds:.1f} s") if part)


def show(path: Path, out: IO[str], report: Callable[[str], Any], *, colour: bool, only: str | None, limit: int) -> None:
    """Write up to ``limit`` episodes of a file; ``report`` gets a line for each that is none."""
    width = Console().width if sys.stdout.isatty() else 120
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="auto" if colour else None, emoji=False
    )
    for number, line in json_lines.numbered(path):
        try:
            row, episode = read(line)
        except ValueError as error:
            report(f"line {number}: {error}\n")
            continue
        if only is not None and not ONLY[only](row, episode):
            continue
        with console.capture() as capture:
            console.print(*view(number, row, episode), "", sep="\n")
        text = "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
        write(out, text)
        limit -= 1
        if limit == 0:
            break


def write(out: IO[str], text: str) -> None:
    """Write a text to a stream, with a question mark for what its encoding does not have, as half of a surrogate
    pair."""
    encoding = getattr(out, "encoding", None) or "utf-8"
    out.write(text.encode(encoding, "replace").decode(encoding))


@contextmanager
def pager() -> Iterator[tuple[IO[str], bool]]:
    """Give a stream and whether it takes colour: a pager's until it is left, or standard output where there is none.

    A file of any size streams through it; rich's own pager would hold all of the text first.
    """
    command = shlex.split(os.environ.get("PAGER", "")) or ["less"]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, text=True, encoding="utf-8", env={"LESS": "FRX", **os.environ}
        )
    except OSError:
        yield sys.stdout, True
        return
    assert process.stdin is not None
    try:
        yield process.stdin, Path(command[0]).name == "less"
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, found {text!r}")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 1 if a line was malformed, 2 if there is no such file."""
    parser = argparse.ArgumentParser(prog="rollout.show", description="Page through episodes.")
    parser.add_argument("path", type=Path, help="a run's folder, or a file of episodes, one JSON object a line")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--only", choices=ONLY, help="episodes of one kind")
    kind.add_argument(
        "--given", dest="only", action="store_const", const="given", help="episodes that hand values to the solver"
    )
    parser.add_argument("--limit", type=_count, default=0, metavar="N", help="no more than so many")
    parser.add_argument("--no-pager", action="store_true", help="write to standard output on a terminal too")
    options = parser.parse_args(arguments)
    path = options.path / "episodes.jsonl" if options.path.is_dir() else options.path
    if not path.exists():
        sys.stderr.write(f"'{path}' does not exist; allowed: a run's folder, or a file of episodes\n")
        return 2
    terminal = sys.stdout.isatty()
    paged = terminal and not options.no_pager
    malformed = 0
    held: list[str] = []

    def report(line: str) -> None:
        nonlocal malformed
        malformed += 1
        if paged:  # the screen is the pager's until it is left
            held.append(line)
        else:
            sys.stderr.write(line)

    try:
        with pager() if paged else nullcontext((sys.stdout, terminal)) as (out, colour):
            show(path, out, report, colour=colour, only=options.only, limit=options.limit)
            out.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        if not terminal:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    sys.stderr.write("".join(held))
    return int(malformed > 0)


if __name__ == "__main__":
    sys.exit(main())
