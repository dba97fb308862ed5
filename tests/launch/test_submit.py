from __future__ import annotations

import argparse
import datetime
import http.server
import logging
import shlex
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from conf.schema.base import MODEL, PATH, ConfigError
from conf.schema.keys import entries, marked
from launch.compose import compose, first_trial
from launch.submit import __main__ as command
from launch.submit import job_request
from launch.submit.__main__ import main
from launch.submit.job_request import ROOT, go_on_command, prepare, runtime_env, submit
from launch.submit.job_server import Refused
from trainer.run_folder.code_version import code_version


@pytest.fixture(autouse=True)
def logs_again():
    """The command quietens its whole process, which here is that of other tests too."""
    yield
    logging.disable(logging.NOTSET)


def environment(**given: object) -> dict:
    options = {"env": [], "image": None, "runtime_env": None} | given
    return runtime_env(argparse.Namespace(**options))


def test_a_job_joins_its_cluster_and_has_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "it's a model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    config, overrides = prepare(['model.path="./it\'s a model"', "run_dir=out", "seed=3"])
    again = compose(overrides)
    assert (again.cluster.address, again.seed) == ("auto", 3)
    assert again.model.path == str(model)
    assert again.run_dir == str(tmp_path / "out")
    assert again.solver.path == config.solver.path == "package:tiny_branched_solver"
    assert Path(again.solver.cache_path).is_absolute()


# But for those of a matrix, with which no job is submitted.
MARKED = {key.name: key.markers for key in marked(PATH, MODEL) if key.name != "matrix.run"}
# What has a path in it, where that is not the key alone.
TYPED = {
    "sft.sources.*.path": ["+sft.sources.mine={{kind: file, path: {path}}}"],
    "sft.held_out.also.*": ["+sft.held_out.also={{my.file: {path}}}"],
    "rollout.replay": ["rollout.replay={path}", "stages=[ppo]"],
    "verifier.path": ["verifier=vllm", "verifier.path={path}"],
    "verifier.cache_path": ["verifier=vllm", "verifier.path=package:tiny_solver", "verifier.cache_path={path}"],
    "solver.mixture.*.path": ["solver=mixture", "solver.mixture.second.path={path}"],
    "solver.mixture.*.cache_path": ["solver=mixture", "solver.mixture.second.cache_path={path}"],
    "data.root": ["data.root={path}", "data=jsonl", "data.train=rows.jsonl"],
}


@pytest.fixture
def typed_at(tmp_path, monkeypatch):
    """A folder to type the command in, with a model, data and a file of rows."""
    monkeypatch.chdir(tmp_path)
    for name in ("model", "other", "run/checkpoints/sft"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    for name in ("rows.jsonl", "model/rows.jsonl"):
        (tmp_path / name).write_text('{"id": "1", "question": "How many?", "answer": "1"}\n')
    return tmp_path


@pytest.mark.parametrize("key", [name for name in MARKED if not any(other.startswith(f"{name}.") for other in MARKED)])
def test_every_path_of_the_schema_is_absolute_in_a_job(key, typed_at):
    path = "model" if MODEL in MARKED[key] or key == "data.root" else "rows.jsonl"
    sent = prepare([text.format(path=path) for text in TYPED.get(key, [f"{key}={{path}}"])])[1]
    found = [value for _, value in entries(compose(sent).model_dump(), key)]
    assert str(typed_at / path) in found
    assert path not in found


def test_each_trial_of_a_sweep_has_its_own_path(typed_at):
    sent = prepare(["-m", "start_from=model,other", "seed=1,2", "hydra.sweep.dir=sweeps"])[1]
    assert f"start_from={typed_at}/model,{typed_at}/other" in sent
    assert f"hydra.sweep.dir={typed_at}/sweeps" in sent
    assert not any(text.startswith("start_from=") for text in sent[sent.index("seed=1,2") :])
    assert any(text.startswith(f"solver.cache_path={typed_at}/") for text in sent)


@pytest.mark.parametrize(
    ("swept", "sent"),
    [
        ("start_from=null,model", "start_from=null,{at}/model"),
        ("start_from=model,null", "start_from={at}/model,null"),
        ("+sft.held_out.also={a: rows.jsonl},{}", "+sft.held_out.also={{a: {at}/rows.jsonl}},{{}}"),
        ("start_from=null", "start_from=null"),
    ],
)
def test_a_value_of_a_sweep_that_is_no_path_leaves_the_others_no_less_absolute(typed_at, swept, sent):
    assert sent.format(at=typed_at) in prepare(["-m", swept, "seed=1,2"])[1]


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (["sweep=search", "stages=[sft,ppo]"], "stages: [sft,ppo] is not allowed in a search"),
        (["stages=[sft]", "algorithm=ppo,rloo"], "algorithm: is swept, but only stage ppo reads it"),
        (["algorithm.lam=0.9,2.0"], "algorithm.lam: 2.0 is not allowed"),
    ],
)
def test_a_sweep_is_refused_here_as_the_cluster_would(typed_at, sweep, said):
    with pytest.raises(ConfigError) as error:
        prepare(["-m", *sweep])
    assert str(error.value).startswith(said)


