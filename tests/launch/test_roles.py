"""Roles in the configuration: who plays them, who judges, and what is refused in one line."""

from __future__ import annotations

import pytest

from conf.schema.base import ConfigError
from conf.schema.rewards import VERDICTS
from conf.schema.strategy import UNTRAINED
from launch.compose import compose


def test_nobody_judges_unless_there_is_a_verifier():
    assert compose([]).verifier is None
    assert compose(["verifier=none"]).verifier is None
    config = compose(["verifier=openai", "verifier.model=m", "verifier.timeout_s=90"])
    assert (config.verifier.backend, config.verifier.model, config.verifier.timeout_s) == ("openai", "m", 90.0)
    assert config.verifier.cache_path != config.solver.cache_path


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["policy.plays=planner"], ["policy.plays: 'planner'", "'decomposer', 'solver' or 'both'"]),
        (["verifier=openai"], ["verifier.model", "the name by which the server knows the model"]),
        (["verifier=program", "+verifier.backend2=x"], ["verifier.backend2", "unknown key"]),
        (["verifier=vllm"], ["verifier.path"]),
        (["verifier.backend=nah"], ["verifier.backend: 'nah'", "vllm, openai, program"]),
        (["rewards=lm2", "verifier=program", "rewards.verdicts.praise=1"], ["rewards.verdicts.praise"]),
        (["policy.plays=solver"], ["stages: sft", "'solver'", "ppo, evaluate"]),
        (["policy.plays=solver", "policy.decomposer=solver", "solver=program", "stages=[ppo]"],
         ["policy.decomposer: 'solver'", "'program'", "gold"]),
        (["sft.role=judge"], ["sft.role: 'judge'", "'verifier'"]),
        (["sft.role=verifier"], ["sft.role: 'verifier'", "stage ppo", "stages=[sft]"]),
        (["sft.role=solver"], ["sft.role: 'solver'", "policy.plays=solver or both"]),
        (["sft.role=monolith", "policy.plays=both"], ["sft.role: 'monolith'", "strategy=monolith"]),
        (["sft.role=solver", "policy.plays=both", "strategy=monolith"], ["sft.role: 'solver'"]),
        (["sft.role=verifier", "stages=[sft]", "sft=distilled"], ["sft.sources.own", "kind data, unscreened"]),
        (["sft.role=solver", "stages=[sft]", "sft.sources.data.screen=true"], ["sft.sources.data", "unscreened"]),
        (["strategy=monolith"], ["stages: ppo", "'monolith'", "policy.plays=both"]),
        (["strategy.verify_template='{question}'"], ["strategy.verify_template", "{subquestion} must"]),
        (["strategy=lm2", "strategy.retries=-1"], ["strategy.retries: -1"]),
        (["strategy.max_calls=0"], ["strategy.max_calls: 0"]),
    ],
    ids=lambda value: value[-1] if "=" in value[0] else "",
)  # fmt: skip
def test_bad_roles_are_refused_in_one_line(overrides, named):
    with pytest.raises(ConfigError) as error:
        compose(overrides)
    assert all(text in str(error.value) for text in named), error.value
    assert "\n" not in str(error.value)


MONOLITH = ["strategy=monolith", "policy.plays=both", "sft.role=monolith"]


SHIPPED = ["verifier=vllm", "verifier.path=package:tiny_verifier"]


