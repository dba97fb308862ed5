"""The kit's driver: limits, what becomes of a part that does not end well, and the summary."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks.gpu.__main__ import PARTS, main
from benchmarks.gpu.driver import Part, limit, run_kit
from benchmarks.gpu.summary import FILE, flat, row, summary, write_summary
from benchmarks.gpu.task import Task
from conf.schema.places import ROOT


def part(name: str, most_s: float = 60.0, least_s: float = 0.1) -> Part:
    return Part(name, f"tests.benchmarks.gpu.fake_parts:{name}", most_s, least_s)


def run(folder: Path, *parts: Part, seconds: float = 100.0) -> tuple[dict[str, dict], list[str], list[str]]:
    """The result files after a run of the kit, what it said, and which parts it called failed."""
    said: list[str] = []
    failed = run_kit(parts, Task("", str(folder), str(folder), time.time() + seconds), said.append)
    return {one.name: json.loads((folder / f"{one.name}.json").read_text()) for one in parts}, said, failed


@pytest.mark.parametrize(
    ("left_s", "last", "expected"),
    [
        (480, False, 120), (480, True, 120), (100, False, 60), (100, True, 100), (40, False, 30), (30, False, 30),
        (29, False, 0), (29, True, 0), (-3, True, 0),
    ],
)  # fmt: skip
def test_a_part_has_its_limit_a_share_of_the_time_left_or_nothing(left_s, last, expected):
    assert limit(Part("any", "module:function", most_s=120, least_s=30), left_s, last) == expected


def test_all_parts_have_a_limit_that_the_usual_eight_minutes_bear():
    assert [one.name for one in PARTS] == ["logprobs", "push", "learner", "memory", "async", "job", "people"]
    assert all(one.least_s <= one.most_s <= 300 for one in PARTS)


def test_a_part_that_hangs_is_ended_with_all_it_started_and_keeps_its_figures(tmp_path):
    began = time.monotonic()
    found, said, failed = run(tmp_path, part("hangs", most_s=3.0), part("good"))
    assert time.monotonic() - began < 25
    assert (found["hangs"]["state"], found["hangs"]["reason"]) == ("out of time", "ended after 3 s")
    assert found["hangs"]["figures"] == {"before": {"speed": 1.0}}
    assert not psutil.pid_exists(int((tmp_path / "child.pid").read_text()))
    assert found["good"]["state"] == "done"
    assert found["good"]["figures"]["first"] == {"speed": 12_345.678, "share": 0.25}
    assert failed == []
    assert "    first: speed 12,346, share 0.25" in said


def test_what_ends_one_part_leaves_the_others(tmp_path):
    found, said, failed = run(tmp_path, *map(part, ("dies", "raises", "skips", "good")))
    assert {name: one["state"] for name, one in found.items()} == {
        "dies": "failed", "raises": "failed", "skips": "skipped", "good": "done",
    }  # fmt: skip
    assert found["dies"]["reason"] == "its process ended with status -9; see dies.log"
    assert found["raises"]["reason"] == "ValueError: nothing fits"
    assert "ValueError: nothing fits" in (tmp_path / "raises.log").read_text()
    assert found["skips"]["reason"] == "no GPU of two here"
    assert found["dies"]["figures"] == found["raises"]["figures"] == {"before": {"speed": 1.0}}
    assert failed == ["dies", "raises"]
    assert "3/4 skips: skipped (no GPU of two here)" in said


def test_when_the_time_is_used_up_the_rest_is_not_begun(tmp_path):
    found, _, failed = run(tmp_path, part("good"), part("skips", least_s=1000.0), seconds=30.0)
    assert found["good"]["state"] == "done"
    assert (found["skips"]["state"], found["skips"]["reason"]) == ("no time left", "it needs 1000 s")
    assert failed == []
    assert not (tmp_path / "skips.log").exists()


def test_a_case_that_fails_is_named_and_the_others_are_there(tmp_path):
    found, _, failed = run(tmp_path, part("cases"))
    figures = found["cases"]["figures"]
    assert figures["good"] == figures["last"] == {"speed": 2.0}
    assert figures["skips"] == {"skipped": "too large"}
    assert figures["short"]["skipped"].endswith("s are left, and 1e+06 are needed")
    assert figures["raises"] == {"failed": "RuntimeError: out of memory"}
    assert figures["dies"]["failed"].startswith("BrokenProcessPool: ")
    assert (found["cases"]["state"], found["cases"]["reason"]) == ("failed", "failed: raises, dies")
    assert failed == ["cases"]


def test_the_summary_is_written_after_each_part(tmp_path):
    seen: list[str] = []

    def say(_: str) -> None:
        if (tmp_path / FILE).exists():
            seen.append((tmp_path / FILE).read_text())

    run_kit([part("good"), part("skips")], Task("", str(tmp_path), str(tmp_path), time.time() + 60), say)
    assert "| good | done |" in seen[0]
    assert "| skips | waiting |  |  |" in seen[0]
    assert re.search(r"\| skips \| skipped: no GPU of two here \| \d+ \|  \|", seen[-1])


def test_a_kit_that_is_ended_ends_its_part_and_says_so(tmp_path):
    code = (
        "import sys, time; from benchmarks.gpu import __main__ as kit; from benchmarks.gpu.driver import Part;"
        "kit.PARTS = (Part('hangs', 'tests.benchmarks.gpu.fake_parts:hangs', 60, 1),);"
        "kit.describe = dict; kit.in_new_process = lambda function: function();"
        f"sys.exit(kit.main(['--out', {str(tmp_path)!r}, '--parts', 'hangs']))"
    )
    kit = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (tmp_path / "child.pid").exists():
        assert time.monotonic() < deadline
        assert kit.poll() is None
        time.sleep(0.05)
    time.sleep(0.2)
    kit.send_signal(signal.SIGTERM)
    assert kit.wait(timeout=30) == 128 + signal.SIGTERM
    assert not psutil.pid_exists(int((tmp_path / "child.pid").read_text()))
    assert json.loads((tmp_path / "hangs.json").read_text())["state"] == "interrupted"
    assert "| hangs | interrupted |" in (tmp_path / FILE).read_text()


def test_a_later_run_of_other_parts_leaves_the_earlier_results(tmp_path):
    run(tmp_path, part("good"))
    run(tmp_path, part("skips"))
    text = (tmp_path / FILE).read_text()
    assert text.index("| skips |") < text.index("| good | done |")


def test_parts_are_chosen_by_name_in_the_kits_order(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.gpu.__main__.in_new_process", lambda function: {"cores": 2})
    begun = []
    monkeypatch.setattr("benchmarks.gpu.__main__.run_kit", lambda parts, task, say: begun.append((parts, task)) or [])
    assert main(["--out", str(tmp_path), "--parts", "job, logprobs", "--minutes", "2", "--model", "."]) == 0
    ((parts, task),) = begun
    assert [one.name for one in parts] == ["logprobs", "job"]
    assert 100 < task.left_s <= 120
    assert task.model == os.getcwd()
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--parts", "jobs"])
    assert "no part is called jobs; allowed: logprobs, push," in capsys.readouterr().err


def test_figures_are_shown_in_groups_and_unknown_ones_as_such():
    figures = {"a": {"x": 1.5, "b": {"y": 1234567, "z": None}}, "c": {"ok": True, "error": 1e-6}}
    assert list(flat(figures)) == [("a", {"x": 1.5}), ("a b", {"y": 1234567, "z": None}), ("c", figures["c"])]
    result = {"part": "p", "state": "failed", "reason": "a | b\nc", "seconds": 12.4, "figures": figures}
    assert row(result) == (
        "| p | failed: a \\| b c | 12 | a: x 1.5<br>a b: y 1,234,567, z unknown<br>c: ok yes, error 1e-06 |\n"
    )
    assert summary({"gpus": [], "cores": 2}, []).startswith("- gpus: none\n- cores: 2\n\n| part |")


def test_the_summary_reads_whole_files_only(tmp_path):
    write_summary(tmp_path, ["absent"])
    assert (tmp_path / FILE).read_text().count("\n") == 3
