"""Stage 1 with few examples: which held-out problems are measured, and how many examples it takes to begin."""

from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from rollout.data.chained import generate
from rollout.data.generated import Generated
from rollout.records import Problem
from trainer.stages.fine_tuning import enough, with_subquestions


class Sparse:
    """A source of so many held-out problems of which only every fifth, from the fifth on, has sub-questions."""

    def __init__(self, size: int) -> None:
        self.size = size

    def held_out(self, count: int) -> list[Problem]:
        every = range(1, min(count, self.size) + 1)
        return [Problem(str(n), f"{n}?", "1", subquestions=None if n % 5 else ["?"]) for n in every]


@pytest.mark.parametrize(("size", "count", "found"), [(1000, 6, 6), (30, 6, 6), (29, 6, 5), (4, 6, 0), (1000, 0, 0)])
def test_so_many_held_out_problems_are_taken_as_have_sub_questions(size, count, found):
    assert [problem.id for problem in with_subquestions(Sparse(size), count)] == [str(5 * n + 5) for n in range(found)]


def test_a_generator_without_sub_questions_is_not_looked_through_for_ever(monkeypatch):
    monkeypatch.setattr("trainer.stages.fine_tuning.LOOKED_THROUGH", 50)
    assert with_subquestions(Generated(generate, {1: 1.0}, {1: 1.0}), 5) == []


@pytest.mark.parametrize(("found", "ranks", "refused"), [(0, 1, True), (1, 2, True), (2, 2, False), (1, 1, False)])
def test_fewer_examples_than_ranks_are_refused_in_a_line_that_names_the_key(found, ranks, refused):
    if not refused:
        enough(found, {"data": found}, ranks)
        return
    said = rf"^sft\.sources: only {found} examples .*learner\.ranks \({ranks}\)"
    with pytest.raises(ConfigError, match=said) as error:
        enough(found, {"data": found}, ranks)
    assert "\n" not in str(error.value)
