"""Leave out the cells of a matrix that cannot be run, and take a run of any name."""

from __future__ import annotations

import json

import pytest
import yaml

from conf.schema.places import CONF
from launch.compose import parse
from launch.evaluate.matrix import MatrixRun
from tests.launch.evaluate.test_matrix import planned


def test_cells_whose_problems_lack_what_they_are_given_are_left_out_and_that_is_said(tmp_path):
    rows = [{"id": str(n), "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    files = f"['data=jsonl','data.held_out={tmp_path}/rows.jsonl']"
    config, found = planned(f"+matrix.data.own={files}", "+matrix.decomposers.filler=filler", "~matrix.solvers.tiny")
    said: list[str] = []
    made = MatrixRun(config, found, tmp_path, said.append)
    left = {cell.name for cell in found} - {cell.name for cell in made.cells}
    assert left == {"own.program.daslam.gold", "own.program.daslam.filler"}
    assert sorted(said) == [
        "own.program.daslam.filler is left out: only generated problems have filler sub-questions",
        "own.program.daslam.gold is left out: 8 of 8 held-out problems have no sub-questions",
    ]
    assert all(made.jobs(cell) for cell in made.cells if cell.strategy != "self_consistency")
    # With the cell that sets its budget a cell is left out, too.
    budget = "matrix.equal_tokens.self_consistency.decomposer=gold"
    config, found = planned(f"+matrix.data.own={files}", budget, "~matrix.solvers.tiny")
    told: list[str] = []
    MatrixRun(config, found, tmp_path, told.append)
    reason = "is left out: its budget would be that of own.program.daslam.gold"
    assert f"own.program.self_consistency.none {reason}" in told
    # A data set may be left out whole.
    config, found = planned(f"+matrix.data.own={files}", "matrix.leave_out=[{data: own}]")
    assert MatrixRun(config, found, tmp_path, said.append).problems.keys() == {"chained"}


@pytest.mark.parametrize("file", sorted(path.stem for path in (CONF / "matrix").glob("*.yaml")))
def test_a_matrix_takes_a_run_of_any_name(file):
    strange = "/t/é x/seed=0,a=b"
    values = yaml.safe_load((CONF / "matrix" / f"{file}.yaml").read_text())
    base = yaml.safe_load((CONF / "matrix" / "base" / "embedded.yaml").read_text())
    for one in (values, base):
        for given in (one.get("decomposers") or {}).values():
            for text in given if isinstance(given, list) else []:
                if "${matrix.run}" in text:
                    filled = text.replace("${matrix.run}", strange).replace("${seed}", "0")
                    key, _, _ = filled.partition("=")
                    (parsed,) = parse([filled])
                    assert (key, str(parsed.value()).startswith(strange)) == ("start_from", True)
