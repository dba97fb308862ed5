"""What a run is refused for before anything starts."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose
from launch.job import check_budget
from rollout.solvers.base import Usage

SERVER = ["solver=openai", "solver.model=m", "solver.base_url=http://127.0.0.1:1/v1"]


def test_a_budget_that_a_run_has_spent_is_refused_before_even_an_evaluation_costs_more(tmp_path):
    (tmp_path / "logs").mkdir()
    usage = Usage(requests=744, prompt_tokens=60_000, completion_tokens=6_341)
    (tmp_path / "logs" / "solver-0.usage.json").write_text(json.dumps(asdict(usage)))
    with pytest.raises(ConfigError) as error:
        check_budget(tmp_path, compose([*SERVER, "solver.budget_tokens=60000"]))
    spent = f"solver.budget_tokens: spent by the run in '{tmp_path}' (744 requests answered, 66,341 "
    assert str(error.value).startswith(spent)
    assert str(error.value).endswith("to go on: solver.budget_tokens=140000")
    check_budget(tmp_path, compose([*SERVER, "solver.budget_tokens=66342"]))
    check_budget(tmp_path, compose(SERVER))


SPENT = Usage(requests=500, prompt_tokens=90_000, completion_tokens=9_000, cost=0.6)
PAID = ["verifier=openai", "verifier.model=v", "verifier.price_prompt=1"]
SECOND = "solver.mixture.second"
MIXTURE = ["solver=mixture", f"solver@{SECOND}=openai", f"{SECOND}.model=m", f"{SECOND}.price_prompt=1"]


@pytest.mark.parametrize(
    ("role", "overrides"),
    [("verifier", [*SERVER, "data=chained", "strategy=lm2", *PAID]), (SECOND, MIXTURE)],
)
def test_the_bill_of_a_spent_budget_is_that_of_the_role_whose_budget_it_is(tmp_path, role, overrides):
    (tmp_path / "logs").mkdir()
    others = Usage(requests=10, prompt_tokens=1_000, completion_tokens=100, cost=0.001)
    config = compose([*overrides, f"{role}.budget_cost=0.5"])
    for name in config.frozen:
        usage = SPENT if name == role else others
        (tmp_path / "logs" / f"{name}-0.usage.json").write_text(json.dumps(asdict(usage)))
    with pytest.raises(ConfigError) as error:
        check_budget(tmp_path, config)
    assert str(error.value) == (
        f"{role}.budget_cost: spent by the run in '{tmp_path}' (500 requests answered, 99,000 tokens (90,000 read, "
        f"9,000 written), cost 0.6 of {role}.budget_cost=0.5); to go on: {role}.budget_cost=1.2"
    )


def test_of_two_spent_budgets_each_has_its_bill(tmp_path):
    (tmp_path / "logs").mkdir()
    for name, requests in (("solver", 10), ("verifier", 500)):
        usage = Usage(requests=requests, prompt_tokens=9, cost=0.6)
        (tmp_path / "logs" / f"{name}-0.usage.json").write_text(json.dumps(asdict(usage)))
    budgets = ["solver.price_prompt=1", "solver.budget_cost=0.6", "verifier.budget_cost=0.5"]
    with pytest.raises(ConfigError) as error:
        check_budget(tmp_path, compose([*SERVER, "data=chained", "strategy=lm2", *PAID, *budgets]))
    begins, solver, verifier, ends = str(error.value).replace(" (", "; ", 1).split("; ")
    assert begins == f"solver.budget_cost and verifier.budget_cost: spent by the run in '{tmp_path}'"
    assert solver.startswith("solver: 10 requests")
    assert verifier.startswith("verifier: 500 requests")
    assert ends == "to go on: solver.budget_cost=1.2 verifier.budget_cost=1.2"
