"""A run whose solver is a server that misbehaves, in small: what is counted, and that no key is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conf.schema.model import shipped
from conf.schema.places import ROOT
from launch.evaluate.__main__ import main
from rollout.solvers.pool import SolverActor
from rollout.worker import RolloutWorker
from tests.end_to_end.test_strategies import Rewarder
from tests.rollout.server import Server
from tests.rollout.serving import serving
from tests.trainer.fakes import Actor
from trainer.run import Run
from trainer.workers.pipeline import Pipeline

KEY = "sk-planted-4711"


def overrides(server: Server, folder: Path, *more: str) -> list[str]:
    return [
        "solver=openai", f"solver.base_url={server.url}", "solver.model=m", "solver.api=completions",
        "solver.backoff_s=0.05", "evaluation.problems=12", "tracking=offline",
        f"solver.cache_path={folder.parent / 'cache.sqlite'}", f"run_dir={folder}", *more,
    ]  # fmt: skip


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_survives_a_bad_server_and_writes_no_key(tmp_path):
    bad = {3: "429", 8: "500", 13: "closed", 18: "garbage"}
    with serving(lambda number, body: bad.get(number % 20, "program")) as server:
        more = ["solver.max_retries=9", f"start_from={shipped('tiny_branched_decomposer')}"]
        done = subprocess.run(
            [sys.executable, "-m", "launch.evaluate", *overrides(server, tmp_path / "run", *more)], cwd=ROOT,
            capture_output=True, text=True, timeout=900, check=False, env=os.environ | {"OPENAI_API_KEY": KEY},
        )  # fmt: skip
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


def test_a_refused_key_ends_the_start_in_one_line_without_the_key(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(lambda number, body: "401") as server:
        assert main(overrides(server, tmp_path / "run")) == 2, "nothing was started"
    assert not (tmp_path / "run").exists()
    said = "".join(capfd.readouterr())
    assert "solver.api_key_env: the key in OPENAI_API_KEY is not accepted" in said
    assert "Traceback" not in said
    assert KEY not in said
    assert KEY.encode() not in written(tmp_path)


class Idle:
    """An engine that is not asked: the budget is spent before anybody decomposes."""

    version = 0

    def __init__(self, settings):
        pass

    def start(self):
        pass


@pytest.fixture
def here(monkeypatch):
    """Have a run's worker and solver, the real ones but for the engine, in this process."""

    async def start(self, view, logs):
        worker, solver = (
            actor.__ray_metadata__.modified_class(self.config, 0, str(logs)) for actor in (RolloutWorker, SolverActor)
        )
        await solver.ready()
        await worker.ready([Actor(solver)])
        pipeline = Pipeline([Actor(worker)], [Actor(solver)], [Actor(Rewarder())], logs, 300.0, 1)
        pipeline.start()
        return pipeline, None

    for name in ("rollout.worker.actor_log", "rollout.solvers.pool.actor_log"):
        monkeypatch.setattr(name, lambda folder, name: None)
    monkeypatch.setattr("rollout.worker.Engine", Idle)
    monkeypatch.setattr(Run, "_start", start)
    for name in ("trainer.run.stop_ray", "trainer.run.note_processes"):
        monkeypatch.setattr(name, lambda config: None)
    monkeypatch.setattr("launch.job.stop_in_order", lambda: None)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_a_spent_budget_ends_the_run_in_order(here, tmp_path, capfd):
    with serving(lambda number, body: "program") as server:
        spent = ["solver.budget_tokens=150", "rollout.concurrency=4", "tracking.wandb=disabled"]
        status = main(overrides(server, tmp_path / "run", *spent))
    assert status == 0, capfd.readouterr()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "out_of_budget"
    assert set(summary["accuracy"]) == {"direct"}
    tokens = summary["solver"]["prompt_tokens"] + summary["solver"]["completion_tokens"]
    # Ten a request: the budget, and what the four episodes that were running had still to ask.
    assert 150 <= tokens <= 150 + 4 * 10 * 10
