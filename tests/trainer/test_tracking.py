"""What W&B does wrong stops nothing, is said once, and is missing nowhere else."""

from __future__ import annotations

import json
import sys
import types

import pytest

from launch.compose import compose
from tests.trainer.loop import scored
from trainer.tracking import Tracker


class Broken:
    """A W&B run that breaks at the call of this name."""

    id, step = "abc", 0

    def __init__(self, breaks: str) -> None:
        self.breaks, self.calls = breaks, []
        self.summary = self

    def __getattr__(self, name):
        def call(*_, **__):
            self.calls.append(name)
            if name == self.breaks:
                raise ConnectionResetError("gone")

        return call


@pytest.mark.parametrize("breaks", ["init", "log", "update", "finish", "nothing"])
def test_a_wandb_that_breaks_is_said_once_and_stops_nothing(tmp_path, monkeypatch, breaks):
    run, said = Broken(breaks), []

    def init(**_):
        run.init()
        return run

    wandb = types.SimpleNamespace(init=init, Settings=dict, Table=dict, Image=str)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (tmp_path / "logs").mkdir()
    tracker = Tracker(compose([]), tmp_path, None, said.append)
    for step in (1, 2):
        tracker.step(step, {"reward/total": 1.0}, [scored(0, [0])])
    tracker.summary({"status": "finished"})
    tracker.image("picture", tmp_path / "none.png")
    tracker.close(0)
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert json.loads((tmp_path / "summary.json").read_text()) == {"status": "finished"}
    assert run.calls.count(breaks) == (breaks != "nothing")
    assert len(said) == (breaks != "nothing")
    assert (tmp_path / "logs" / "wandb.log").exists() == (breaks != "nothing")
    assert ("finish" in run.calls) == (breaks in ("finish", "nothing"))
