"""A finished cell is of the configuration that it ran with: what decides its episodes is in its fingerprint."""

from __future__ import annotations

import pytest

from conf.schema.rollout import Rollout
from launch.evaluate.matrix import LIMITS, fingerprint
from rollout.records import Problem
from tests.launch.evaluate.test_matrix import planned


def prints(*overrides: str) -> dict[str, str]:
    """The cells' fingerprints over one problem, by the cells' names."""
    config, found = planned("~matrix.solvers.program", *overrides)
    return {cell.name: fingerprint(cell, config.matrix, [Problem("p", "q?", "1")], "") for cell in found}


@pytest.mark.parametrize(
    "override",
    [
        "rollout.episode_solver_tokens=20", "rollout.episode_timeout_s=1", "rollout.max_model_len=400",
        "+rollout.engine_arguments.kv_cache_dtype=fp8", "strategy.max_tokens=10",
    ],
)  # fmt: skip
def test_a_cell_that_ran_under_another_limit_is_not_finished(override):
    before, after = prints(), prints(override)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


@pytest.mark.parametrize("override", ["rollout.concurrency=3", "solver.workers=2", "rewards=paper"])
def test_what_decides_no_episode_leaves_cells_finished(override):
    assert prints() == prints(override)


def test_a_limit_that_is_the_default_leaves_the_results_of_earlier_versions_finished():
    shipped = planned()[0].rollout
    assert {name: getattr(shipped, name) for name in LIMITS} == {
        name: Rollout.model_fields[name].default for name in LIMITS
    }
    assert prints() == prints("rollout.episode_timeout_s=3600", "rollout.episode_solver_tokens=null")


def served(*settings: str) -> dict[str, str]:
    """The fingerprints of cells whose solver is a server."""
    address = ["solver=openai", "solver.model=m", "solver.base_url=http://127.0.0.1:9/v1"]
    return prints("matrix.solvers.tiny=[" + ",".join(f"'{text}'" for text in (*address, *settings)) + "]")


@pytest.mark.parametrize(
    "setting",
    [
        "solver.concurrency=3", "solver.requests_per_minute=10", "solver.max_retries=2", "solver.outage_minutes=1",
        "solver.api_key_env=OTHER_KEY",
    ],
)  # fmt: skip
def test_cells_of_a_server_that_is_asked_more_gently_are_not_bought_again(setting):
    assert served() == served(setting)
    assert served() != served("solver.max_tokens_solve=7")
