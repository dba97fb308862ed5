from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import re
import shlex
import signal
import sys
import threading
from dataclasses import replace

import pytest
from ray.exceptions import OutOfMemoryError, RayTaskError
from rich.console import Console

from launch.compose import compose
from rollout.signals import Stopped
from tests.trainer.fakes import Rewarder, Worker
from tests.trainer.small_run import Learner, run
from trainer.cluster import ray_cluster
from trainer.learner.learner import NonFiniteLoss
from trainer.learner.learner_group import LearnerDied
from trainer.run import Run
from trainer.tracking.labels import label
from trainer.tracking.live_view import View
from trainer.tracking.metrics_catalogue import CATALOGUE
from trainer.tracking.tracker import Tracker
from trainer.workers.errors import reason


def test_an_error_in_an_actor_is_said_by_its_cause():
    error = RayTaskError("train_step", "Traceback ...\n  File ...", NonFiniteLoss("loss is nan at version 3"))
    assert reason(error) == "NonFiniteLoss: loss is nan at version 3"


def test_what_ray_says_at_length_is_kept_to_its_first_line():
    assert reason(OutOfMemoryError("Memory on the node was low.\nRefer to ...\nCheck the logs.")) == (
        "OutOfMemoryError: Memory on the node was low."
    )


def test_other_errors_are_said_whole():
    assert reason(ValueError("wrong")) == "ValueError: wrong"


def test_a_run_tells_what_its_solver_was_asked(monkeypatch, tmp_path):
    status, summary, rows, screen, _ = run(monkeypatch, tmp_path, float("inf"))
    assert (status, summary["status"], summary["steps"]) == (0, "finished", 4)
    assert summary["solver"]["cost"] == 1.25
    assert {"direct", "gold", "filler", "base", "ppo"} == set(summary["accuracy"])
    for row in rows:
        assert row["solver/prompt_tokens"] == 900
        assert row["solver/retries"] == 1
        assert {name for name in CATALOGUE if name.startswith("solver/")} <= set(row)
    assert "budget" not in screen
    used = "5 requests answered, 1 more attempt without a reply, 1,000 tokens (900 read, 100 written), cost 1.25"
    assert screen.count(f"solver  {used}") == 1
    assert "solver requests" in (tmp_path / "run" / "report.html").read_text()
    # What is known before stage 2 is shown before it, and again at the end with its result.
    before, after = screen.split("done stage 2")
    assert "gold sub-questions" in before
    assert "PPO decomposer" not in before
    assert "PPO decomposer" in after
    # One by one, as they are found, and not with the table alone.
    found = re.findall(
        r"^  (.+): \d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]$", before.split("done evaluation")[0], re.MULTILINE
    )
    assert found == [label(kind) for kind in ("direct", "gold", "filler", "base")]
    assert re.search(r"the whole run takes about \d+ s: \d+ s so far, ", before) is None, "four steps tell nothing"


