"""Using what was trained: which configuration a run, a checkpoint or a model is asked with, and what is printed."""

from __future__ import annotations

import io
import json
from contextlib import asynccontextmanager, nullcontext

import pytest
import yaml

from conf.schema.base import ConfigError
from launch.ask import __main__ as command
from launch.ask import episodes
from launch.compose import compose
from launch.trained import trained
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn
from tests.trainer.fakes import Actor
from trainer.cluster.roles import RunningRoles
from trainer.run_folder.checkpoints import newest

QUESTION = "Ann has 3 pens [red]. Bob has twice as many. How many do they have?"


def keep(run, name, steps=None):
    """Write a decomposer among a run's checkpoints, as a checkpoint after so many steps if they are given."""
    folder = run / "checkpoints" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    if steps is not None:
        (folder / "state.json").write_text(json.dumps({"version": steps}))


@pytest.fixture
def run(tmp_path):
    """A run's folder with a solver of its own, two steps' checkpoints and no data set any more."""
    folder = tmp_path / "run"
    for name, steps in {"sft": None, "step-8": 8, "step-10": 10}.items():
        keep(folder, name, steps)
    values = compose(["solver=program", "strategy.max_tokens=33"]).model_dump(mode="json")
    values["model"]["path"] = "/gone/base"
    values["data"] = {"source": "files", "root": "/gone", "train": ["a.jsonl"], "held_out": ["b.jsonl"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder


def test_a_run_is_asked_as_it_was_trained_with_its_newest_decomposer(run):
    config = trained(str(run), [])
    assert config.model.path == str(run / "checkpoints" / "step-10")
    assert (config.solver.backend, config.strategy.max_tokens) == ("program", 33)
    (run / "checkpoints" / "ppo").mkdir()
    assert trained(str(run), []).model.path.endswith("step-10"), "a folder that holds no model yet is none"
    keep(run, "ppo", 12)
    assert trained(str(run), []).model.path.endswith("ppo")


def test_a_run_that_was_made_longer_and_stopped_is_asked_with_what_it_goes_on_from(run):
    keep(run, "ppo", 9)
    assert trained(str(run), []).model.path.endswith("step-10")
    assert newest(run / "checkpoints").folder.name == "step-10"
    keep(run, "ppo", 10)
    assert trained(str(run), []).model.path.endswith("ppo")
    assert newest(run / "checkpoints").folder.name == "ppo"


def test_a_run_that_was_stopped_in_stage_1_is_asked_with_its_newest_weights(run, tmp_path):
    early = tmp_path / "early"
    for name, steps in {"sft_steps/step-9": 9, "sft_steps/step-10": 10}.items():
        keep(early, name, steps)
    (early / "config.yaml").write_text((run / "config.yaml").read_text())
    assert trained(str(early), []).model.path == str(early / "checkpoints" / "sft_steps" / "step-10")
    keep(early, "sft")
    assert trained(str(early), []).model.path == str(early / "checkpoints" / "sft")


@pytest.mark.parametrize("name", ["sft", "step-8", "sft_steps/step-3"])
def test_a_checkpoint_of_a_run_keeps_the_runs_configuration(run, name):
    keep(run, name)
    config = trained(str(run / "checkpoints" / name), [])
    assert (config.model.path, config.solver.backend) == (str(run / "checkpoints" / name), "program")


def test_a_run_from_before_a_key_was_there_is_asked_with_todays_value(run):
    values = yaml.safe_load((run / "config.yaml").read_text())
    del values["rollout"]["weights"], values["strategy"]["gate"]
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    config = trained(str(run), [])
    assert (config.solver.backend, config.strategy.max_tokens, config.strategy.gate) == ("program", 33, "always")
    assert config.rollout.weights == compose([]).rollout.weights


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [("solver=second", "solver.path", "package:tiny_second_solver"),
     ("strategy=daslam", "strategy.max_subquestions", 8),
     ("verifier=tiny", "verifier.path", "package:tiny_verifier"),
     ("data=branched solver=second", "solver.path", "package:tiny_branched_second_solver")],
)  # fmt: skip
def test_an_option_is_that_of_the_runs_task(tmp_path, override, key, value):
    keep(tmp_path, "ppo", 12)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(compose(["data=chained"]).model_dump(mode="json")))
    config = trained(str(tmp_path), override.split())
    group, name = key.split(".")
    assert getattr(getattr(config, group), name) == value


def test_a_run_is_asked_without_what_only_its_training_needed(run):
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["rollout"] |= {"replay": "/gone/recorded.jsonl", "record": True}
    values["rollout"]["weights"]["transport"] = "nccl"
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    config = trained(str(run), [])
    assert (config.rollout.replay, config.rollout.record) == (None, False)
    assert config.rollout.weights == compose([]).rollout.weights


