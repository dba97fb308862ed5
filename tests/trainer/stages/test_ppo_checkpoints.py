"""Stopping between two steps and going on: controllers over stand-ins, the files of a run, replays."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose
from launch.train import main
from rollout.engine.weight_update import Update
from rollout.jobs import sampling_seed
from rollout.records import RecordError
from tests.trainer.fakes import Group, Worker, write_checkpoint
from tests.trainer.loop import GROUPS, make_pipeline, problems
from tests.trainer.samples import scored
from trainer.algorithm.experience import make_experience
from trainer.run_folder.checkpoints import STATE, CheckpointLacks, newest, prune
from trainer.run_folder.files import begin_folder, complete, cut, read_rows
from trainer.run_folder.resume import check_resumable
from trainer.stages.ppo import Controller
from trainer.stages.ppo_checkpoints import Recovery
from trainer.tracking.tracker import Tracker
from trainer.workers.recorded_pipeline import Replay, read_recording
from trainer.workers.scored_episode_json import read_scored, scored_row, write_scored

# -- the controller ----------------------------------------------------------------------------------------------


class Stop(Exception):
    """The end of a process."""


async def life(config, folder, consumed, stop_after=None, **kinds):
    """One process: from the newest state in ``folder`` to the end, or killed in the step after ``stop_after``."""
    pipeline, group, kept = make_pipeline([Worker(1), Worker(2)]), Group(), newest(folder)
    state = kept.state["controller"] if kept else {"drawn": 0}

    async def on_step(step, metrics, batch):
        del consumed[step - 1 :]
        consumed.append([(item.job.problem.id, item.job.seed) for item in batch])

    async def on_checkpoint(step):
        partial = begin_folder(folder / f"step-{step}")
        found, waiting = controller.state()
        (partial / STATE).write_text(json.dumps({"version": step, "controller": found}))
        write_scored(partial / "waiting.jsonl", waiting)
        complete(partial)

    async def train_step(batch):
        if group.version == stop_after:
            raise Stop
        return await Group.train_step(group, batch)

    rest = itertools.islice(problems(**kinds), state["drawn"], None)
    controller = Controller(config, pipeline, group, rest, on_step, on_checkpoint)
    if kept:
        controller.restore(state, read_scored(kept.folder / "waiting.jsonl"))
        group.version = kept.version
    group.train_step = train_step
    pipeline.start()
    await pipeline.publish(Update(group.version))
    try:
        async with asyncio.timeout(60):
            await controller.run()
            return controller
    finally:
        await pipeline.stop()


def lives(folder, stops, overrides, **kinds):
    config = compose(["algorithm.steps=12", "algorithm.batch_size=8", "learner.checkpoint_every=2", *overrides])
    consumed: list = []
    for stop in stops:
        with pytest.raises(Stop):
            asyncio.run(life(config, folder, consumed, stop, **kinds))
    return asyncio.run(life(config, folder, consumed, **kinds)), consumed


@pytest.mark.parametrize("overrides", [[], GROUPS, [*GROUPS, "algorithm.resample_flat_groups=true"]])
def test_a_synchronous_run_that_was_stopped_consumes_what_it_would_have(tmp_path, overrides):
    kinds = {"poison_every": 5, "varied_every": 3}
    overrides = [*overrides, "controller.max_staleness=0"]
    whole, expected = lives(tmp_path / "whole", [], overrides, **kinds)
    result, consumed = lives(tmp_path / "stopped", [1, 3, 4, 4, 11], overrides, **kinds)
    assert [Counter(batch) for batch in consumed] == [Counter(batch) for batch in expected]
    assert (result.dropped, result.version) == (whole.dropped, 12)


def test_without_failures_the_order_is_that_of_the_problems(tmp_path):
    _, consumed = lives(tmp_path, [3, 7], ["controller.max_staleness=0", "seed=3"])
    ids = [problem.id for problem in itertools.islice(problems(), 12 * 8)]
    assert [item for batch in consumed for item in batch] == [
        (name, sampling_seed(3, name, number)) for number, name in enumerate(ids)
    ]


@pytest.mark.parametrize("overrides", [[], GROUPS])
def test_whatever_the_staleness_every_problem_has_one_outcome(tmp_path, overrides):
    extra = [*overrides, "controller.max_staleness=2"]
    controller, consumed = lives(tmp_path, [1, 2, 5, 9], extra, poison_every=5)
    size = controller.group_size
    trained = Counter(name for batch in consumed for name, _ in batch)
    assert set(trained.values()) == {size}
    assert controller.max_staleness <= 2
    drawn = {problem.id for problem in itertools.islice(problems(5), controller._drawn)}
    assert set(trained) <= drawn
    assert len(drawn - set(trained)) * size == controller.dropped
    assert controller.staleness.admitted == 12 * 8
    assert not len(controller.in_flight)


def test_a_state_holds_what_waits_what_runs_and_what_was_put_back():
    async def make():
        config = compose([*GROUPS, "algorithm.group_size=2", "algorithm.batch_size=4"])
        controller = Controller(config, make_pipeline([Worker()]), Group(), problems(), lambda *_: None)
        controller.version, controller.refused, controller._flat_since_step = 1, 2, 1
        controller.staleness.admit(4)
        ledger = controller.in_flight
        groups = [ledger.admit(controller._fresh_group) for _ in range(3)]
        ledger.keep([scored(0, [0]), scored(1, [1])])
        assert ledger.put_back(lambda group: True) == 1
        ledger.keep([scored(2, [0]), scored(3, [1])])
        state, waiting = controller.state()
        again = Controller(config, make_pipeline([Worker()]), Group(), problems(), lambda *_: None)
        again.restore(json.loads(json.dumps(state)), waiting)
        return controller, again, groups

    before, after, groups = asyncio.run(make())
    assert after.state() == before.state()
    assert after.staleness.admitted == before.staleness.admitted == 4 + 4
    assert after.in_flight.running == groups[2]
    assert [job.seed for job in after.in_flight.admit(after._fresh_group)] == [100, 101], "what was put back"


def test_what_was_counted_since_a_state_stays_counted_when_its_process_goes_back_to_it():
    async def make():
        controller = Controller(compose([]), make_pipeline([Worker()]), Group(), problems(), lambda *_: None)
        controller.pipeline.counts |= {"restarts": 1, "retried": 9}
        state, waiting = controller.state()
        again = Controller(compose([]), make_pipeline([Worker()]), Group(), problems(), lambda *_: None)
        again.pipeline.counts |= {"restarts": 2}
        again.restore(state, waiting)
        return again.pipeline.counts

    counts = asyncio.run(make())
    assert (counts["restarts"], counts["retried"]) == (2, 9)


# -- files -------------------------------------------------------------------------------------------------------


def test_only_complete_folders_are_found_and_kept(tmp_path):
    for step in (2, 10, 4):
        partial = begin_folder(tmp_path / f"step-{step}")
        (partial / STATE).write_text(json.dumps({"version": step}))
        complete(partial)
    partial = begin_folder(tmp_path / "step-12")
    (partial / STATE).write_text(json.dumps({"version": 12}))
    (tmp_path / "sft").mkdir()
    (tmp_path / "step-1000").mkdir()  # of another program
    assert newest(tmp_path).version == 10
    prune(tmp_path, "step-", 2)
    assert {path.name for path in tmp_path.iterdir()} == {"step-4", "step-10", "step-12.partial", "sft", "step-1000"}
    assert newest(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["algorithm.steps=49"], ["algorithm.steps: 49", "50"]),
        (["algorithm.steps=61"], []),
        (["learner.ranks=2"], ["learner.ranks: 2", "1"]),
        (["+model.lora={rank: 4, alpha: 8}"], ["model.lora.rank: 4", "None"]),
        (["solver=program"], ["solver.backend: 'program'", "'vllm'"]),
        (["controller.max_tries=9", "tracking.wandb=disabled", "rollout.workers=2", "learner.checkpoint_every=3"], []),
    ],
)
def test_a_configuration_that_learns_something_else_cannot_be_resumed(tmp_path, capsys, overrides, named):
    import yaml

    before = "algorithm.steps=50"
    overrides = [before, *overrides]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(compose([before]).model_dump(mode="json")))
    if not named:
        check_resumable(tmp_path, compose([*overrides, f"run_dir={tmp_path}", "resume=auto"]))
        return
    assert main([*overrides, f"run_dir={tmp_path}", "resume=auto"]) == 2
    said = capsys.readouterr().err
    assert all(text in said for text in [*named, str(tmp_path)]), said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["resume=auto"], "run_dir must be given"),
        (["resume=always"], "resume: 'always'"),
        (["rollout.replay=nowhere.jsonl", "stages=[ppo]"], "rollout.replay: 'nowhere.jsonl' does not exist"),
        (["rollout.replay=nowhere.jsonl"], "allowed: [ppo]"),
    ],
)
def test_what_cannot_be_resumed_or_replayed_is_refused(overrides, named):
    with pytest.raises(ConfigError) as error:
        compose(overrides)
    assert named in str(error.value)


def test_a_file_is_cut_to_the_steps_that_count(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    assert cut(file, lambda row: row["step"] <= 2) == [{"step": 3}]
    assert file.read_text() == '{"step": 1}\n{"step": 2}\n'
    assert cut(tmp_path / "none", lambda row: False) == read_rows(tmp_path / "none") == []


def test_a_tracker_repeats_no_step_and_keeps_what_was_lost(tmp_path):
    config = compose(["tracking.wandb=disabled", "rollout.record=true"])
    (tmp_path / "logs").mkdir()
    tracker = Tracker(config, tmp_path)
    tracker.episode(scored(0, [0]), "sft", 0)
    for step in (1, 2, 3):
        tracker.step(step, {"reward/total": step}, [scored(step, [step])])
    tracker.episode(scored(0, [0]), "ppo", 2)
    tracker.rewind(2, {"sft": {}})
    tracker.step(3, {"reward/total": 30}, [scored(30, [3])])
    tracker.close(0)
    assert [(row["step"], row["reward/total"]) for row in read_rows(tmp_path / "metrics.jsonl")] == [
        (1, 1),
        (2, 2),
        (3, 30),
    ]
    assert [(row["split"], row["step"]) for row in read_rows(tmp_path / "episodes.jsonl")] == [
        ("sft", 0), ("train", 1), ("train", 2), ("train", 3),
    ]  # fmt: skip
    assert [item.job.id for item in read_scored(tmp_path / "recorded.jsonl")] == [1, 2, 30]
    assert read_rows(tmp_path / "logs" / "lost_steps.jsonl") == [{"step": 3, "reward/total": 3}]


# -- replay ------------------------------------------------------------------------------------------------------


def recording(path: Path, versions: list[int]) -> Path:
    write_scored(path, [scored(index, [version, version]) for index, version in enumerate(versions)])
    return path


def test_a_recorded_episode_is_read_as_it_was(tmp_path):
    item = scored(3, [1, 2], total=0.1 + 0.2)
    assert read_scored(recording(tmp_path / "a", [1]))[0].episode.token_versions == [1, 1]
    write_scored(tmp_path / "b", [item])
    assert read_scored(tmp_path / "b") == [item]


@pytest.mark.parametrize(
    ("versions", "named"),
    [
        ([0, 0, 0], "holds 3 episodes"),
        ([0, 0, 1, 2], "line 4 was sampled by weight versions 2 to 2 and would be trained on at version 1"),
        ([0, 0, 1, 0], "line 4 was sampled by weight versions 0 to 0"),
        ([0, 0, 1, 1], ""),
    ],
)
def test_a_recording_that_does_not_fit_is_refused(tmp_path, versions, named):
    config = compose(
        ["algorithm.steps=2", "algorithm.batch_size=2", "algorithm.minibatches=1", "controller.max_staleness=0"]
    )
    path = recording(tmp_path / "recorded.jsonl", versions)
    if not named:
        assert len(read_recording(path, config)) == 4
        return
    with pytest.raises(RecordError, match=named):
        read_recording(path, config)


def test_a_line_that_is_no_episode_is_refused_by_number(tmp_path):
    path = recording(tmp_path / "recorded.jsonl", [0, 0])
    row = json.loads(path.read_text().splitlines()[0])
    row["calls"][0]["logprobs"] = [0.0]
    path.write_text(path.read_text() + json.dumps(row) + "\n")
    with pytest.raises(RecordError, match=r"recorded\.jsonl, line 3: .*one entry a token"):
        read_scored(path)


def test_a_recorded_episode_of_several_calls_is_read_as_it_was(tmp_path):
    item = scored(3, [1, 2], 0.25, later=[[], [2, 3, 3]])
    item = replace(item, reward=replace(item.reward, by_call=[0.5, 0.0, -0.25]))
    write_scored(tmp_path / "a", [item])
    assert read_scored(tmp_path / "a") == [item]
    assert make_experience(item.episode, item.reward, "call") == make_experience(
        read_scored(tmp_path / "a")[0].episode, item.reward, "call"
    )


def test_a_recording_of_an_earlier_version_has_one_call(tmp_path):
    item = scored(3, [1, 2])
    row = scored_row(item)
    (call,) = row.pop("calls")
    row["policy"] = {name: value for name, value in call.items() if name not in ("purpose", "text")}
    del row["reward"]["by_call"]
    for name in ("concepts", "refused", "decomposer_tokens", "verifier_tokens", "verifier_prompt_tokens"):
        del row["episode"][name]
    (tmp_path / "a").write_text(json.dumps(row) + "\n")
    assert read_scored(tmp_path / "a") == [item]


@pytest.mark.parametrize(
    ("later", "named"),
    [
        ([[1], [1, 0]], "line 3 was sampled by weight versions 0 to 1 and would be trained on at version 1"),
        ([[], [1, 2]], "line 3 was sampled by weight versions 1 to 2 and would be trained on at version 1"),
        ([[], [1]], ""),
    ],
)
def test_the_oldest_and_the_newest_token_of_all_calls_decide_whether_a_recording_fits(tmp_path, later, named):
    config = compose(
        ["algorithm.steps=2", "algorithm.batch_size=2", "algorithm.minibatches=1", "controller.max_staleness=0"]
    )
    write_scored(tmp_path / "a", [scored(0, [0]), scored(1, [0]), scored(2, [1], later=later), scored(3, [1])])
    if not named:
        assert len(read_recording(tmp_path / "a", config)) == 4
        return
    with pytest.raises(RecordError, match=named):
        read_recording(tmp_path / "a", config)


def test_a_recorded_call_has_one_of_each_for_every_token_and_an_episode_has_a_token(tmp_path):
    write_scored(tmp_path / "a", [scored(0, [0]), scored(1, [0, 0], later=[[0]])])
    rows = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()]
    rows[1]["calls"][1]["versions"] = [0, 0]
    (tmp_path / "a").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RecordError, match=r"line 2: .*one entry a token"):
        read_scored(tmp_path / "a")
    for empty in (scored(0, [], later=[[]]), replace(scored(0, []), episode=replace(scored(0, []).episode, calls=[]))):
        write_scored(tmp_path / "a", [empty])
        with pytest.raises(RecordError, match="one or more in all"):
            read_scored(tmp_path / "a")


def test_a_replay_gives_the_recorded_episodes_in_their_order_to_the_ids_asked_for():
    async def go():
        replay = Replay([scored(index, [0]) for index in (7, 3, 9)], 5.0)
        await replay.publish(Update(4))
        job = scored(2, [0]).job
        await replay.submit([job])
        (found,) = await replay.next()
        return replay.version, found.job.id, found.job.seed, [problem.id for problem in replay.problems(1)]

    assert asyncio.run(go()) == (4, 2, 109, ["p-3", "p-1", "p-4"])


# -- what is complete ----------------------------------------------------------------------------------------------


class Writes:
    """Learner ranks that leave one file on another machine."""

    def __init__(self, missing: str = "") -> None:
        self.missing = missing

    async def checkpoint(self, folder):
        write_checkpoint(folder, ranks=2)
        if self.missing:
            (Path(folder) / self.missing).unlink()


class AtStep:
    def __init__(self, version: int) -> None:
        self.version = version

    def state(self):
        return {"drawn": 0}, []


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "learner/rank-0.json", "learner/rank-1.json"])
def test_a_checkpoint_that_lacks_a_part_is_not_complete_and_removes_no_other(tmp_path, missing):
    config = compose(["learner.ranks=2", "learner.keep_checkpoints=1"])
    recovery = Recovery(config, tmp_path, None)
    asyncio.run(recovery.save("step-5", AtStep(5), Writes(), {}))
    with pytest.raises(CheckpointLacks, match=rf"lacks {missing}, .*run_dir must be a folder that all machines share"):
        asyncio.run(recovery.save("step-10", AtStep(10), Writes(missing), {}))
    assert newest(tmp_path).version == recovery.version == 5
    asyncio.run(recovery.save("step-10", AtStep(10), Writes(), {}))
    assert newest(tmp_path).version == 10
    assert not (tmp_path / "step-5").exists()
