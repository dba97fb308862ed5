from __future__ import annotations

import argparse
import http.server
import logging
import threading
from pathlib import Path

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose
from launch.submit import ROOT, Refused, main, prepare, runtime_env
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
    assert again.solver.path == config.solver.path == "package:tiny_solver"
    assert Path(again.solver.cache_path).is_absolute()


def test_a_run_folder_is_made_up_where_the_command_was_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(str(compose(prepare([])[1]).run_dir)).parent == tmp_path / "runs"
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
    assert made["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "15", "SOME_KEY": "secret", "GIVEN": "1=2"}
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
    ("status", "said"),
    [
        (401, "wants a token and none was found; put it into ~/.ray/auth_token"),
        (403, "refuses this token, which is not the cluster's; it was read from RAY_AUTH_TOKEN"),
        (404, "is no Ray job server"),
        (200, "is no Ray job server"),
    ],
)
def test_a_cluster_that_refuses_is_said_in_one_line(server, monkeypatch, capsys, status, said):
    monkeypatch.setattr(Server, "status", status)
    if status == 403:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "another cluster's")
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