# Four kinds are evaluated before PPO, on four problems each.
@pytest.mark.parametrize(
    ("budget", "steps", "kinds"),
    [
        (6, 0, {"direct"}),
        (16 + 21, 2, {"direct", "gold", "filler", "base"}),
        (16 + 32 + 2, 4, {"direct", "gold", "filler", "base"}),
    ],
)
def test_a_run_whose_budget_is_spent_ends_in_order_and_says_so_once(monkeypatch, tmp_path, budget, steps, kinds):
    status, summary, rows, screen, learner = run(monkeypatch, tmp_path, budget)
    assert (status, summary["status"], summary["steps"]) == (0, "out_of_budget", steps)
    assert summary["solver"]["completion_tokens"] == 100
    assert set(summary["accuracy"]) == kinds
    assert all(entry["mean"] >= 0 for entry in summary["accuracy"].values())
    assert len(rows) == steps
    assert screen.count("budget is spent (cost 1.25, 1,000 tokens") == 1
    assert f"stopped after {steps} learner steps" in screen
    # The stage that it ended in is not done.
    assert len(re.findall(r"^broken off (?:evaluation|stage 2)\b.* after", screen, re.MULTILINE)) == 1
    assert ("ppo" in learner.saved) == (budget > 16)
    # What PPO made was not evaluated; the command that does so is printed where there is something.
    said = re.findall(r"^PPO decomposer: not measured \(budget spent\); .* alone: (.*)$", screen, re.MULTILINE)
    assert len(said) == (budget > 16)
    for line in said:
        assert shlex.split(line)[:3] == ["python", "-m", "launch.evaluate"]
        config = compose(["stages=[evaluate]", *shlex.split(line)[3:]])
        assert config.start_from == str(tmp_path / "run" / "checkpoints" / "ppo")
        assert config.stages == ["evaluate"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_run_is_ending_costs_nothing_of_what_it_writes(monkeypatch, tmp_path, number):
    before = signal.getsignal(number)
    status, summary, rows, screen, _ = run(
        monkeypatch, tmp_path, float("inf"), stopping=lambda: os.kill(os.getpid(), number)
    )
    assert (status, summary["status"], len(rows)) == (128 + number, "finished", 4)
    assert (tmp_path / "run" / "learning_curve.png").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
    assert screen.rstrip().endswith(str(tmp_path / "run"))
    assert signal.getsignal(number) is before


def test_ray_is_started_on_the_thread_that_lives_as_long_as_the_run(monkeypatch, tmp_path):
    # Its processes get SIGKILL when the thread that started them ends.
    threads = []

    def start_ray(config):
        threads.append(threading.current_thread())
        raise ConnectionError("no cluster")

    monkeypatch.setattr("trainer.run.start_ray", start_ray)
    monkeypatch.setattr("trainer.run.stop_ray", lambda config: None)
    config = compose(["tracking.wandb=disabled"])
    assert Run(config, tmp_path / "run", Console(file=io.StringIO()), []).execute() == 1
    assert threads == [threading.main_thread()]


def test_a_run_killed_while_it_writes_what_it_begins_with_can_be_gone_on_with(monkeypatch, tmp_path):
    """Writing a file whole takes its name, and leaves alone what another name leads to."""

    def start_ray(config):
        raise ConnectionError("no cluster")

    monkeypatch.setattr("trainer.run.start_ray", start_ray)
    monkeypatch.setattr("trainer.run.stop_ray", lambda config: None)
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.yaml", "overrides.yaml"):
        (folder / name).write_text("before")
        os.link(folder / name, tmp_path / name)
    assert Run(compose(["tracking.wandb=disabled"]), folder, Console(file=io.StringIO()), ["seed=0"]).execute() == 1
    assert (folder / "overrides.yaml").read_text() == "- seed=0\n"
    assert "seed: 0\n" in (folder / "config.yaml").read_text()
    assert {(tmp_path / name).read_text() for name in ("config.yaml", "overrides.yaml")} == {"before"}


def ended_at_start(monkeypatch, tmp_path, error):
    """A run that ends while Ray starts: its status, its summary, and the screen."""

    def start_ray(config):
        raise error

    monkeypatch.setattr("trainer.run.start_ray", start_ray)
    stopped = []
    monkeypatch.setattr("trainer.run.stop_ray", stopped.append)
    screen = io.StringIO()
    folder = tmp_path / "run"
    config = compose(["stages=[ppo]", "tracking.wandb=disabled"])
    status = Run(config, folder, Console(file=screen, width=500), []).execute()
    assert len(stopped) == 1
    return status, json.loads((folder / "summary.json").read_text()), screen.getvalue()


@pytest.mark.parametrize("error", [Stopped(signal.SIGTERM), SystemExit(15)], ids=["ours", "another's"])
def test_a_signal_while_ray_starts_ends_a_run_as_any_other(monkeypatch, tmp_path, error):
    status, summary, screen = ended_at_start(monkeypatch, tmp_path, error)
    assert (status, summary["status"]) == (143 if isinstance(error, Stopped) else 130, "interrupted")
    assert "To go on: python -m launch.train" in screen
    assert "Traceback" not in screen


def test_rays_own_handler_is_only_there_while_it_starts(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)

    def init(**_):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ray_cluster.ray, "init", init)
    monkeypatch.setattr(ray_cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_cluster, "stop_ray", lambda config: None)
    with pytest.raises(Stopped) as stopped:
        ray_cluster.start_ray(compose([]))
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/big/run/checkpoints/step-3.partial/x"),
        RayTaskError("save", "Traceback ...", OSError(errno.EDQUOT, "Disk quota exceeded")),
        RuntimeError("SafetensorError: I/O error: No space left on device (os error 28)"),
    ],
    ids=["here", "in an actor", "in another language"],
)
def test_a_full_disk_is_said_in_a_line_though_nothing_can_be_written(monkeypatch, tmp_path, error):
    unwritten = []

    def full(*_, **__):
        unwritten.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    partial = tmp_path / "run" / "checkpoints" / "step-3.partial"
    partial.mkdir(parents=True)
    monkeypatch.setattr("trainer.run.whole", full)
    monkeypatch.setattr("trainer.run.write_cards", full)
    monkeypatch.setattr("trainer.reports.run_page.write_report", full)
    status, summary, screen = ended_at_start(monkeypatch, tmp_path, error)
    assert (status, summary["status"], len(unwritten)) == (1, "failed", 3)
    assert summary["error"].startswith("no space left on device in /")
    assert f"failed {summary['error']}" in screen
    assert "Traceback" not in screen
    assert not partial.exists()


