"""Runs that were stopped: their files, and how they go on."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from tests.trainer.small_run import run
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
