"""The question that a served solver is asked before anything starts, put to real servers on this machine."""

from __future__ import annotations

import time

import pytest

from conf.schema.base import ConfigError
from launch.check_solver import check_solver
from launch.compose import compose
from rollout.solvers.base import Usage
from tests.ports import free_port
from tests.rollout.serving import serving

KEY = "sk-planted-4711"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def configured(url: str, *overrides: str):
    return compose(["solver=openai", f"solver.base_url={url}", "solver.model=m", "solver.backoff_s=0.05", *overrides])


def refused(kind: str, *overrides: str, models=None, path: str = "") -> tuple[str, int]:
    """The line for a server that always answers like this, and how often it was asked."""
    with serving(lambda number, body: kind, models=models) as server:
        with pytest.raises(ConfigError) as error:
            check_solver(configured(server.url + path, *overrides))
        asked = len(server.requests)
    said = str(error.value)
    assert "\n" not in said
    assert KEY not in said
    return said, asked


def test_a_server_that_answers_costs_one_question_which_is_counted():
    with serving(lambda number, body: "ok") as server:
        usage = check_solver(configured(server.url, "solver.price_prompt=1e6"))["solver"]
    assert usage == Usage(requests=1, prompt_tokens=7, completion_tokens=3, cost=7.0)


@pytest.mark.parametrize("overrides", [[], ["solver=program"]])
def test_other_solvers_are_not_asked(overrides):
    assert sum(check_solver(compose(overrides)).values(), Usage()) == Usage()


def test_a_run_that_asks_no_solver_does_not_ask_it_beforehand():
    assert check_solver(configured("http://127.0.0.1:9/v1", "stages=[sft]", "sft.role=verifier")) == {}


def test_on_a_cluster_that_is_joined_its_own_nodes_ask():
    assert check_solver(configured("http://127.0.0.1:9/v1", "cluster.address=10.0.0.1:6379")) == {}


TEMPLATE = "400: default chat template is no longer allowed, so you must provide a chat template"


@pytest.mark.parametrize(
    ("kind", "overrides", "begins", "allowed"),
    [
        ("401", [], "solver.api_key_env: the key in OPENAI_API_KEY is not accepted", "the name of another variable"),
        ("402", [], "solver.api_key_env: the account of the key in OPENAI_API_KEY", ""),
        (TEMPLATE, [], "solver.api: 'chat'", "allowed: completions"),
        ("500: the tokenizer has no chat_template", [], "solver.api: 'chat'", "allowed: completions"),
        ("422: template not found", [], "solver.api: 'chat'", "allowed: completions"),
        ("404: This is a chat model and not supported in the v1/completions endpoint.", ["solver.api=completions"],
         "solver.api: 'completions'", "allowed: chat"),
        ("400: Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", [],
         "solver.max_tokens_field: 'max_tokens'", "allowed: max_completion_tokens"),
        ("400: Unrecognized argument: max_completion_tokens", ["solver.max_tokens_field=max_completion_tokens"],
         "solver.max_tokens_field: 'max_completion_tokens'", "allowed: max_tokens"),
        ("400: 'temperature' does not support 0.0 with this model", [], "solver.temperature: 0 ", "allowed"),
        ("400: at most one stop sequence", [], "solver.stop_subquestion, solver.stop_solve", "allowed"),
        ("400: extra fields: top_q", ["+solver.extra_body.top_q=1"], "solver.extra_body: 'top_q'", "allowed"),
        ("308", [], "solver.base_url: http://127.0.0.1:", "allowed: the server's address"),
        ("page", [], "solver.base_url: no reply from http://127.0.0.1:", "allowed: the server's address"),
        ("no_choices", [], "solver.max_tokens_subquestion: ", "allowed: more"),
        ("cut_before_any_text", [], "solver.max_tokens_subquestion: ", "allowed: more"),
        ("context_length_exceeded", [], "solver.max_tokens_subquestion: ", "allowed: fewer"),
    ],
)  # fmt: skip
def test_what_a_server_turns_down_is_said_by_the_key_and_what_is_allowed(kind, overrides, begins, allowed):
    said, asked = refused(kind, *overrides)
    assert said.startswith(begins)
    assert allowed in said
    assert asked <= 2


@pytest.mark.parametrize(
    ("models", "path", "begins", "allowed"),
    [
        (["qwen", "gemma"], "", "solver.model: 'm' is not known at ", "allowed: qwen, gemma"),
        (["m", "gemma"], "", "solver.api: 'chat' is not served at ", "allowed: completions"),
        (["m"], "/chat", "solver.base_url: ", "allowed: the server's address with its version"),
        (["m"], "/../v2", "solver.base_url: ", "allowed: the server's address with its version"),
        (None, "", "solver.model: 'm' is not known at ", "or solver.api: 'chat'"),
    ],
)
def test_a_404_is_explained_by_the_servers_list_of_models(models, path, begins, allowed):
    said, _ = refused("404", models=models, path=path)
    assert said.startswith(begins)
    assert allowed in said


def test_a_key_that_is_not_set_is_said_to_be_missing(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    said, _ = refused("401")
    assert said.startswith("solver.api_key_env: the key in OPENAI_API_KEY is not set")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nobody_at_the_address_is_said_in_seconds_and_once(scheme, caplog):
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"^solver\.base_url: no reply from https?://127\.0\.0\.1:") as error:
        check_solver(configured(f"{scheme}://127.0.0.1:{free_port()}/v1"))
    assert "allowed: " in str(error.value)
    assert time.monotonic() - began < 10
    assert not caplog.records, "it would be on the screen beside the error"


def test_a_server_without_tls_is_said_to_be_one():
    with serving(lambda number, body: "ok") as server, pytest.raises(ConfigError) as error:
        check_solver(configured(server.url.replace("http:", "https:")))
    assert f"allowed: {server.url} for a server without TLS" in str(error.value)


def test_a_server_that_hangs_is_given_up_after_one_request():
    with serving(lambda number, body: "hang") as server, pytest.raises(ConfigError) as error:
        check_solver(configured(server.url, "solver.request_timeout_s=0.3"))
    assert str(error.value).startswith("solver.request_timeout_s, solver.timeout_s: no reply in 0.3 s")
    assert len(server.requests) == 1


def test_a_server_that_is_busy_for_a_moment_is_asked_again():
    with serving(lambda number, body: "ok" if number else "429") as server:
        assert check_solver(configured(server.url))["solver"].requests == 1