def test_a_kind_without_first_attempts_leaves_no_earlier_figures_in_the_summary(monkeypatch, tmp_path):
    class Unattempted(Rewarder):
        async def score(self, episodes):
            scored = await super().score(episodes)
            firsts = [0.0 if min(episode.token_versions) < 4 else None for episode in episodes]
            marked = zip(scored, firsts, strict=True)
            return [(episode, replace(reward, correct_initial=first)) for (episode, reward), first in marked]

    _, summary, _, _, _ = run(monkeypatch, tmp_path, float("inf"), rewarder=Unattempted())
    assert summary["accuracy"]["base"]["rescued"] > 0
    assert "rescued" not in summary["accuracy"]["ppo"]
    assert (summary["rescued"], summary["broken"]) == (None, None)


def test_an_end_that_cannot_be_written_is_no_good_end(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "run" / "report.html"))

    closed = []
    monkeypatch.setattr(Tracker, "close", lambda self, code: closed.append(code))
    monkeypatch.setattr("trainer.reports.run_page.write_report", full)
    status, _, _, screen, _ = run(monkeypatch, tmp_path, float("inf"))
    assert (status, closed) == (1, [0])
    assert f"failed no space left on device in {tmp_path}/run\n" in screen


def test_a_picture_that_cannot_be_drawn_is_said_and_the_run_is_none_the_worse(monkeypatch, tmp_path):
    def wrong(folder):
        raise ValueError("'yerr' must not contain negative values")

    closed = []
    monkeypatch.setattr(Tracker, "close", lambda self, code: closed.append(code))
    monkeypatch.setattr("trainer.reports.run_page.learning_curve", wrong)
    status, summary, _, screen, _ = run(monkeypatch, tmp_path, float("inf"))
    assert (status, summary["status"], closed) == (0, "finished", [0])
    assert screen.count("learning_curve.png could not be made (ValueError: 'yerr' must not contain negative") == 1
    assert "Traceback" in (tmp_path / "run" / "logs" / "pages.log").read_text()
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_learner_that_always_dies_ends_the_run_after_as_many_tries_as_are_allowed(monkeypatch, tmp_path):
    died, more = LearnerDied("learner-0 ended"), ["controller.learner_restarts=3"]
    status, summary, rows, screen, learner = run(monkeypatch, tmp_path, float("inf"), died, more=more)
    assert (status, summary["status"], summary["learner_restarts"]) == (1, "failed", 3)
    assert learner.restarts == 3
    assert "LearnerDied: learner-0 ended" in summary["error"]
    assert screen.count("goes on after step 0") == 3
    assert [row["step"] for row in rows] == [1, 2]
    assert {row["system/learner_restarts"] for row in rows} == {3}
    lost = (tmp_path / "run" / "logs" / "lost_steps.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in lost] == [1, 2] * 3
    # The evaluation before stage 2 is neither lost nor done again.
    assert set(summary["accuracy"]) == {"direct", "gold", "filler", "base"}
    splits = [json.loads(row)["split"] for row in (tmp_path / "run" / "episodes.jsonl").read_text().splitlines()]
    assert splits.count("gold") == 4


def test_an_evaluation_of_the_version_that_a_restarted_learner_goes_on_from_is_in_what_counts_once(
    monkeypatch, tmp_path
):
    train_step, begun, died = Learner.train_step, [], []
    best, metrics = tmp_path / "run" / "checkpoints" / "best", tmp_path / "run" / "metrics.jsonl"

    class LateEvaluation(Worker):
        async def _run(self, job, life):
            while job.ahead and not begun:
                await asyncio.sleep(0.01)
            await super()._run(job, life)

    async def dies_in_step_4(self, batch):
        # The evaluation of version 2 ends in step 3, after the checkpoint, and is told before the learner dies.
        if self.version == 2:
            begun.append(True)
            while not best.is_dir():
                await asyncio.sleep(0.01)
        if self.version == 3 and not died:
            while '"eval/version": 2.0' not in metrics.read_text():
                await asyncio.sleep(0.01)
            died.append(True)
            raise LearnerDied("learner-0 ended")
        return await train_step(self, batch)

    monkeypatch.setattr(Learner, "train_step", dies_in_step_4)
    more = ["evaluation.every=2", "learner.checkpoint_every=2", "algorithm.steps=6"]
    status, _, rows, _, learner = run(monkeypatch, tmp_path, float("inf"), more=more, worker=LateEvaluation())
    assert (status, learner.restarts) == (0, 1)
    (lost,) = (tmp_path / "run" / "logs" / "lost_steps.jsonl").read_text().splitlines()
    assert json.loads(lost)["eval/version"] == 2
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row.get("eval/version") for row in rows].count(2) == 1


