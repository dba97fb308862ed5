"""From the command line of a matrix to its cells: what holds in each, and what a matrix does nothing with."""

from __future__ import annotations

import pytest

from launch.evaluate.__main__ import main
from launch.evaluate.matrix import MatrixRun
from launch.evaluate.matrix_table import summary
from tests.launch.evaluate.test_matrix import SMALL, planned, result


@pytest.mark.parametrize("given", ["model=tiny", "model.path=package:tiny_decomposer"])
def test_a_decomposers_model_holds_before_a_start_of_the_command_line(given):
    start = "package:tiny_monolith"
    _, found = planned(f"matrix.decomposers.base=['{given}']", "+matrix.decomposers.other=[]", f"start_from={start}")
    asked = {cell.decomposer: cell.config for cell in found if cell.decomposer in ("base", "other")}
    assert asked["base"].decomposer_path != asked["other"].decomposer_path
    assert (asked["base"].start_from, asked["other"].start_from) == (None, start)


def test_a_matrix_may_be_told_to_go_on_with_its_folder(tmp_path):
    _, found = planned(f"run_dir={tmp_path}", "resume=auto")
    assert {(cell.config.run_dir, cell.config.resume) for cell in found} == {(None, None)}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["mirror=memory://copies"], "mirror: a matrix keeps no copy of its folder; allowed: null"),
        (["tracking=online"], "tracking.wandb: a matrix is not tracked; allowed: offline or disabled"),
        (["+tracking.also.mine=json:loads"], "tracking.also: a matrix is not tracked; allowed: none"),
        (["-m", "seed=0,1"], "-m: a matrix is no sweep; allowed: a command with a run_dir of its own for each seed, "),
        (["seed=0,1"], "seed: a matrix is no sweep; allowed: a command with a run_dir of its own for each seed, then "),
    ],
)
def test_what_a_matrix_would_do_nothing_with_is_refused_in_one_line(tmp_path, capsys, overrides, said):
    assert main([*SMALL, f"run_dir={tmp_path}/m", *overrides]) == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert "launch.train" not in error
    assert error.count("\n") == 1
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("solver", "repeated"),
    [
        ([], {"daslam"}),
        (["solver.temperature=0.7"], {"daslam", "direct"}),
        (["solver.temperature=0.7", "solver.cache=all"], {"daslam"}),
    ],
)
def test_a_cell_whose_samples_would_be_copies_is_run_once(tmp_path, solver, repeated):
    several = ["matrix.samples=3", "matrix.temperature=1", "matrix.pass_at=[1,2]"]
    fewer = ["~matrix.solvers.program", "~matrix.equal_tokens.self_consistency"]
    config, found = planned(*several, *fewer, *solver)
    made = MatrixRun(config, found, tmp_path, print)
    jobs = {cell.strategy: len(made.jobs(cell)) for cell in found}
    assert jobs == {name: 24 if name in repeated else 8 for name in ("direct", "self_consistency", "daslam")}
    assert summary(result("direct", [[1.0], [0.0]]), None, config.matrix)["pass@2"] == 0.5
