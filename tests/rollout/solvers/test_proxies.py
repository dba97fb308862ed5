"""Proxies in the environment: which server is asked through one, and what is said when that fails."""

from __future__ import annotations

import asyncio

import pytest

from rollout.solvers.base import SolverMisconfigured
from rollout.solvers.openai import OpenAISolver
from rollout.solvers.proxies import proxy_to
from tests.rollout.server import Server
from tests.settings import openai_solver

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
# Nothing listens on port 9.
DEAD = "http://user:hunter2@127.0.0.1:9"
SERVER = "http://models.example:8000/v1"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def start(url, **changes):
    async def go():
        await OpenAISolver(openai_solver(url, max_retries=0, **changes)).start()

    with pytest.raises(SolverMisconfigured) as refused:
        asyncio.run(go())
    assert "\n" not in str(refused.value)
    assert "hunter2" not in f"{refused.value!r}{refused.value.__cause__!r}"
    return str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.9.1", "[::1]", "0.0.0.0", "x.localhost"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"])
def test_a_server_of_this_machine_is_asked_without_a_proxy(monkeypatch, host, variable):
    monkeypatch.setenv(variable, DEAD)
    assert proxy_to(f"http://{host}:8000/v1") is None


@pytest.mark.parametrize("address", [DEAD, "socks5://127.0.0.1:9", "socks5h://h:1", "nonsense://h"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "HTTPS_PROXY"])
def test_no_proxy_of_other_servers_stands_in_the_way_of_one_of_this_machine(monkeypatch, variable, address):
    monkeypatch.setenv(variable, address)

    async def go():
        async with Server(lambda number, body: "ok") as server:
            return (await OpenAISolver(openai_solver(server.url)).ask("x", purpose="solve")).text

    assert asyncio.run(go()) == "reply to x"


@pytest.mark.parametrize(
    ("excepted", "through"),
    [
        ("", True), ("other.example", True), ("models.example", False), (".example", False), ("*", False),
        ("a,models.example:8000", False), ("MODELS.example", False),
    ],
)  # fmt: skip
def test_what_no_proxy_names_is_asked_without_one(monkeypatch, excepted, through):
    monkeypatch.setenv("ALL_PROXY", DEAD)
    monkeypatch.setenv("NO_PROXY", excepted)
    assert (proxy_to(SERVER) is not None) == through


def test_a_network_in_no_proxy_covers_its_addresses(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", DEAD)
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8")
    assert proxy_to("http://10.2.3.4:8000/v1") is None
    assert proxy_to("http://11.2.3.4:8000/v1") is not None


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
def test_a_connection_that_fails_through_a_proxy_names_it(monkeypatch, variable):
    monkeypatch.setenv(variable, DEAD)
    said = start(SERVER)
    assert said.startswith(f"solver.base_url: no reply from {SERVER}")
    assert f"through the proxy 127.0.0.1:9 of {variable}" in said


def test_a_socks_proxy_without_its_package_is_said_with_its_variable(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks5://user:hunter2@proxy.example:1080")
    said = start(SERVER)
    assert said.startswith("solver.base_url: ALL_PROXY names a SOCKS proxy (proxy.example:1080)")
    assert "socksio" in said


@pytest.mark.parametrize("address", ["nonsense://user:hunter2@h:1", "http://user:hunter2@h:port"])
def test_a_proxy_that_cannot_be_used_is_said_with_its_variable(monkeypatch, address):
    monkeypatch.setenv("HTTP_PROXY", address)
    assert start(SERVER).startswith("solver.base_url: HTTP_PROXY names no proxy that can be used")
