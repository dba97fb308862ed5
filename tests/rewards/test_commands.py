"""The commands over saved episodes, as a person types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conf.schema.places import ROOT
from rewards import explain, score


def record(index: int, **changes: object) -> dict[str, object]:
    episode = {
        "problem": {
            "id": f"p{index}",
            "question": "The box holds 3 pens. The bag holds 4 more. How many pens does the bag hold?",
            "answer": "7",
            "solution": "3 + 4 = 7",
        },
        "strategy": "daslam",
        "initial": {"text": "I cannot tell.", "answer": None},
        "decomposition": {"text": "...", "subquestions": ["How many pens does the box hold?"]},
        "turns": [{"question": "How many pens does the box hold?", "text": "The box holds 3 pens.", "answer": None}],
        "final": {"text": "3 + 4 = 7 pens.", "answer": None},
        "weight_version": 3,
    }
    return {**episode, **changes}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Seven good lines and three bad ones: 2, 5 and 9."""
    lines = [json.dumps(record(index)) for index in range(1, 11)]
    lines[1] = '{"problem": '
    lines[4] = json.dumps(record(5, turns="none"))
    lines[8] = json.dumps(["a", "list"])
    path = tmp_path / "episodes.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_good_lines_are_scored_and_bad_ones_named_by_number(mixed):
    command = [sys.executable, "-m", "rewards.score", str(mixed), "--mode", "paper"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["problem_id"] for row in rows] == ["p1", "p3", "p4", "p6", "p7", "p8", "p10"]
    assert {line.split(":")[0] for line in done.stderr.splitlines()} == {"line 2", "line 5", "line 9"}
    assert "'turns'" in done.stderr
    assert done.returncode == 1


def test_weights_change_the_total_and_nothing_else(tmp_path, capsys):
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(record(1)) + "\n")
    rows = []
    for extra in ([], ["--weights", "correctness=3", "operation_order=0"]):
        assert score.main([str(path), *extra]) == 0
        rows.append(json.loads(capsys.readouterr().out))
    plain, weighted = rows
    assert {**weighted, "total": 0} == {**plain, "total": 0}
    assert weighted["total"] == pytest.approx(
        plain["total"] + 2 * plain["correctness"] - 0.15 * plain["operation_order"]
    )


def test_an_unknown_part_is_refused_by_name(tmp_path, capsys):
    with pytest.raises(SystemExit) as refused:
        score.main([str(tmp_path), "--weights", "style=1"])
    assert refused.value.code == 2
    assert "'style' is no part; allowed: entity_coverage" in capsys.readouterr().err


def test_lines_that_are_no_text_are_named_too(tmp_path, capsys):
    path = tmp_path / "bytes.jsonl"
    path.write_bytes(b"\xff\xfe\n" + b"[" * 100_000 + b"\n" + json.dumps(record(3)).encode() + b"\n")
    assert score.main([str(path)]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["problem_id"] == "p3"
    assert [line.split(":")[0] for line in err.splitlines()] == ["line 1", "line 2"]


def test_an_account_shows_what_every_part_looked_at(mixed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert explain.main([str(mixed), "--problem", "p6"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in (
        "missed bag",
        "The box holds 3 pens. number - 0.400",
        "given 0.000 gives_answer 0.000",
        "add add",
        "guided 7 equation 1",
        "correctness 1.000",
        "total (bounded)",
    ):
        assert text in shown


def test_an_account_of_texts_with_half_a_surrogate_pair_is_given(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    turn = {"question": "How many pens does the box hold?", "text": "The box \ud83d holds 3 pens.", "answer": None}
    broken = record(1, turns=[turn], final={"text": "3 + 4 = 7 pens, so \ud83d 7.", "answer": None})
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps(broken) + "\n")
    assert explain.main([str(path)]) == 0
    assert "The box ? holds 3 pens." in capsys.readouterr().out
    assert score.main([str(path)]) == 0


def test_an_account_of_a_bad_or_missing_episode_says_so(mixed, capsys):
    assert explain.main([str(mixed), "--line", "2"]) == 1
    assert explain.main([str(mixed), "--problem", "nobody"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("line 2: no JSON: Expecting value at column 12")
    assert second.endswith("holds no episode of problem 'nobody'")