def test_a_path_that_only_some_trials_have_is_not_sent_to_all(typed_at):
    """A solver without a cache refuses its key, and one solver's model is not another's."""
    sent = prepare(["-m", "solver=tiny,program"])[1]
    assert not any(text.startswith("solver.") for text in sent)
    plain = [text for text in sent if not text.startswith(("-m", "hydra", "sweep=", "solver="))]
    assert compose([*plain, "solver=program"]).solver.backend == "program"
    assert compose(first_trial(sent)).solver.path == "package:tiny_branched_solver"


def test_what_can_be_seen_from_here_is_refused_before_it_is_sent(typed_at, capsys):
    run = typed_at / "old"
    run.mkdir()
    before = compose(["cluster=ray", "algorithm.steps=9", f"run_dir='{run}'"]).model_dump(mode="json")
    (run / "config.yaml").write_text(yaml.safe_dump(before))
    (typed_at / "project").mkdir()
    (typed_at / "project" / "metrics.jsonl").write_text("{}\n")
    to = ["--address", "http://127.0.0.1:9", "--"]
    for given, said in (
        (["run_dir=old"], "run_dir: 'old' already holds a run; allowed: a new folder, or resume=auto to go on with it"),
        (["run_dir=old", "resume=auto", "algorithm.steps=8"],
         "algorithm.steps: 8 is not allowed with resume=auto: the run in 'old' began with 9"),
        (["run_dir=project"], "run_dir: 'project' holds 'metrics.jsonl' of something else; allowed: "),
        (["data=jsonl", "data.train=bad.jsonl"], "data: 1 bad rows"),
    ):  # fmt: skip
        (typed_at / "bad.jsonl").write_text('{"id": "1", "question": "How many?"}\n')
        assert main([*to, *given]) == 2
        assert capsys.readouterr().err.startswith(said)
    # More steps are allowed, and a folder that is not seen from here is the job's to look into.
    for given in (["run_dir=old", "resume=auto", "algorithm.steps=10"], ["run_dir=/not/here", "resume=auto"]):
        assert main([*to, *given]) == 2
        assert "--address: nothing answers" in capsys.readouterr().err


def test_a_run_folder_is_made_up_where_the_command_was_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in range(2):
        now = datetime.datetime(2026, 11, 22, 10, 30, 0, place)
        monkeypatch.setattr(job_request, "datetime", SimpleNamespace(datetime=SimpleNamespace(now=lambda now=now: now)))
        made = Path(prepare([])[1][-1].partition("=")[2].strip("'"))
        assert made == tmp_path / "runs" / f"2026-11-22_10-30-00-00000{place}"
    assert any(text.startswith(f"hydra.sweep.dir={tmp_path}/runs/sweep_") for text in prepare(["-m", "seed=0,1"])[1])


def test_a_name_on_the_hub_stays_one():
    assert not any(text.startswith("model.path=/") for text in prepare(["model.path=owner/name"])[1])


def test_a_job_may_choose_its_cluster_but_not_start_another():
    assert prepare(["cluster=node8"])[0].learner.ranks == 4
    with pytest.raises(ConfigError, match=r"cluster\.address: None is not allowed in a job"):
        prepare(["cluster=laptop"])


