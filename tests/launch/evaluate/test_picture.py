"""The picture of a matrix."""

from __future__ import annotations

import pytest

from launch.evaluate.matrix_table import picture


@pytest.mark.parametrize("solvers", [1, 2, 4])
def test_nothing_of_the_picture_is_cut_off_at_its_sides(tmp_path, solvers):
    from matplotlib.image import imread

    names = ("none", "whole", "lines", "no_concepts", "$^$", "gold", "another_one")
    rows = [
        {"data": "$^$", "solver": f"solver{n}", "strategy": f"strategy {name}", "decomposer": name,
         "accuracy": 0.5, "low": 0.4, "high": 0.6}
        for n in range(solvers) for name in names
    ]  # fmt: skip
    picture(tmp_path / "matrix.png", rows)
    image = imread(tmp_path / "matrix.png")[..., :3]
    assert (image[:, :2] == 1).all()
    assert (image[:, -2:] == 1).all()
