"""Check the solution of a generated problem."""

from __future__ import annotations

import re

from rollout.records import Problem


def check_solution(problem: Problem, steps: int) -> None:
    """Assert that each line is right, that there is one a step, and that the last ends in an answer that the text does
    not hold."""
    lines = problem.solution.splitlines()
    assert len(lines) == steps == len(problem.subquestions) + 1
    for line in lines:
        found = re.match(r"(\d+) ([-+*/]) (\d+) = (\d+)\.", line)
        assert found is not None
        left, sign, right, value = found.groups()
        expected = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}
        assert int(value) == (int(left) / int(right) if sign == "/" else expected[sign])
    assert f"= {problem.answer}." in lines[-1]
    assert not re.search(rf"\b{problem.answer}\b", problem.question)