def test_a_run_is_asked_with_the_numbers_of_its_own_engines(run):
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["learner"]["dtype"] = "bfloat16"
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    assert trained(str(run), []).policy_dtype == "bfloat16"
    assert trained(str(run), ["model.dtype=float32"]).policy_dtype == "float32"
    del values["learner"]["dtype"]
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    assert trained(str(run), []).policy_dtype == "float32"


def test_overrides_change_a_group_or_a_key(run):
    config = trained(str(run), ["solver=openai", "solver.model=m", "strategy.max_subquestions=2"])
    assert (config.solver.backend, config.solver.model) == ("openai", "m")
    assert (config.strategy.max_tokens, config.strategy.max_subquestions) == (33, 2)
    assert trained(str(run), ["strategy=direct"]).strategy.max_tokens == 96
    assert trained("package:tiny_decomposer", ["solver.temperature=0.5"]).solver.temperature == 0.5


def test_a_plus_before_a_key_adds_it_whether_its_group_is_chosen_or_the_runs(run):
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["strategy"]["chat_arguments"] = {}
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    added = "+strategy.chat_arguments.enable_thinking=false"
    for chosen in ([], ["strategy=direct"], ["++evaluation.problems=5"]):
        assert trained(str(run), [*chosen, added]).strategy.chat_arguments == {"enable_thinking": False}
    with pytest.raises(ConfigError, match=r"strategy\.nah: unknown key 'nah'"):
        trained(str(run), ["+strategy.nah=1"])


def test_an_experiment_is_for_a_model_that_has_no_run(run):
    assert trained("package:tiny_decomposer", ["experiment=lm2_chained"]).strategy.name == "lm2"


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["solver.path=x"], "solver.path: unknown key"),
        (["solver=nah"], "solver: 'nah' is unknown; allowed: "),
        (["experiment=smoke"], "experiment: '"),
        (["+experiment=smoke"], "experiment: '"),
        (["model.path=package:tiny_decomposer"], "model.path: the decomposer that is asked is the first argument, '/"),
        (["start_from=package:tiny_decomposer"], "start_from: the decomposer that is asked is the first argument, '/"),
        (["model=gemma270m"], "model: the decomposer that is asked is the first argument, '/"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, overrides, named, capsys):
    assert command.main([str(run), QUESTION, "--set", *overrides]) == 2
    said = capsys.readouterr().err
    assert said.startswith(named)
    assert said.count("\n") == 1


def test_each_override_has_its_set_and_questions_may_stand_after_them(run, worker, capsys):
    given = [str(run), "--set", "solver=openai", "--set", "solver.model=m", QUESTION, "--json"]
    assert command.main(given) == 0
    assert json.loads(capsys.readouterr().out)["problem"]["question"] == QUESTION
    assert command.main([str(run), QUESTION, "--set", "solver=openai", "solver.model=m"]) == 2
    said = "'solver.model=m' is no question; allowed: --set before each override, as in --set solver.model=m\n"
    assert capsys.readouterr().err == said
    assert command.main([str(run), "x=3. What is x?"]) == 0


def test_a_run_without_a_decomposer_and_a_model_that_is_not_there_are_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.yaml").write_text((run / "config.yaml").read_text())
    with pytest.raises(ConfigError, match="holds no trained decomposer"):
        trained(str(tmp_path / "empty"), [])
    with pytest.raises(ConfigError, match="'/no/such' does not exist"):
        trained("/no/such", [])


class Worker:
    """A rollout worker that hands its episodes back one by one, the last first."""

    def __init__(self, fail: str | None = None) -> None:
        self.fail = fail
        self.jobs: list[object] = []

    async def submit(self, jobs):
        self.jobs += jobs

    async def collect(self, wait_s):
        job = self.jobs.pop()
        plan = Decomposition("How many has Bob?", ["How many has Bob?"])
        episode = Episode(job.problem, job.strategy, Attempt("Unclear."), plan, [Turn(plan.text, "Bob has 6.")])
        episode.final = Attempt(f"So it is {job.id + 9}.")
        return [type("Outcome", (), {"job": job, "episode": None if self.fail else episode, "error": self.fail})]


@pytest.fixture
def worker(monkeypatch):
    """The started worker, in place of Ray's."""
    made = Worker()

    monkeypatch.setattr(episodes, "FEW", 0)
    monkeypatch.setattr(episodes, "ray_session", nullcontext)

    @asynccontextmanager
    async def running(config, logs, only, say):
        say("  waiting for solver-0 for 30 s: loading")
        assert only == ("solver", "rollout")
        yield RunningRoles([], [Actor(made)], [], None, logs)

    monkeypatch.setattr(episodes, "running_roles", running)
    return made


