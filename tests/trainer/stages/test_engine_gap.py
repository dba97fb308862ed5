"""The alarm for engines that no longer have the learner's weights."""

from __future__ import annotations

import math

import pytest

from launch.compose import compose
from trainer.stages.engine_gap import ALARM, GAP, alarm, alarm_line, largest_healthy


@pytest.mark.parametrize(
    ("overrides", "limit"),
    [([], 1e-3), (["model.dtype=bfloat16"], 0.1), (["controller.engine_gap_alarm=0.5", "model.dtype=bfloat16"], 0.5)],
)
def test_the_limit_is_the_keys_or_what_the_types_round(overrides, limit):
    assert largest_healthy(compose(overrides)) == limit


@pytest.mark.parametrize(("gap", "rung"), [(0.0, 0.0), (1e-3, 0.0), (0.0011, 1.0), (math.inf, 1.0), (math.nan, 1.0)])
def test_a_gap_above_the_limit_rings(gap, rung):
    assert alarm({GAP: gap}, 1e-3) == {ALARM: rung}


def test_without_a_gap_there_is_no_alarm():
    assert alarm({}, 1e-3) == {}


def test_the_line_names_step_gap_limit_and_key():
    line = alarm_line(7, {GAP: 0.3456}, 1e-3)
    assert all(text in line for text in ("step 7", "0.35 nats", "0.001", "controller.engine_gap_alarm"))
