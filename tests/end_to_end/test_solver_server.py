"""A whole run whose solver is a server that misbehaves, in small: what is counted, and that no key is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from conf.schema.model import shipped
from conf.schema.places import ROOT
from tests.rollout.server import Server
from tests.rollout.serving import serving

KEY = "sk-planted-4711"


def evaluate(server: Server, folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "launch.evaluate", "solver=openai", f"solver.base_url={server.url}", "solver.model=m",
        "solver.api=completions", "solver.backoff_s=0.05", "evaluation.problems=12", "tracking=offline",
        f"solver.cache_path={folder.parent / 'cache.sqlite'}", f"run_dir={folder}", *overrides,
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
        env=os.environ | {"OPENAI_API_KEY": KEY},
    )  # fmt: skip


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_survives_a_bad_server_and_writes_no_key(tmp_path):
    bad = {3: "429", 8: "500", 13: "closed", 18: "garbage"}
    with serving(lambda number, body: bad.get(number % 20, "program")) as server:
        done = evaluate(server, tmp_path / "run", "solver.max_retries=9", f"start_from={shipped('tiny_decomposer')}")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["accuracy"]["gold"]["mean"] == 1
    assert summary["accuracy"]["direct"]["mean"] == summary["accuracy"]["filler"]["mean"] == 0
    assert 0 < summary["accuracy"]["policy"]["mean"] <= 1
    solver = summary["solver"]
    assert solver["retries"] == sum(kind != "program" for kind in server.kinds) > 0
    assert solver["requests"] == server.kinds.count("program")
    assert solver["cache_hits"] > 0, "direct, gold and filler begin with the same question"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in written(tmp_path)
    assert KEY not in done.stdout + done.stderr


def test_a_refused_key_ends_the_start_in_one_line_without_the_key(tmp_path):
    with serving(lambda number, body: "401") as server:
        done = evaluate(server, tmp_path / "run")
    assert done.returncode == 2, "nothing was started"
    assert not (tmp_path / "run").exists()
    said = done.stdout + done.stderr
    assert "solver.api_key_env: the key in OPENAI_API_KEY is not accepted" in said
    assert "Traceback" not in said
    assert KEY not in said
    assert KEY.encode() not in written(tmp_path)


def test_a_spent_budget_ends_the_run_in_order(tmp_path):
    with serving(lambda number, body: "program") as server:
        done = evaluate(server, tmp_path / "run", "solver.budget_tokens=150", "rollout.concurrency=4")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "out_of_budget"
    assert set(summary["accuracy"]) == {"direct"}
    tokens = summary["solver"]["prompt_tokens"] + summary["solver"]["completion_tokens"]
    # Ten a request: the budget, and what the four episodes that were running had still to ask.
    assert 150 <= tokens <= 150 + 4 * 10 * 10
