"""From the command line of a matrix to its cells: what holds in each, and what a matrix does nothing with."""

from __future__ import annotations

import pytest

from tests.launch.evaluate.test_matrix import planned


@pytest.mark.parametrize("given", ["model=tiny", "model.path=package:tiny_decomposer"])
def test_a_decomposers_model_holds_before_a_start_of_the_command_line(given):
    start = "package:tiny_monolith"
    _, found = planned(f"matrix.decomposers.base=['{given}']", "+matrix.decomposers.other=[]", f"start_from={start}")
    asked = {cell.decomposer: cell.config for cell in found if cell.decomposer in ("base", "other")}
    assert asked["base"].decomposer_path != asked["other"].decomposer_path
    assert (asked["base"].start_from, asked["other"].start_from) == (None, start)
