"""Fields of the templates that could be written in no prompt."""

from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose


@pytest.mark.parametrize("field", ["{question:d}", "{question:nonsense}", "{question:{attempt}}"])
def test_a_field_that_no_text_can_be_written_in_is_refused(field):
    with pytest.raises(
        ConfigError, match=r"^strategy\.plan_template: .*its fields cannot be written so .*allowed: {ques"
    ):
        compose([f"strategy.plan_template='{field}'"])


def test_a_field_may_say_how_a_text_is_written():
    assert compose(["strategy.plan_template='{question:.500}'"]).strategy.plan_template == "{question:.500}"
