"""The episode viewer: what it shows, filters, refuses, and that it streams and pages."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from conf.schema.places import ROOT
from rollout.show import main


def record(name: str, first: float | None = 0.0, last: float = 1.0, **changes: Any) -> dict[str, Any]:
    return {
        "problem": {"id": name, "question": "Ann has 3. How many has Bob?", "answer": "6"},
        "strategy": "daslam",
        "initial": {"text": "I cannot tell.", "answer": None},
        "decomposition": {"text": "How many has Ann?\nTwice #1?", "subquestions": ["How many has Ann?", "Twice #1?"]},
        "turns": [
            {"question": "How many has Ann?", "text": "Ann has 3.", "answer": "3"},
            {"question": "Twice #1?", "text": "It is 6.", "answer": "6", "asked": "Twice 3?"},
        ],
        "final": {"text": "So it is 6.", "answer": "6"},
        "weight_version": 2,
        "outcome": "ok",
        "solver_tokens": 31,
        "split": "train",
        "step": 4,
        "reward": {"correctness": 1.0, "cot_proximity": None, "total": 0.875, "penalties": {"repeat": 0.5}},
        "correct": last,
        "correct_initial": first,
        "error": None,
        "token_versions": [2, 3],
    } | changes


INVALID = {"decomposition": {"text": "?!", "subquestions": [], "invalid": "empty"}, "turns": []}
RECORDS = [
    record("rescued-1"),
    record("broken-1", 1.0, 0.0),
    record("kept-1", 1.0, 1.0),
    record("invalid-1", 0.0, 0.0, **INVALID),
    record("failed-1", 0.0, 0.0, outcome="solver_timeout"),
    record("unscored-1", None, 0.0, initial=None, error="ValueError: bad"),
]


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    lines = [json.dumps(item) for item in RECORDS]
    (tmp_path / "episodes.jsonl").write_text("\n".join([*lines[:2], "", *lines[2:]]) + "\n")
    return tmp_path


def test_an_evaluation_of_the_solver_alone_is_called_direct_once(tmp_path, capsys):
    file = tmp_path / "episodes.jsonl"
    alone = record("p-1", strategy="direct", split="direct", decomposition=None, turns=[])
    file.write_text(f"{json.dumps(alone)}\n{json.dumps(alone | {'split': 'train'})}\n")
    assert main([str(file)]) == 0
    first, second = (line for line in capsys.readouterr().out.splitlines() if line.startswith("line "))
    assert first.startswith("line 1 · p-1 · direct · step 4")
    assert second.startswith("line 2 · p-1 · direct · train · step 4")


def test_an_episode_is_shown_whole(run_folder, capsys):
    assert main([str(run_folder), "--limit", "1"]) == 0
    out = capsys.readouterr().out
    heading, *body = out.splitlines()
    assert heading.startswith("line 1 · rescued-1 · daslam · train · step 4 · weight version 2-3 · right · rescued ──")
    rows = [row.strip() for row in body if row.strip()]
    assert rows == [
        "question  Ann has 3. How many has Bob?",
        "attempt  I cannot tell.",
        "1  How many has Ann?",
        "Ann has 3.  → 3",
        "2  Twice #1?  (asked: Twice 3?)",
        "It is 6.  → 6",
        "final  So it is 6.  → 6",
        "gold  6",
        "reward  total 0.875 · correctness 1 · less repeat 0.5",
        "cost  tokens solver 31 · 0.0 s",
    ]


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("rescued", ["rescued-1"]),
        ("broken", ["broken-1"]),
        ("invalid", ["invalid-1"]),
        ("failed", ["failed-1", "unscored-1"]),
    ],
)
def test_kinds_can_be_picked_out(run_folder, capsys, only, names):
    assert main([str(run_folder / "episodes.jsonl"), "--only", only]) == 0
    out = capsys.readouterr().out
    assert [item["problem"]["id"] for item in RECORDS if f" {item['problem']['id']} " in out] == names
    assert ("empty: '?!'" in out) == (only == "invalid")
    assert ("solver_timeout" in out) == (only == "failed")


def test_episodes_that_hand_values_to_the_solver_can_be_picked_out(tmp_path, capsys):
    reward = {"total": 0.5, "penalties": {}}
    items = [
        record("none-1", reward=reward | {"given": 0.0, "gives_answer": 0.0}),
        record("given-1", reward=reward | {"given": 0.5, "gives_answer": 0.0}),
        record("answer-1", reward=reward | {"given": 0.0, "gives_answer": 1.0}),
        record("old-1", reward=reward),
    ]
    (tmp_path / "episodes.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--only", "rescued", "--given"])
    assert "not allowed with argument --only" in capsys.readouterr().err
    for option in (["--given"], ["--only", "given"]):
        assert main([str(tmp_path), *option]) == 0
        out = capsys.readouterr().out
        assert [name in out for name in ("none-1", "given-1", "answer-1", "old-1")] == [False, True, True, False]


def test_lines_are_numbered_as_in_the_file(run_folder, capsys):
    assert main([str(run_folder), "--only", "failed"]) == 0
    assert "line 6 · failed-1" in capsys.readouterr().out


def test_gate_draws_note_and_unanswered_subquestions_are_shown(tmp_path, capsys):
    draws = [{"text": "6", "answer": "6"}, {"text": "?", "answer": None}]
    extra = {"draws": draws, "gate": "open", "note": "answered in sequence", "turns": record("x")["turns"][1:]}
    (tmp_path / "episodes.jsonl").write_text(json.dumps(record("x", **extra)))
    assert main([str(tmp_path)]) == 0
    rows = [row.strip() for row in capsys.readouterr().out.splitlines()]
    assert {"draws  6 · no answer", "gate  open", "note  answered in sequence", "(not answered)"} <= set(rows)
    assert rows.index("(not answered)") == rows.index("1  How many has Ann?") + 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "Expecting property name"),
        ("[1]", "expected an object, found list"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps(record("x", turns=3)), "'turns' must be a list"),
        (json.dumps(record("x", correct="yes")), "'correct' must be float or null, found str"),
        (json.dumps(record("x", reward=[1])), "'reward' must be dict or null, found list"),
        (json.dumps(record("x", solver_tokens="many")), "'solver_tokens' must be a finite number, found 'many'"),
        (json.dumps(record("x", draws=["six"])), "'draws[0]' must be an object"),
        ("\udcff", "no UTF-8: byte 1"),
    ],
)
def test_malformed_lines_are_named_and_the_rest_shown(tmp_path, capsys, line, said):
    text = f"{json.dumps(RECORDS[0])}\n{line}\n{json.dumps(RECORDS[1])}\n"
    (tmp_path / "episodes.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    assert main([str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("line 2: ")
    assert said in captured.err
    assert len(captured.err.splitlines()) == 1
    assert "line 1 · rescued-1" in captured.out
    assert "line 3 · broken-1" in captured.out


def test_what_a_terminal_would_obey_is_shown_and_markup_is_text(tmp_path, capsys):
    final = {"text": "\x1b[2J[bold]six[/bold]\x07 \ud800 :smile:", "answer": None}
    (tmp_path / "episodes.jsonl").write_text(json.dumps(record("x", final=final)))
    assert main([str(tmp_path)]) == 0
    assert "final  ␛[2J[bold]six[/bold]␇ ? :smile:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"), [(["/no/such/run"], "'/no/such/run' does not exist"), ([".", "--limit", "0"], "at least 1")]
)
def test_bad_arguments_are_told_and_the_status_is_2(capsys, arguments, said):
    try:
        status: Any = main(arguments)
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert said in capsys.readouterr().err


def test_a_large_file_is_not_held_in_memory(tmp_path, capsys):
    line = json.dumps(RECORDS[0] | {"padding": "x" * 20_000}) + "\n"
    with (tmp_path / "episodes.jsonl").open("w") as stream:
        for _ in range(1_000):
            stream.write(line)
    tracemalloc.start()
    try:
        assert main([str(tmp_path), "--only", "broken"]) == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert capsys.readouterr().out == ""
    assert peak < 4_000_000 < (tmp_path / "episodes.jsonl").stat().st_size


def on_a_terminal(folder: Path, *arguments: str, pager: str) -> tuple[str, str, int]:
    """Standard output of a terminal, standard error and the status."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout.show", str(folder), *arguments],
        cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE, env={**os.environ, "PAGER": pager, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            chunk = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        written += chunk
    os.close(ours)
    _, errors = process.communicate(timeout=30)
    return written.decode(), errors.decode(), process.returncode


def test_a_terminal_gets_a_pager_unless_it_is_not_wanted(run_folder, tmp_path):
    paged = tmp_path / "paged.txt"
    out, errors, status = on_a_terminal(run_folder, pager=f"tee {paged}")
    assert (errors, status) == ("", 0)
    assert "line 7 · unscored-1" in paged.read_text()
    assert "unscored-1" in out
    paged.unlink()
    out, errors, status = on_a_terminal(run_folder, "--no-pager", pager=f"tee {paged}")
    assert (errors, status) == ("", 0)
    assert not paged.exists()
    assert "\x1b[" in out, "colours on a terminal"


def test_leaving_the_pager_early_is_no_error_and_malformed_lines_are_told_afterwards(tmp_path):
    lines = [json.dumps(item) for item in RECORDS] * 40
    (tmp_path / "episodes.jsonl").write_text("\n".join(["{", *lines]))
    out, errors, status = on_a_terminal(tmp_path, pager="head -n 1")
    assert "rescued-1" in out
    assert len(out.splitlines()) == 1
    assert errors.startswith("line 1: ")
    assert len(errors.splitlines()) == 1
    assert status == 1


def test_a_pipe_that_closes_early_is_no_error(run_folder):
    lines = [json.dumps(item) for item in RECORDS] * 40
    (run_folder / "episodes.jsonl").write_text("\n".join(lines))
    done = subprocess.run(
        f"{sys.executable} -m rollout.show {run_folder} | head -n 1",
        shell=True, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("line 1 · rescued-1")


@pytest.mark.parametrize("by", ["call", "answer_call"])
def test_an_iterative_episode_is_shown_as_it_grew_with_verdicts_and_what_was_written_again(tmp_path, capsys, by):
    turns = [
        {"question": "How many has Ann?", "text": "Ann has 3.", by: 1, "verdicts": ["no_mistake"]},
        {"question": "Twice #1?", "text": "It is 6.", by: 3, "verdicts": ["computational", "last_step"]},
    ]
    refused = [{"question": "Who is Bob?", "text": "A boy.", by: 2, "verdicts": ["misunderstood"]}]
    calls = [{"purpose": "concepts"}, *({"purpose": "next"} for _ in range(3))]
    item = record("lm2-1", turns=turns, refused=refused, calls=calls, concepts="Doubling.", verifier_tokens=9)
    (tmp_path / "episodes.jsonl").write_text(json.dumps(item) + "\n" + json.dumps(record("plain-1")) + "\n")
    assert main([str(tmp_path), "--only", "rewritten"]) == 0
    shown = capsys.readouterr().out
    assert "plain-1" not in shown
    rows = [line.split(None, 1) for line in shown.splitlines()]
    labels = [row[0] for row in rows if row and row[0] in ("concepts", "1", "again", "2", "verdict")]
    assert labels == ["concepts", "1", "verdict", "again", "verdict", "2", "verdict"]
    assert "computational, last_step" in shown
    assert "verifier 9" in shown
    assert "4 policy calls" in shown
