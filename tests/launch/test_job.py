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
