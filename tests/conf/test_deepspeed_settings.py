"""Settings of DeepSpeed go through the learner's group, but for those that another key makes."""

from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from conf.schema.deepspeed import OURS, check_settings, flat, merged
from launch.compose import compose


def test_settings_are_taken_from_the_command_line():
    found = compose(
        [
            "learner=gpu",
            "+learner.deepspeed.zero_optimization.overlap_comm=true",
            "+learner.deepspeed.zero_optimization.reduce_bucket_size=5e7",
            "+learner.deepspeed.wall_clock_breakdown=true",
        ]
    ).learner.deepspeed
    assert found["zero_optimization"] == {"overlap_comm": True, "reduce_bucket_size": 5e7}
    assert found["wall_clock_breakdown"] is True


@pytest.mark.parametrize("name", OURS)
def test_a_setting_that_another_key_makes_is_refused_by_name(name):
    for below in ("", ".enabled"):
        settings = 1
        for part in reversed((name + below).split(".")):
            settings = {part: settings}
        with pytest.raises(ValueError, match="is set by") as error:
            check_settings(settings)
        assert f"'{name}{below}'" in str(error.value)
        assert OURS[name] in str(error.value)


def test_the_refusal_is_one_line_that_names_key_and_place():
    with pytest.raises(ConfigError) as error:
        compose(["+learner.deepspeed.zero_optimization.stage=3"])
    message = str(error.value)
    assert message.startswith("learner.deepspeed: 'zero_optimization.stage' is set by learner.zero_stage; allowed: ")
    assert "\n" not in message


@pytest.mark.parametrize("settings", [{"zero_optimization": 3}, {"bf16": True}, {"zero_optimization": None}])
def test_a_value_where_a_map_belongs_is_refused(settings):
    with pytest.raises(ValueError, match="must be a map of settings"):
        check_settings(settings)


def test_maps_of_one_name_are_merged_and_neither_is_changed():
    own, more = {"a": {"b": 1}, "c": 2}, {"a": {"d": {}}, "e": {"f": 3}}
    assert merged(own, more) == {"a": {"b": 1, "d": {}}, "c": 2, "e": {"f": 3}}
    assert own == {"a": {"b": 1}, "c": 2}
    assert dict(flat(more)) == {"a.d": {}, "e.f": 3}
    check_settings({"zero_optimization": {}, "bf16": {"immediate_grad_update": True}})