def test_questions_are_answered_in_their_order(run, worker, capsys):
    assert command.main([str(run), QUESTION, "How many?", "--json"]) == 0
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert shown.err.splitlines() == [
        "loading the libraries …", "starting Ray and its actors …", "  waiting for solver-0 for 30 s: loading",
        "asking 2 questions …",
    ]  # fmt: skip
    assert [row["problem"]["question"] for row in rows] == [QUESTION, "How many?"]
    assert [row["final"]["answer"] for row in rows] == ["9", "10"]
    assert [row["turns"][0]["answer"] for row in rows] == ["6", "6"]


def test_the_episode_is_shown_as_it_is(run, worker, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{QUESTION}\n\n"))
    assert command.main([str(run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for text in ("3 pens [red]", "Unclear.", "How many has Bob?", "Bob has 6. → 6", "So it is 9.", "answer 9"):
        assert text in said


@pytest.mark.parametrize("as_json", [True, False])
def test_half_a_surrogate_pair_is_shown_as_a_question_mark(capsys, as_json):
    """As an own backend may leave it in a record, or a terminal in a question."""
    episode = Episode(Problem("question 1", "how many \udcff?", ""), "direct", final=Attempt("so \ud83d 问 5"))
    command._show(episode, as_json=as_json)
    shown = capsys.readouterr().out
    assert "so ? 问 5" in shown
    assert "how many ??" in shown
    if as_json:
        assert json.loads(shown)["final"]["text"] == "so ? 问 5"


@pytest.mark.parametrize("given", [b"Caf\xe9 owns 3 pens.\n", "half \ud83d".encode(errors="surrogatepass")])
def test_a_question_that_is_no_utf8_is_refused_before_anything_is_loaded(run, given, capsys, monkeypatch):
    for errors in ("strict", "surrogateescape"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8", errors=errors))
        assert command.main([str(run)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("a question is no UTF-8 (")
        assert said.count("\n") == 1


@pytest.mark.parametrize("given", [[""], [QUESTION, "  "]])
def test_an_empty_question_is_refused(run, given, capsys):
    assert command.main([str(run), *given]) == 2
    assert capsys.readouterr().err == "a question is empty; allowed: a text\n"


def test_what_could_not_be_answered_is_said(run, worker, capsys, monkeypatch):
    worker.fail = "ConnectionError: gone"
    assert command.main([str(run), QUESTION]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "question 1: ConnectionError: gone"
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    assert command.main([str(run)]) == 2
    assert "no question" in capsys.readouterr().err


@pytest.fixture
def no_ray(monkeypatch):
    def start_ray(config):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(episodes, "ray_session", start_ray)


CHAIN = "Amy owns 9 pens. Tom has 2 more than Amy. Eva has twice what Tom holds. How many pens does Eva have?"


def test_a_few_questions_are_answered_by_the_real_models_without_ray(no_ray, capsys):
    given = ["package:tiny_decomposer", CHAIN, CHAIN.replace("9", "7"), "--set", "data=chained", "--json"]
    assert command.main(given) == 0
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert [row["final"]["answer"] for row in rows] == ["22", "18"]
    said = [line for line in shown.err.splitlines() if line.endswith(" …")]
    assert said[0] == "loading the libraries …"
    assert said[1].startswith("loading ")
    assert said[2:] == ["starting the solver …", "asking question 1 …", "asking question 2 …"]
    assert rows[0]["decomposition"]["subquestions"][0] == "How many pens does Tom have?"
    assert (rows[0]["turns"][0]["answer"], rows[0]["outcome"]) == ("11", "ok")
    assert rows[0]["solver_tokens"] > 20


def test_what_cannot_be_loaded_is_said(no_ray, run, capsys):
    assert command.main([str(run), CHAIN]) == 1
    said = capsys.readouterr().err
    assert "Error: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("overrides", "questions", "way"),
    [
        ([], 1, "here"),
        (["solver=program"], 8, "here"),
        ([], 9, "ray"),
        (["rollout.gpus=1"], 1, "ray"),
        (["solver.gpus=0.5"], 1, "ray"),
        (["cluster.address=auto"], 1, "ray"),
    ],
)
def test_ray_is_for_many_questions_devices_and_clusters(overrides, questions, way, monkeypatch, tmp_path):
    monkeypatch.setattr(episodes, "_here", lambda config, work, logs, say: "here")
    monkeypatch.setattr(episodes, "_with_ray", lambda config, work, logs, say: "ray")
    config = compose(["stages=[evaluate]", *overrides])
    assert episodes.ask(config, episodes.jobs(["?"] * questions, "number", "daslam"), tmp_path) == way
