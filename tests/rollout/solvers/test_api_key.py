"""A key that is written in the environment as people and tools write it is used, and is shown nowhere."""

from __future__ import annotations

import asyncio
import logging
import socket
from urllib.parse import quote, quote_plus

import openai
import pytest

from launch.ask.__main__ import main
from rollout.solvers.api_key import ApiKey
from rollout.solvers.base import SolverMisconfigured, SolverUnavailable
from rollout.solvers.openai import OpenAISolver
from tests.rollout.server import Server
from tests.settings import openai_solver

SECRET = "sk-very+secret/4711"
PARTS = ("very", "secret", "4711")


def solver_of(monkeypatch, server, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    return OpenAISolver(openai_solver(server.url, max_retries=0))


@pytest.mark.parametrize("key", [f"{SECRET}\n", f"{SECRET}\r\n", f" {SECRET}\t", f"\n{SECRET}"])
def test_white_space_around_a_key_is_no_part_of_it(monkeypatch, key):
    async def go():
        async with Server(lambda number, body: "echo_key") as server:
            reply = await solver_of(monkeypatch, server, key).ask("x", purpose="solve")
            return server.headers[0]["Authorization"], reply.text

    assert asyncio.run(go()) == (f"Bearer {SECRET}", "your key is [key]")


@pytest.mark.parametrize(
    "key", ["sk-very\nsecret4711", "sk-very\rsecret", "sk-very\x1bsecret", "sk-vérysecret", "sk-very\udcff"]
)
def test_a_key_that_no_header_can_hold_is_refused_by_the_name_of_its_variable(monkeypatch, key):
    async def go():
        async with Server(lambda number, body: "ok") as server:
            with pytest.raises(SolverMisconfigured) as refused:
                await solver_of(monkeypatch, server, key).start()
            return refused.value, server.requests

    error, requests = asyncio.run(go())
    said = f"{error!r} {error.__cause__!r} {error.__context__!r}"
    assert str(error).startswith("solver.api_key_env: the value of OPENAI_API_KEY")
    assert "\n" not in str(error)
    assert not any(part in said for part in ("very", "secret"))
    assert not requests


def test_the_clients_own_error_about_a_header_is_said_without_the_key(monkeypatch, tmp_path, caplog, capfd):
    """The key goes on to the real client as it is, which quotes it in its error as a literal of Python."""
    caplog.set_level(logging.DEBUG)
    key = f"{SECRET}\n"

    async def go():
        async with Server(lambda number, body: "ok") as server:
            solver = solver_of(monkeypatch, server, key)
            solver._client = openai.AsyncOpenAI(api_key=key, base_url=server.url, max_retries=0)
            with pytest.raises(SolverUnavailable, match=r"Illegal header value b'Bearer \[key\]") as caught:
                await solver.ask("x", purpose="solve")
            with pytest.raises(SolverMisconfigured) as misconfigured:
                await solver.start()
            return [caught.value, misconfigured.value]

    errors = asyncio.run(go())
    (tmp_path / "written").write_text("".join(f"{error!r}{error.__cause__!r}" for error in errors))
    written = (tmp_path / "written").read_text() + caplog.text + "".join(capfd.readouterr())
    assert not any(part in written for part in PARTS)


@pytest.mark.parametrize("raw", [f"{SECRET}\n", "sk-'quoted\"\\\n", "sk-ünïque\r", "sk pass word\t"])
def test_a_key_is_hidden_however_a_text_writes_it(monkeypatch, raw):
    monkeypatch.setenv("SOME_KEY", raw)
    forms = [raw, raw.strip(), repr(raw)[1:-1], repr(raw.encode())[2:-1], quote(raw, safe=""), quote_plus(raw.strip())]
    assert ApiKey("SOME_KEY").hide(" | ".join(forms)) == " | ".join(["[key]"] * len(forms))


@pytest.mark.parametrize("placeholder", ["1", "x", "none", "EMPTY\n"])
def test_a_placeholder_is_no_secret_and_stays_in_replies(monkeypatch, placeholder):
    monkeypatch.setenv("SOME_KEY", placeholder)
    text = f"11 + 1 = 12, x = 6: none is EMPTY. {placeholder}"
    assert ApiKey("SOME_KEY").hide(text) == text


def test_a_question_asked_with_such_a_key_shows_it_nowhere(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very\vsecret4711\n")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        given = ["strategy=direct", "solver=openai", "solver.model=m", f"solver.base_url={url}"]
        overrides = [word for text in given for word in ("--set", text)]
        assert main(["package:tiny_decomposer", "Tom has 3 pens. How many?", *overrides]) == 1
    said = "".join(capfd.readouterr()) + "".join(
        path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()
    )
    assert "OPENAI_API_KEY" in said
    assert not any(part in said for part in PARTS)