def test_only_what_was_named_of_the_environment_goes_along(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "secret")
    monkeypatch.setenv("OTHER", "secret")
    made = environment(env=["SOME_KEY", "GIVEN=1=2"])
    assert made["env_vars"].pop("DECOMPOSER_CODE") == code_version()
    assert made["env_vars"].pop("DECOMPOSER_TYPED_IN") == str(Path.cwd())
    assert made["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "23", "SOME_KEY": "secret", "GIVEN": "1=2"}
    with pytest.raises(Refused, match="'NO_SUCH' is not set here"):
        environment(env=["NO_SUCH"])


def test_the_projects_files_go_along_but_for_what_a_job_does_not_need(tmp_path):
    made = environment()
    assert made["working_dir"] == str(ROOT)
    assert {".venv", "/runs", "/models", ".git"} <= set(made["excludes"])
    file = tmp_path / "env.yaml"
    file.write_text("pip: [einops]\nenv_vars: {A: b}\n")
    more = environment(runtime_env=file)
    assert (more["pip"], more["env_vars"]["A"], more["working_dir"]) == (["einops"], "b", str(ROOT))
    assert set(environment(image="registry/image:1")) == {"image_uri", "env_vars"}


def test_the_version_of_this_code_goes_along_only_with_this_code(tmp_path):
    file = tmp_path / "env.yaml"
    file.write_text("working_dir: s3://bucket/project.zip\n")
    assert "DECOMPOSER_CODE" not in environment(runtime_env=file)["env_vars"]
    assert "DECOMPOSER_CODE" not in environment(image="registry/image:1")["env_vars"]
    file.write_text("pip: [einops]\n")
    assert environment(runtime_env=file)["env_vars"]["DECOMPOSER_CODE"] == code_version()


def test_a_variable_that_is_typed_counts_more_than_that_of_a_file(tmp_path):
    file = tmp_path / "env.yaml"
    file.write_text("env_vars: {A: file, B: file, RAY_JOB_STOP_WAIT_TIME_S: '50'}\n")
    made = environment(runtime_env=file, env=["A=typed"])["env_vars"]
    assert (made["A"], made["B"], made["RAY_JOB_STOP_WAIT_TIME_S"]) == ("typed", "file", "50")
    assert environment(image="registry/image:1", env=["A=typed"])["env_vars"]["A"] == "typed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pip: [einops", "--runtime-env: '{file}' cannot be read: while parsing"),
        (b"pip: [caf\xe9]", "--runtime-env: '{file}' cannot be read: "),
        ("- einops", "--runtime-env: '{file}' holds no mapping"),
        ("env_vars: [A]", "--runtime-env: env_vars is no mapping of names to texts"),
        ("env_vars: {A: 1}", "--runtime-env: env_vars is no mapping of names to texts"),
    ],
)
def test_a_runtime_environment_that_cannot_be_one_is_refused_in_one_line(tmp_path, text, said):
    file = tmp_path / "env.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Refused) as error:
        environment(runtime_env=file)
    assert str(error.value).startswith(said.format(file=file))
    assert len(str(error.value).splitlines()) == 1


def test_a_runtime_environment_may_name_no_variables(tmp_path):
    file = tmp_path / "env.yaml"
    file.write_text("pip: [einops]\nenv_vars:\n")
    assert environment(runtime_env=file)["pip"] == ["einops"]


def test_a_field_that_ray_does_not_take_is_refused_in_one_line(typed_at):
    def submit_job(**_):
        raise TypeError("runtime_env['pip'] must be of type str or list")

    options = {"address": "http://head:8265", "name": None, "python": "python", "env": [], "image": None}
    with pytest.raises(Refused, match=r"http://head:8265 did not take the job: runtime_env\['pip'\] must be"):
        submit(SimpleNamespace(submit_job=submit_job), prepare([])[1], argparse.Namespace(**options, runtime_env=None))


def submitted(overrides: list[str], **given: object) -> SimpleNamespace:
    """What a job server knows of a job with these overrides and options."""
    asked: dict = {}
    client = SimpleNamespace(submit_job=lambda **job: asked.update(job) or "job")
    options = {"address": "http://head:8265", "name": None, "python": "python", "env": [], "image": None}
    submit(client, prepare(overrides)[1], argparse.Namespace(**options | {"runtime_env": None} | given))
    status = SimpleNamespace(value="STOPPED", is_terminal=lambda: True)
    return SimpleNamespace(entrypoint=asked["entrypoint"], runtime_env=asked["runtime_env"], status=status, job_id="01")


def test_a_stopped_job_goes_on_with_a_command_that_is_printed(typed_at, monkeypatch, capsys):
    monkeypatch.setenv("SOME_KEY", "secret")
    file = typed_at / "env.yaml"
    file.write_text("pip: [einops]\n")
    (typed_at / "it's").mkdir()
    job = submitted(
        ["run_dir='it\\'s'", "seed=3", "resume=null"], python="/env/bin/python", env=["SOME_KEY"], runtime_env=file
    )
    monkeypatch.setattr("ray.util.state.list_actors", lambda **_: [])
    client = SimpleNamespace(stop_job=lambda name: None, get_job_info=lambda name: job)
    capsys.readouterr()
    assert command._stop(client, "http://head:8265", "job") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "job STOPPED; nothing of it is left"
    assert "secret" not in second
    words = shlex.split(second.removeprefix("to go on: "))
    head, _, overrides = " ".join(words).partition(" -- ")
    assert head == (
        "python -m launch.submit --address http://head:8265 --python /env/bin/python --runtime-env FILE --env SOME_KEY"
    )
    config, _ = prepare(words[words.index("--") + 1 :])
    assert (config.resume, config.seed, config.run_dir) == ("auto", 3, f"{typed_at}/it's")
    assert overrides.count("resume=") == 1


