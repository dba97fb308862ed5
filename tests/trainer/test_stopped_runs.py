"""Runs that were stopped: their files, and how they go on."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal

import pytest

from rollout.engine.weight_update import Update
from tests.trainer.fakes import Worker
from tests.trainer.small_run import Learner, run
from trainer.learner.learner_group import LearnerDied
from trainer.run_folder.files import read_json
from trainer.run_folder.full_disk import give_up_partial


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_run_ends_it_with_its_status_and_the_command_to_go_on(
    monkeypatch, tmp_path, number
):
    before = signal.getsignal(number)
    status, summary, _, screen, learner = run(
        monkeypatch, tmp_path, float("inf"), on_version=lambda version: version == 2 and os.kill(os.getpid(), number)
    )
    assert (status, summary["status"]) == (128 + number, "interrupted")
    assert "error" not in summary
    assert "To go on: python -m launch.train" in screen
    assert signal.getsignal(number) is before
    # The step that it was in is ended, and kept.
    assert summary["steps"] == 3
    assert learner.saved == ["step-3"]
    assert read_json(tmp_path / "run" / "checkpoints" / "step-3" / "state.json")["run"]["summary"]["steps"] == 3
    assert "It goes on after step 3. To go on: " in screen


def test_a_step_that_takes_too_long_for_a_stop_is_broken_off(monkeypatch, tmp_path):
    more = ["controller.stop_timeout_s=0", "algorithm.steps=8", "learner.checkpoint_every=2"]
    stop = lambda version: version == 3 and os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    status, summary, _, screen, learner = run(monkeypatch, tmp_path, float("inf"), on_version=stop, more=more)
    assert (status, summary["status"], learner.saved) == (130, "interrupted", ["step-2"])
    assert re.search(r"It goes on (after step 2|from step 2; step 3 is taken again)\. To go on: ", screen)


class SlowAtTheEnd(Worker):
    """Has no evaluation of version 4 end, or no proof that it was loaded; either asks for a stop when it has begun."""

    def __init__(self, slow):
        super().__init__()
        self.slow = slow

    async def _stop_meanwhile(self, slow):
        if slow == self.slow and self.version == 4:
            self.slow = ""
            asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGINT)
            await asyncio.sleep(1e6)

    async def _run(self, job, life):
        if job.ahead:
            await self._stop_meanwhile("evaluation")
        await super()._run(job, life)

    async def proof(self, version):
        await self._stop_meanwhile("proof")


@pytest.mark.parametrize("slow", ["evaluation", "proof"])
def test_a_stop_after_the_last_step_waits_for_nothing_that_the_checkpoint_does_not_need(monkeypatch, tmp_path, slow):
    async def probed(self, batch=()):
        return Update(self.version), [[1]] * bool(batch), [[-0.5]] * bool(batch)

    monkeypatch.setattr(Learner, "weights", probed)
    more = ["evaluation.every=4"]
    status, summary, rows, screen, learner = run(
        monkeypatch, tmp_path, float("inf"), more=more, worker=SlowAtTheEnd(slow)
    )
    assert (status, summary["status"], summary["steps"]) == (130, "interrupted", 4)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert learner.saved == ["step-4"]
    assert "It goes on after step 4. To go on: " in screen
    # The evaluation is what is left of stage 2, unless it ended while a proof was waited for: its result is there once.
    status, summary, rows, _, _ = run(monkeypatch, tmp_path, float("inf"), more=[*more, "resume=auto"])
    assert (status, summary["steps"], summary["best"]["version"]) == (0, 4, 4)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["eval/version"] for row in rows if "eval/version" in row] == [4]


@pytest.mark.parametrize(
    ("takes_s", "limit_s", "error", "saved"),
    [(0.2, 8, None, ["ppo"]), (60, 0, None, []), (0.2, 8, LearnerDied("learner-0 ended"), [])],
    ids=["in time", "too slow", "the learner dies"],
)
def test_a_stop_while_the_last_checkpoint_is_written_completes_it(
    monkeypatch, tmp_path, takes_s, limit_s, error, saved
):
    write = Learner.checkpoint

    async def checkpoint(self, folder):
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(takes_s)
        if error is not None:
            raise error
        await write(self, folder)

    monkeypatch.setattr(Learner, "checkpoint", checkpoint)
    more = [f"controller.stop_timeout_s={limit_s}"]
    status, summary, rows, _, learner = run(monkeypatch, tmp_path, float("inf"), more=more)
    assert (status, summary["status"], len(rows)) == (130, "interrupted", 4)
    assert (learner.saved, learner.restarts) == (saved, 0)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == saved


def test_a_run_that_is_stopped_in_stage_1_goes_on_where_it_was(monkeypatch, tmp_path):
    tuned = ["stages=[sft]", "sft.problems=80", "sft.batch_size=8", "sft.epochs=1"]
    stop = {"on_version": lambda version: version == 5 and os.kill(os.getpid(), signal.SIGTERM)}
    status, summary, _, screen, _ = run(monkeypatch, tmp_path, float("inf"), more=tuned, **stop)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert (status, summary["status"]) == (143, "interrupted")
    state = read_json(checkpoints / "sft_steps" / "step-6" / "state.json")
    assert (state["version"], state["run"]["summary"]["sft"]["sources"]["data"]["examples"]) == (6, 80)
    assert "It goes on after step 6 of stage 1.\n" in screen
    status, _, _, screen, _ = run(monkeypatch, tmp_path, float("inf"), more=[*tuned, "resume=auto"])
    assert (status, "goes on after 6 steps of stage 1" in screen) == (0, True)
    rows = [json.loads(row) for row in (tmp_path / "run" / "logs" / "sft.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert [path.name for path in checkpoints.iterdir()] == ["sft"]


def test_what_came_before_and_in_stage_1_is_kept_though_stage_2_has_no_checkpoint_yet(monkeypatch, tmp_path):
    more = ["stages=[sft,ppo,evaluate]", "sft.problems=16", "sft.batch_size=8", "sft.epochs=1"]
    run(monkeypatch, tmp_path, float("inf"), error=RuntimeError("broken"), more=more)  # in its first step of stage 2
    folder = tmp_path / "run"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["sft"]
    (folder / "checkpoints" / "sft" / "config.json").write_text("{}")
    # A process that is killed leaves no summary.
    (folder / "summary.json").unlink()
    state = read_json(folder / "sft" / "run.json")
    state["summary"]["seconds"]["sft"] += 1000
    (folder / "sft" / "run.json").write_text(json.dumps(state))
    status, summary, rows, *_ = run(monkeypatch, tmp_path, float("inf"), more=[*more, "resume=auto"])
    assert (status, len(rows), list(summary["accuracy"])) == (0, 4, ["base", "direct", "gold", "filler", "sft", "ppo"])
    assert summary["seconds"]["sft"] >= 1000
    assert summary["sft"]["steps"] == 2
    written = [json.loads(row)["split"] for row in (folder / "episodes.jsonl").read_text().splitlines()]
    assert [written.count(kind) for kind in ("base", "sft", "ppo")] == [4, 4, 4]


def test_what_there_was_no_time_to_complete_is_given_up_in_either_stage(tmp_path):
    for name in ("step-2.partial", "step-1", "sft_steps/step-7.partial", "sft_steps/step-6"):
        (tmp_path / name).mkdir(parents=True)
    give_up_partial(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("step-*")) == [
        "sft_steps/step-6", "step-1",
    ]  # fmt: skip


def test_a_run_that_is_made_longer_and_stopped_keeps_what_it_had_evaluated_and_the_cards(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path, float("inf"))
    folder, card = tmp_path / "run", tmp_path / "run" / "checkpoints" / "ppo" / "README.md"
    before, evaluated, longer = card.read_text(), read_json(folder / "summary.json"), ["algorithm.steps=40"]
    assert "4 learner steps" in before
    assert (folder / "overrides.yaml").is_file()
    assert evaluated["accuracy"]["ppo"]["step"] == 4
    stopping = {"on_version": lambda version: version == 6 and os.kill(os.getpid(), signal.SIGINT)}
    more = [*longer, "resume=auto"]
    status, summary, rows, screen, _ = run(monkeypatch, tmp_path, float("inf"), more=more, **stopping)
    assert (status, summary["status"], len(rows) > 4) == (130, "interrupted", True)
    assert card.read_text() == before
    assert summary["accuracy"] == evaluated["accuracy"]
    assert {name: summary[name] for name in ("n_eval", "rescued", "broken")} == {
        name: evaluated[name] for name in ("n_eval", "rescued", "broken")
    }
    assert "PPO decomposer, step 4" in (folder / "report.html").read_text()
    # The next result takes its place, with its episodes, and the card is of the new checkpoint.
    status, summary, _, screen, _ = run(monkeypatch, tmp_path, float("inf"), more=["algorithm.steps=8", "resume=auto"])
    assert (status, summary["accuracy"]["ppo"]["step"], summary["accuracy"]["gold"]["step"]) == (0, 8, 0)
    assert "8 learner steps" in card.read_text()
    assert ", step " not in screen
    assert "decomposer, step " not in (folder / "report.html").read_text()
    written = [json.loads(row) for row in (folder / "episodes.jsonl").read_text().splitlines()]
    assert [row["step"] for row in written if row["split"] == "ppo"] == [8] * 4