def test_a_run_resumed_with_fewer_learner_restarts_than_it_had_ends_when_the_learner_dies(monkeypatch, tmp_path):
    versions = []

    def twice_then_stopped(version):
        versions.append(version)
        if len(versions) <= 2:
            raise LearnerDied("learner-0 ended")
        if version == 2:
            os.kill(os.getpid(), signal.SIGINT)

    def some_more_times(version):
        versions.append(version)
        if len(versions) <= 3:
            raise LearnerDied("learner-0 ended")

    status, summary, *_ = run(monkeypatch, tmp_path, float("inf"), on_version=twice_then_stopped)
    assert (status, summary["steps"], summary["learner_restarts"]) == (130, 3, 2)
    versions.clear()
    more = ["controller.learner_restarts=1", "resume=auto"]
    status, summary, _, _, learner = run(monkeypatch, tmp_path, float("inf"), on_version=some_more_times, more=more)
    assert (status, summary["status"], learner.restarts) == (1, "failed", 0)
    assert (versions, summary["learner_restarts"]) == ([3], 2)


def test_a_loss_that_is_not_finite_ends_the_run_and_its_problems_are_written_down(monkeypatch, tmp_path):
    error = NonFiniteLoss("loss is NaN in step 3", 3, ["p-1", "p-2"])
    status, summary, rows, _, learner = run(
        monkeypatch, tmp_path, float("inf"), RayTaskError("train_step", "Traceback ...", error)
    )
    assert (status, summary["status"], summary["error"]) == (1, "failed", "NonFiniteLoss: loss is NaN in step 3")
    written = json.loads((tmp_path / "run" / "non_finite.json").read_text())
    assert (written["step"], written["problems"]) == (3, ["p-1", "p-2"])
    assert learner.restarts == 0
    assert "ppo" not in learner.saved
    assert len(rows) == 2


def test_a_loss_of_stage_1_that_is_not_finite_is_written_down_without_problems(monkeypatch, tmp_path):
    def broken(version):
        if version == 4:
            raise NonFiniteLoss("loss of step 5 of stage 1 is NaN", 5)

    more = ["stages=[sft]", "sft.problems=48", "sft.batch_size=8", "sft.epochs=1"]
    status, summary, *_ = run(monkeypatch, tmp_path, float("inf"), on_version=broken, more=more)
    assert (status, summary["status"]) == (1, "failed")
    written = json.loads((tmp_path / "run" / "non_finite.json").read_text())
    assert written == {"step": 5, "error": "loss of step 5 of stage 1 is NaN"}


@pytest.mark.parametrize(("kind", "found"), [("policy", 37), ("least_to_most", 37), ("sft", 37), ("gold", None)])
def test_the_summary_says_how_many_the_last_decomposer_rescued(monkeypatch, tmp_path, kind, found):
    async def evaluated(*_):
        return {"mean": 0.5, "low": 0.4, "high": 0.6, "rescued": 37, "broken": 4}, []

    monkeypatch.setattr("trainer.run.evaluate", evaluated)
    made = Run(compose(["stages=[evaluate]"]), tmp_path / "run", Console(file=io.StringIO()), [])
    asyncio.run(made._evaluate(View(made.console), None, [], [kind]))
    assert made.summary["rescued"] == found