def test_a_stopped_sweep_goes_on_from_its_folder_and_a_job_in_an_image_in_that(typed_at):
    again = go_on_command(submitted(["-m", "seed=1,2"], image="registry/image:1"), "http://head:8265")
    words = shlex.split(str(again))
    assert words[4:8] == ["http://head:8265", "--image", "registry/image:1", "--"]
    assert "-m" in words
    assert any(text.startswith(f"hydra.sweep.dir={typed_at}/runs/sweep_") for text in words)
    assert "resume=auto" not in words


def test_the_list_of_jobs_has_the_folder_of_each_and_says_that_there_is_none(capsys):
    entrypoints = {
        "raysubmit_7PS9qAm6GtmMiRa4": f"exec /env/bin/python -m launch.train {'seed=1 ' * 99}run_dir=/storage/run1",
        "sweep": "exec python -m launch.train -m seed=1,2 hydra.sweep.dir=/storage/sweep",
        "own": f"python train.py{' --fast' * 99}",
        "open": "echo 'open",
    }
    jobs = [
        SimpleNamespace(submission_id=name, status=SimpleNamespace(value="FAILED"), start_time=place, entrypoint=text)
        for place, (name, text) in enumerate(entrypoints.items())
    ]
    driver = SimpleNamespace(submission_id=None)
    assert command._list(SimpleNamespace(list_jobs=lambda: [*reversed(jobs), driver])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(entrypoints)
    assert [line.split("  ")[-1] for line in lines[:2]] == ["/storage/run1", "/storage/sweep"]
    assert lines[2].endswith(" --fast …")
    assert lines[3].endswith("  echo 'open")
    assert len({line.index("FAILED") for line in lines}) == 1
    assert max(map(len, lines)) < 120
    assert command._list(SimpleNamespace(list_jobs=lambda: [driver])) == 0
    assert capsys.readouterr().out == "no jobs\n"


@pytest.mark.parametrize("entrypoint", ["python train.py", "", "exec python -m other.train x=1", "echo 'open"])
def test_of_a_job_of_another_kind_nobody_knows_how_it_goes_on(entrypoint):
    assert go_on_command(SimpleNamespace(entrypoint=entrypoint, runtime_env=None), "http://head:8265") is None


class Server(http.server.BaseHTTPRequestHandler):
    """Answers every request as a job server with token authentication does."""

    status = 401

    def do_GET(self) -> None:
        texts = {401: "Unauthorized: Missing authentication token", 403: "Forbidden: Invalid authentication token"}
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(texts.get(self.status, "a page").encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    # Somebody who has no token.
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # of this process, which other tests share
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()


@pytest.mark.parametrize(
    ("status", "variables", "said"),
    [
        (401, {}, "wants a token and none was found; put it into ~/.ray/auth_token"),
        (401, {"RAY_AUTH_TOKEN_PATH": "/not/here"},
         "wants a token, and '/not/here', which RAY_AUTH_TOKEN_PATH names, is no file"),
        (403, {"RAY_AUTH_TOKEN": "another cluster's"},
         "refuses this token, which is not the cluster's; it was read from RAY_AUTH_TOKEN"),
        (404, {}, "is no Ray job server"),
        (200, {}, "is no Ray job server"),
    ],
)  # fmt: skip
def test_a_cluster_that_refuses_is_said_in_one_line(server, monkeypatch, capsys, status, variables, said):
    monkeypatch.setattr(Server, "status", status)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    assert main(["--address", address, "--", "seed=1"]) == 2
    message = capsys.readouterr().err
    assert address in message
    assert said in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--address", "http://127.0.0.1:9", "--", "seed=1"], "--address: nothing answers at http://127.0.0.1:9 ("),
        (["--address", "head:8265"], "--address: 'head:8265' is not allowed"),
        (["--address", "ray://head:10001"], "--address: 'ray://head:10001' is not allowed"),
        (["--address", "http://127.0.0.1:9", "--list"], "--address: nothing answers"),
        (["--address", "http://127.0.0.1:9", "--", "learner.lr=-1"], "learner.lr: -1 is not allowed"),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_one_line(capsys, arguments, said):
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith(said)
    assert message.count("\n") == 1