@pytest.mark.parametrize("rewards", ["rewards=lm2", "rewards=lm2_outcome"])
def test_verdicts_are_paid_only_where_somebody_judges(rewards):
    nobody = rf"rewards\.verdicts: rewards\.mode '{rewards[8:]}'.*verifier is none; allowed with it: verifier=program"
    for overrides in ([], ["strategy=lm2"], ["verifier=none", "stages=[ppo]"], MONOLITH):
        with pytest.raises(ConfigError, match=nobody):
            compose([rewards, *overrides])
    for strategy in ("monolith", "direct", "self_consistency"):
        alone = [f"strategy={strategy}", "policy.plays=both", "stages=[ppo]"]
        with pytest.raises(ConfigError, match=rf"rewards\.verdicts: .*no reply with strategy\.name '{strategy}'"):
            compose([rewards, *alone, "verifier=program"])
    for overrides in (
        ["verifier=program"],
        ["verifier=program", "strategy=lm2"],
        [*SHIPPED, "strategy=least_to_most", "policy.plays=both", "stages=[ppo]"],
        ["stages=[sft,evaluate]"],
        ["stages=[ppo]", "rollout.replay=setup.cfg"],
    ):
        assert compose([rewards, *overrides]).rewards.verdicts["no_mistake"] == 1.0
    unpaid = f"rewards.verdicts={{{', '.join(f'{name}: 0' for name in VERDICTS)}}}"
    assert compose(["rewards=lm2_outcome", unpaid]).verifier is None


@pytest.mark.parametrize("strategy", ["direct", "self_consistency"])
@pytest.mark.parametrize("part", ["entity_coverage", "answer_consistency"])
def test_parts_of_sub_questions_cannot_be_all_that_is_paid_where_there_are_none(part, strategy):
    alone = [f"strategy={strategy}", "policy.plays=both"]
    with pytest.raises(ConfigError, match=rf"rewards\.weights: only entity_coverage.*'{strategy}'.*allowed with it"):
        compose([f"rewards=only_{part}", *alone, "stages=[ppo]"])
    for overrides in (
        [f"rewards=only_{part}", *alone, "stages=[evaluate]"],
        [f"rewards=only_{part}", *MONOLITH],
        ["rewards=outcome", *alone, "stages=[ppo]"],
        [*alone, "stages=[ppo]"],
    ):
        compose(overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["sft.role=verifier", "stages=[sft]"],
        ["sft.role=monolith", "stages=[sft]"],
        ["sft.role=solver", "policy.plays=solver"],
        ["sft.role=solver", "policy.plays=both", "strategy=lm2"],
        ["sft.role=monolith", "policy.plays=both", "strategy=monolith"],
    ],
    ids=" ".join,
)
def test_a_role_is_taught_alone_or_where_the_policy_plays_it_afterwards(overrides):
    assert compose(overrides).sft.role == overrides[0].partition("=")[2]


@pytest.mark.parametrize("plays", ["both", "solver"])
@pytest.mark.parametrize("strategy", UNTRAINED)
def test_writing_sub_questions_is_not_taught_to_a_policy_that_nobody_asks_for_them(strategy, plays):
    alone = [f"strategy={strategy}", f"policy.plays={plays}"]
    other = "monolith" if strategy == "monolith" else "solver"
    if plays == "both":
        for stages in ([], ["stages=[sft,ppo]"], ["stages=[sft,evaluate]"]):
            with pytest.raises(
                ConfigError, match=rf"sft\.role: 'decomposer'.*'{strategy}'.*sft\.role={other}"
            ) as error:
                compose([*alone, *stages])
            assert "\n" not in str(error.value)
        compose([*alone, "stages=[sft]"])
    assert compose([*alone, f"sft.role={other}"]).sft.role == other
    assert compose([*alone, "stages=[ppo,evaluate]"]).policy.plays == plays


def test_the_experiment_of_lm2_has_its_verifier_and_pays_for_correctness_alone():
    config = compose(["experiment=lm2_chained"])
    assert (config.strategy.name, config.verifier.path, config.rewards.mode) == (
        "lm2",
        "package:tiny_verifier",
        "outcome",
    )
    assert config.algorithm.credit == "terminal"
    assert not any(config.rewards.verdicts.values())
    # The paper's reward is an option of its own.
    paid = compose(["experiment=lm2_chained", "rewards=lm2_outcome", "algorithm.credit=call"])
    assert paid.rewards.verdicts["no_mistake"] == 1.0
