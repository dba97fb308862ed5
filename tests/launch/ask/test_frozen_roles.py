"""Questions to frozen roles without Ray: what is wrong with one of them is said of that one."""

from __future__ import annotations

import asyncio

import pytest

from launch.ask import episodes
from launch.ask.episodes import AskError, ask, jobs
from launch.compose import compose
from rollout.solvers.base import SolverMisconfigured
from tests.rollout.serving import serving
from trainer.cluster.roles import StartError

VERIFIER = ["solver=program", "verifier=openai", "verifier.model=v", "verifier.api_key_env=VERIFIER_KEY"]


def answer(overrides, tmp_path, questions=1):
    """The outcomes of so many questions to the solver alone."""
    config = compose(["data=chained", "strategy=direct", "stages=[evaluate]", *overrides])

    async def go():
        work = jobs(["What is 1 + 1?"] * questions, "number", "direct")
        return [each.outcome async for each in ask(config, work, tmp_path)]

    return asyncio.run(go())


def test_the_key_of_a_verifier_that_is_refused_is_named_as_the_verifiers(tmp_path):
    with serving(lambda number, body: "401") as server, pytest.raises(StartError) as error:
        answer([*VERIFIER, f"verifier.base_url={server.url}"], tmp_path)
    assert ": verifier.api_key_env: the key in VERIFIER_KEY is not set" in str(error.value)


def test_the_key_of_a_mixtures_solver_that_is_refused_is_named_as_that_solvers(tmp_path):
    mixture = ["solver=mixture", "solver@solver.mixture.tiny=program", "solver@solver.mixture.second=openai"]
    second = ["solver.mixture.second.model=m", "solver.mixture.second.api_key_env=SOME_KEY"]
    with serving(lambda number, body: "401") as server, pytest.raises(StartError) as error:
        answer([*mixture, *second, f"solver.mixture.second.base_url={server.url}"], tmp_path)
    assert ": solver.mixture.second.api_key_env: the key in SOME_KEY is not set" in str(error.value)


def test_what_a_role_turns_down_in_the_middle_names_its_own_keys(tmp_path, monkeypatch):
    async def no_longer_paid(job, engine, solver, config, verifier):
        await verifier.ask("Is it right?", purpose="solve")

    monkeypatch.setattr(episodes, "run_episode", no_longer_paid)
    with serving(lambda number, body: "402" if number else "ok") as server, pytest.raises(AskError) as error:
        answer([*VERIFIER, f"verifier.base_url={server.url}"], tmp_path)
    said = f"question 1: {SolverMisconfigured.__name__}: verifier.api_key_env: the account of the key in VERIFIER_KEY"
    assert str(error.value).startswith(said)


def test_a_question_is_not_asked_once_the_verifiers_budget_is_spent(tmp_path):
    with serving(lambda number, body: "ok") as server, pytest.raises(AskError) as error:
        answer([*VERIFIER, f"verifier.base_url={server.url}", "verifier.budget_tokens=10"], tmp_path)
    assert str(error.value) == (
        "question 1 was not asked: the verifier's budget is spent (cost 0, 10 tokens of verifier.budget_tokens=10); "
        "to go on with a larger budget: --set verifier.budget_tokens=20"
    )
