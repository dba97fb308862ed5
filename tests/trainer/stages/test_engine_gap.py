"""The alarm for engines that no longer have the learner's weights."""

from __future__ import annotations

import math

import pytest

from launch.compose import compose
from rollout.engine.weight_update import Gap
from trainer.stages.engine_gap import ALARM, GAP, LARGEST, alarm, alarm_line, largest_healthy, with_proof


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


@pytest.mark.parametrize(
    ("metrics", "loaded", "proof", "found"),
    [
        ({}, 0.0, None, {}),
        ({LARGEST: 0.2, GAP: 0.1}, 0.0, None, {LARGEST: 0.2}),
        ({LARGEST: 0.2, GAP: 0.1}, 0.3, Gap(0.1, 0.05), {LARGEST: 0.3, GAP: 0.1}),
        ({}, 0.0, Gap(0.4, 0.05), {LARGEST: 0.4, GAP: 0.05}),
    ],
)
def test_a_step_has_the_largest_gap_that_anything_showed(metrics, loaded, proof, found):
    assert with_proof(metrics, loaded, proof) == found
