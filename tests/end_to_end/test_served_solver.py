"""The same solver asked in two ways: on an engine of our own, and through vLLM's server and the official client."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from conf.schema.model import shipped
from launch.compose import compose
from launch.tiny_models.texts import PROMPTS
from rollout.data.chained import generate
from rollout.episode.contracts import Reply
from rollout.records import Turn
from rollout.solvers.base import Backend
from rollout.solvers.openai import OpenAISolver
from rollout.solvers.vllm import EngineSolver
from tests.ports import free_port

COUNT = 100
START_S = 180


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A server of the shipped solver."""
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "server.log"
    settings = {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",
        "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    # The command ``vllm serve`` asks for the version of a package named vllm, which the CPU build is not.
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(shipped("tiny_solver")),
        "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny", "--dtype", "float32",
        "--max-model-len", "512",
        "--max-num-seqs", "128", "--enforce-eager", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096",
        "--kv-cache-memory-bytes", str(2**28),
    ]  # fmt: skip
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=os.environ | settings, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5):
            return
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)


def prompts() -> list[tuple[str, str]]:
    """(prompt, purpose): every problem's first sub-question, then the problem with that answered."""
    asked = []
    for index, problem in enumerate(itertools.islice(generate(5, "held_out", {2: 1.0, 3: 1.0}), COUNT)):
        question = problem.subquestions[0]
        if index % 2:
            asked.append((PROMPTS.subquestion(problem, [], question), "subquestion"))
        else:
            turns = [Turn(question, problem.solution.splitlines()[0])]
            asked.append((PROMPTS.solve(problem, turns), "solve"))
    return asked


async def ask_all(solver: Backend, asked: list[tuple[str, str]]) -> list[Reply]:
    await solver.start()
    return await asyncio.gather(*(solver.ask(prompt, purpose=purpose) for prompt, purpose in asked))


def test_a_server_gives_the_replies_of_an_engine(address):
    asked = prompts()
    overrides = [
        "solver=openai", f"solver.base_url={address}", "solver.model=tiny", "solver.api=completions",
        'solver.stop_subquestion=["\n"]', "solver.max_tokens_subquestion=40", "solver.max_tokens_solve=160",
    ]  # fmt: skip
    remote = OpenAISolver(compose(overrides).solver)
    served = asyncio.run(ask_all(remote, asked))
    engine = EngineSolver(compose(["data=chained"]).solver)
    local = asyncio.run(ask_all(engine, asked))
    engine.engine.stop()
    same = sum(ours.text == theirs.text for ours, theirs in zip(local, served, strict=True))
    # Batches are put together differently, which can turn the odd tie.
    assert same >= 0.99 * COUNT, [pair for pair in zip(local, served, strict=True) if pair[0].text != pair[1].text][:5]
    assert [reply.prompt_tokens for reply in served] == [reply.prompt_tokens for reply in local]
    assert remote.usage.retries == 0
    assert remote.usage.completion_tokens >= sum(reply.tokens for reply in served) > 0
