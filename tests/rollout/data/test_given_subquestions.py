"""The data's sub-questions in place of a decomposer: refused before the start where the data has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose
from rollout.data.chained import generate
from rollout.data.generated import Generated
from rollout.data.source import check_source, make_source

SOLVES = "policy.plays=solver"


def write(path: Path, subquestions: list[list[str] | None]) -> str:
    """Write a row for each list of sub-questions; return the file's name. No question is in two files."""
    rows = [
        {"id": f"{path.stem}{number}", "question": f"What is {number} + {len(path.stem)}?", "answer": "1"}
        | ({} if asked is None else {"subquestions": asked})
        for number, asked in enumerate(subquestions)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path.name


def check(folder: Path, train: list[list[str] | None], held_out: list[list[str] | None], *more: str) -> None:
    files = [
        f"data.train={write(folder / 'train.jsonl', train)}",
        f"data.held_out={write(folder / 'others.jsonl', held_out)}",
    ]
    config = compose(["data=jsonl", f"data.root='{folder}'", *files, "stages=[ppo,evaluate]", *more])
    check_source(config, make_source(config.data))


def test_training_rows_of_which_none_has_subquestions_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^policy.decomposer: 'gold' .* none of 3 training rows has any; allowed: "):
        check(tmp_path, [None] * 3, [["How many?"]], SOLVES)


@pytest.mark.parametrize("more", [[], ["stages=[evaluate]"], ["stages=[ppo]", "evaluation.every=5"]])
def test_held_out_rows_without_subquestions_are_refused_where_they_are_evaluated(tmp_path, more):
    with pytest.raises(ConfigError, match=r"^policy.decomposer: .* 1 of 2 held-out problems .* have none; allowed: "):
        check(tmp_path, [["How many?"], None], [["How many?"], None], SOLVES, *more)


@pytest.mark.parametrize("more", [
    ["policy.plays=decomposer"], ["policy.plays=both"], ["policy.decomposer=solver"], ["strategy=direct"],
])  # fmt: skip
def test_nobody_who_is_given_no_subquestions_needs_some(tmp_path, more):
    check(tmp_path, [None] * 3, [None], SOLVES, *more)


def test_problems_that_are_run_nowhere_need_none(tmp_path):
    check(tmp_path, [["How many?"], None], [None], SOLVES, "stages=[ppo]", "evaluation.every=0")
    check(tmp_path, [None], [["How many?"]], SOLVES, "stages=[evaluate]")


def test_generated_problems_of_one_step_have_their_empty_list():
    config = compose(["data=chained", SOLVES, "stages=[ppo,evaluate]"])
    check_source(config, Generated(generate, {1: 1.0}, {1: 1.0}))
