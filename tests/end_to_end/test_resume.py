"""Killed and gone on with: replays, which need no engines, bitwise; and the whole thing, problem by problem."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from conf.schema.places import ROOT
from conf.schema.rewards import PARTS
from launch import train
from launch.compose import compose
from rewards.reward import Reward, Scored
from rollout.jobs import Job, sampling_seed
from rollout.records import Attempt, Episode, PolicyCall, Problem
from tests.end_to_end import offline
from trainer.run import make_source
from trainer.run_folder.files import read_rows
from trainer.workers.scored_episode_json import read_scored, write_scored

STEPS, BATCH = 16, 16
TIMED = ("time/", "throughput/", "system/")


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "launch.train", f"run_dir={folder}", *overrides],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        # Tests that a script started in the background have inherited that Ctrl-C is ignored; a person has not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    return output


def metrics(folder: Path) -> list[dict]:
    """Return the steps that are written; the last line of a run that goes on may be half there."""
    return read_rows(folder / "metrics.jsonl")


def wait_for(process: subprocess.Popen[str], reached) -> None:
    deadline = time.monotonic() + 900
    while not reached():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_all(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the run, upon which its actors end by themselves; Ray's agents, which linger, get one too."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    agents = [child for child in family if "Agent" in child.name()]
    _, alive = psutil.wait_procs(set(family) - set(agents), timeout=240)
    assert not alive, [found.cmdline() for found in alive]
    for agent in agents:
        with suppress(psutil.NoSuchProcess):
            agent.kill()


def kill_learner(process: subprocess.Popen[str]) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    learner = next(child for child in children if "Learner" in " ".join(child.cmdline()[:1]))
    learner.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A recording of made-up episodes, long enough for a step to last."""
    rng = random.Random(0)
    episodes = []
    for index in range(STEPS * BATCH):
        tokens = [rng.randint(1, 500) for _ in range(rng.randint(4, 40))]
        logprobs = [-7.0 + rng.random() for _ in tokens]
        sample = PolicyCall(
            "decompose", [rng.randint(1, 500) for _ in range(60)], tokens, logprobs, [index // BATCH] * len(tokens)
        )
        job = Job(index, Problem(f"p-{index}", "How many?", "1"), "daslam", index)
        total = rng.random()
        reward = Reward(dict.fromkeys(PARTS, total), total, {}, [], total, 0.0)
        episodes.append(Scored(job, Episode(job.problem, "daslam", Attempt("?"), calls=[sample]), reward))
    path = tmp_path_factory.mktemp("recorded") / "recorded.jsonl"
    write_scored(path, episodes)
    return path


def engine_state(folder: Path) -> list[torch.Tensor]:
    """Every tensor of the learner's files, in order."""

    def tensors(value):
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                yield from tensors(item)

    files = sorted((folder / "checkpoints" / "ppo" / "learner" / "engine").glob("*.pt"))
    return [tensor for file in files for tensor in tensors(torch.load(file, weights_only=False))]


def test_a_replay_that_was_killed_twice_ends_bitwise_where_another_does(recorded, tiny_model, tmp_path, capsys):
    settings = [
        f"rollout.replay={recorded}", "stages=[ppo]", f"model.path={tiny_model}", "controller.max_staleness=0",
        f"algorithm.steps={STEPS}", f"algorithm.batch_size={BATCH}", "learner.checkpoint_every=4",
        "algorithm.kl_control=adaptive", "algorithm.kl_target=0.01", "rollout.record=true",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(whole, *settings, "tracking.wandb=disabled"))
    process = start(killed, *settings)
    wait_for(process, lambda: len(metrics(killed)) >= 6)
    kill_all(process)
    reached = len(metrics(killed))
    assert 6 <= reached < STEPS
    process = start(killed, *settings, "resume=auto")
    wait_for(process, lambda: len(metrics(killed)) >= reached + 5)
    kill_learner(process)
    output = finish(process)
    assert "the learner is started again and goes on after step" in output
    assert "(raylet)" not in output
    rows, expected = metrics(killed), metrics(whole)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    for row, want in zip(rows, expected, strict=True):
        assert set(row) - {"system/resident_gib"} == set(want) - {"system/resident_gib"}
        assert [name for name in row if row[name] != want.get(name) and not name.startswith(TIMED)] == []
    assert rows[-1]["system/learner_restarts"] == 1
    assert len({row["policy/kl_coef"] for row in rows}) > 2
    for name in ("recorded.jsonl", "episodes.jsonl"):
        assert (killed / name).read_text() == (whole / name).read_text()
    weights = [load_file(folder / "checkpoints" / "ppo" / "model.safetensors") for folder in (whole, killed)]
    start_weights = load_file(tiny_model / "model.safetensors")
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
        assert not torch.equal(value, start_weights[name])
    states = engine_state(whole), engine_state(killed)
    assert len(states[0]) > 10
    assert all(torch.equal(*pair) for pair in zip(*states, strict=True))
    summary = json.loads((killed / "summary.json").read_text())
    assert (summary["status"], summary["steps"], summary["learner_restarts"]) == ("finished", STEPS, 1)
    sessions = offline.records(killed)
    assert len(sessions) == 2
    assert len({record["run"]["run_id"] for found in sessions for record in found if record["type"] == "run"}) == 1
    # The metrics of a step that was taken twice are those of the first time, and the same.
    sent = [row for found in sessions for row in offline.history(found)]
    assert [row["_step"] for row in sent] == list(range(1, STEPS + 1))
    assert [row["policy/loss"] for row in sent] == [row["policy/loss"] for row in rows]
    offline.check_table(killed, offline.episodes_table(killed, sessions[-1]))
    # A finished run is left as it is.
    assert train.main([f"run_dir={killed}", *settings, "resume=auto"]) == 0
    assert "is finished" in " ".join(capsys.readouterr().out.split())


def test_a_run_whose_worker_and_learner_were_killed_and_that_was_stopped_consumes_what_it_would_have(tmp_path):
    """Sampling at staleness 0, with an adapter: stage 1, eight steps, the worker killed in the second, Ctrl-C in the
    fifth; the learner killed after the sixth."""
    settings = [
        "stages=[sft,ppo]", "sft.problems=96", "algorithm.steps=8", "algorithm.batch_size=16", "rollout.record=true",
        "learner.checkpoint_every=2", "controller.max_staleness=0", "tracking.wandb=disabled", "solver=program",
        "+model.lora={rank: 4, alpha: 8}", "rollout.weights.verify=true",
    ]  # fmt: skip
    folder = tmp_path / "run"
    process = start(folder, *settings)
    wait_for(process, lambda: len(metrics(folder)) >= 1)
    rollout_worker(process).kill()
    wait_for(process, lambda: len(metrics(folder)) >= 4)
    stop_in_order(process, folder)
    process = start(folder, *settings, "resume=auto")
    wait_for(process, lambda: len(metrics(folder)) >= 6)
    kill_learner(process)
    assert re.search(r"goes on after step \d", finish(process))
    rows = metrics(folder)
    assert [row["step"] for row in rows] == list(range(1, 9))
    source = make_source(compose(settings).data)
    problems = [problem.id for problem in itertools.islice(source.train(0), 96, 96 + 8 * 16)]
    consumed = [(item.job.problem.id, item.job.seed) for item in read_scored(folder / "recorded.jsonl")]
    assert consumed == [(name, sampling_seed(0, name, number)) for number, name in enumerate(problems)]
    # Only the adapter travels, and a worker in its second life makes of it what the learner has.
    assert 0 < max(row.get("throughput/weights_mib", 0.0) for row in rows) < 1
    # A step without a proof of its weights and without samples of them has no gap: the worker was away.
    gaps = [row["policy/engine_logprob_gap"] for row in rows if "policy/engine_logprob_gap" in row]
    assert len(gaps) >= len(rows) // 2
    assert max(gaps) < 1e-3


def rollout_worker(process: subprocess.Popen[str]) -> psutil.Process:
    """Return the rollout worker's process as soon as it bears that name, which Ray may change between two methods."""
    deadline = time.monotonic() + 240
    while True:
        assert process.poll() is None, process.stdout.read()
        family = psutil.Process(process.pid).children(recursive=True)
        names = {p: " ".join(p.cmdline()[:1]) for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE}
        for found, name in names.items():
            if "RolloutWorker" in name:
                return found
        assert time.monotonic() < deadline, names
        time.sleep(0.1)


def stop_in_order(process: subprocess.Popen[str], folder: Path) -> None:
    """Ctrl-C: nothing is left behind, and the command that goes on is said."""
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) > 5
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=240)
    stopped = time.monotonic()
    _, alive = psutil.wait_procs(family, timeout=120)
    assert not alive, [(p.pid, p.name()) for p in alive]
    assert time.monotonic() - stopped < 20
    assert process.returncode == 130
    assert "To go on: python -m launch.train" in output
    assert f"run_dir={folder} resume=auto" in output
    assert "Traceback" not in output
    assert json.loads((folder / "summary.json").read_text())["status"] == "interrupted"
