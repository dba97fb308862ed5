"""Keys of a strategy that do not go with its name."""

from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose


@pytest.mark.parametrize("name", ["lm2", "interleaved", "monolith"])
def test_repeats_can_be_dropped_only_from_a_list(name):
    with pytest.raises(ConfigError, match=rf"strategy\.drop_repeats: True .*'{name}'.*allowed with it: false"):
        compose([f"strategy={name}", "stages=[evaluate]", "strategy.drop_repeats=true"])


@pytest.mark.parametrize(
    "overrides",
    [
        ["strategy=daslam_fewshot", "strategy.name=lm2"],
        ["strategy=daslam", "strategy.name=interleaved"],
        ["strategy=lm2", "strategy.stop=[]"],
    ],
)
def test_who_writes_line_by_line_ends_at_the_line(overrides):
    with pytest.raises(ConfigError, match=r"strategy\.stop: \[\] .*one line at a time.*as strategy="):
        compose(overrides)


def test_concepts_are_shown_to_the_solver():
    with pytest.raises(ConfigError, match=r"strategy\.concepts: True .*solve_template.*start"):
        compose(["strategy=lm2_no_concepts", "strategy.concepts=true"])
    shown = "strategy.subquestion_template='{question}{concepts}{turns} {subquestion}'"
    assert compose(["strategy=lm2_no_concepts", "strategy.concepts=true", shown]).strategy.concepts
    assert not compose(["strategy=lm2", "strategy.concepts=false"]).strategy.concepts


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["strategy=lm2_prompted"], "turn_template"),
        (["strategy=daslam_fewshot"], "turn_template"),
        (["strategy.verify_template='Q: {question}{turns}\n{subquestion}\nA: {reply}'"], "verify_template"),
        (["strategy.verify_template='Q: {question}{turns}\nQ: {subquestion}\nA: {reply}'"], "verify_template"),
    ],
)
def test_the_program_judges_only_what_it_can_take_apart(overrides, key):
    with pytest.raises(ConfigError, match=rf"verifier\.backend: 'program' .*\"Q:\".*strategy\.{key} .*strategy=daslam"):
        compose(["data=chained", "verifier=program", *overrides])


@pytest.mark.parametrize("name", ["daslam", "lm2", "interleaved", "dependency_graph"])
def test_the_program_judges_the_shipped_forms(name):
    compose(["data=chained", "verifier=program", f"strategy={name}"])
    compose(["verifier=program", "strategy=daslam_fewshot", "strategy.name=direct", "stages=[evaluate]"])
