"""A paid solver's bill is said beforehand, with the arithmetic of docs/solvers.md."""

from __future__ import annotations

import json

import pytest

from launch.compose import compose
from launch.plan import main
from launch.solver_bill import Asked, Data, Episodes, bill, episodes, looked_at, of_solver
from rollout.data.source import make_source
from rollout.strategies import DECOMPOSE_ONLY, STRATEGIES
from tests.rollout.fakes import PLAN, PROBLEM, run

SERVER = ["solver=openai", "solver.model=m", "solver.price_prompt=1", "solver.price_completion=2"]
SHORT = [*SERVER, "strategy.max_subquestions=2", "solver.max_tokens_solve=500", "solver.max_tokens_subquestion=100"]
# A prompt without sub-questions has 68 + 32 tokens; a sub-question and its answer have 32 + 100.
DATA = Data(68, (1, 2), ["direct", "gold", "sft"], held_out=500, with_subquestions=500, training=None)
ALONE, QUESTION, TURN = 100, 32, 132
ANSWERS = (ALONE + QUESTION) + (ALONE + QUESTION + TURN)
DASLAM = Asked(2, 4, ALONE + ANSWERS + ALONE + 2 * TURN, 2 * 500 + 2 * 100)

DISTILLED = ["sft=distilled", "sft.held_out.problems=0", "sft.held_out.scored=0"]


def of_one_episode(overrides: list[str], role: str = "solver") -> Asked:
    more = ["stages=[ppo]", "algorithm.steps=1", "algorithm.batch_size=1", "algorithm.minibatches=1"]
    return bill(compose([*SHORT, *more, "evaluation.every=0", *overrides]), role, DATA)["stage 2 (PPO)"]


@pytest.mark.parametrize(
    ("overrides", "asked"),
    [
        ([], DASLAM),
        (["strategy=independent"], DASLAM),
        (["strategy=interleaved"], DASLAM),
        (["strategy=daslam_no_feedback"], Asked(1, 3, ANSWERS + ALONE + 2 * TURN, 500 + 2 * 100)),
        (["strategy.gate=disagree"], Asked(3, 7, DASLAM.read + 3 * ALONE, DASLAM.written + 3 * 500)),
        (["strategy=lm2", "strategy.concepts=false"], DASLAM),
    ],
)
def test_an_episode_of_a_strategy_asks_from_none_to_all_of_its_sub_questions(overrides, asked):
    assert of_one_episode(overrides) == asked


@pytest.mark.parametrize("name", [*STRATEGIES, DECOMPOSE_ONLY])
def test_every_strategy_asks_as_often_as_is_reckoned_and_reads_no_more(name):
    draws = {"samples": 3} if name == "self_consistency" else {}
    keys = [f"strategy.{key}={value}" for key, value in draws.items()]
    _, solver = run(
        name, lambda prompt, sample: "How many has Ann?\nHow many has Bob?", settings=draws and {"name": name, **draws}
    )
    plain = "daslam" if name == DECOMPOSE_ONLY else name
    config = compose([*SHORT, "stages=[evaluate]", f"strategy={plain}", *keys])
    tokens = -(-len(PROBLEM.question) // 4)
    asked = of_solver(config, config.solver, Episodes("", 1, name, (len(PLAN), len(PLAN))), tokens)
    assert len(solver.asked) == asked.fewest == asked.most
    assert sum(len(prompt) for prompt, *_ in solver.asked) / 4 <= asked.read


def test_a_verifier_is_asked_of_every_answer_and_has_sub_questions_written_again():
    judge = ["verifier=openai", "verifier.model=v", "verifier.max_tokens_solve=10"]
    line = ["strategy=lm2", "strategy.concepts=false", "strategy.retries=1", *judge]
    assert of_one_episode(line) == Asked(2, 6, DASLAM.read + ANSWERS, DASLAM.written + 2 * 100)
    verdicts = 2 * ((ALONE + TURN + QUESTION) + (ALONE + 2 * TURN + QUESTION))
    assert of_one_episode(line, "verifier") == Asked(0, 4, verdicts, 4 * 10)


def test_a_run_asks_by_stage_as_often_as_its_counts_say():
    counts = ["sft.problems=96", "evaluation.problems=10", "evaluation.every=2", "evaluation.subset=4",
              "algorithm.steps=5", "algorithm.batch_size=8"]  # fmt: skip
    found = bill(compose([*SHORT, *counts]), "solver", DATA)
    requests = {stage: (asked.fewest, asked.most) for stage, asked in found.items()}
    assert requests == {
        "stage 1": (96, 96),  # the attempts that the decomposer is shown
        "evaluation": (10 + 10 * 3 + 10 * 2, 10 + 10 * 4 + 10 * 4),  # alone, gold with 1 or 2, the decomposer
        "stage 2 (PPO)": (80, 160),
        "evaluations on the way": (16, 32),
        "last evaluation": (20, 40),
    }
    assert found["stage 1"].cost(compose(SHORT).solver) == (96 * ALONE + 2 * 96 * 500) / 1e6


@pytest.mark.parametrize(
    ("overrides", "requests"),
    [
        # Sampled and judged; sampled alone, each with its attempt; the data's, with one needless more.
        (DISTILLED, (4 * 96 * 2, 4 * 96 * 4)),
        ([*DISTILLED, "sft.sources.own.screen=false"], (4 * 96, 4 * 96)),
        (["sft.sources.data.screen=true"], (96 * 2, 96 * 5)),
        (["strategy=daslam_no_feedback"], None),
        (["sft.held_out.scored=5", "sft.held_out.problems=7"], (96 + 7 + 10, 96 + 7 + 10)),
    ],
)
def test_stage_1_asks_for_attempts_or_for_whole_episodes(overrides, requests):
    found = bill(compose([*SHORT, "sft.problems=96", *overrides]), "solver", DATA).get("stage 1")
    assert (found and (found.fewest, found.most)) == requests


def test_solvers_of_a_mixture_share_the_requests_by_weight():
    mixed = ["solver=mixture", "+solver@solver.mixture.paid=openai", "solver.mixture.paid.model=m",
             "~solver.mixture.second", "+solver.mixture.paid.weight=0.25",
             "solver.mixture.tiny.weight=0.75"]  # fmt: skip
    small = ["strategy.max_subquestions=2", "stages=[ppo]", "algorithm.steps=5", "evaluation.every=0"]
    config = compose([*mixed, *small])
    found = bill(config, "solver.mixture.paid", DATA)
    assert found["stage 2 (PPO)"].most == 5 * config.algorithm.batch_size * 4 / 4
    assert bill(config, "solver.mixture.tiny", DATA) == {}


def test_the_data_say_how_long_a_question_is_and_how_many_sub_questions_it_has():
    config = compose(SERVER)
    data = looked_at(config, make_source(config.data))
    assert 30 < data.question_tokens < 200
    assert 1 <= data.subquestions[0] < data.subquestions[1] <= 8
    assert data.kinds == ["base", "direct", "gold", "filler", "sft"]


def test_problems_that_a_file_does_not_have_cost_nothing(tmp_path):
    rows = [
        {"id": f"{n}", "question": f"Ann has {n} pens. How many?", "answer": n, "subquestions": ["Of what?"]}
        for n in range(50)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = compose([*SHORT, "data=jsonl", f"data.train={tmp_path}/rows.jsonl", "algorithm.steps=4",
                      "evaluation.every=2", "sft.held_out.problems=40", "sft.held_out.scored=30"])  # fmt: skip
    source = make_source(config.data)
    held_out, training = len(source.held_out(500)), len(source.rows)
    assert 0 < held_out < 30
    found = [(one.stage, one.strategy, one.count) for one in episodes(config, looked_at(config, source))]
    assert found == [
        ("stage 1", "direct", held_out + training),
        ("stage 1", DECOMPOSE_ONLY, 2 * held_out),
        ("evaluation", "daslam", held_out),
        ("evaluation", "direct", held_out),
        ("evaluation", "daslam", held_out),
        ("evaluation", "daslam", held_out),
        ("stage 2 (PPO)", "daslam", 4 * config.algorithm.batch_size),
        ("evaluations on the way", "daslam", 2 * held_out),
        ("last evaluation", "daslam", held_out),
    ]


def test_the_plan_shows_requests_and_cost_and_what_a_budget_does_not_reach(capsys):
    assert main([*SERVER, "solver.budget_cost=0.5"]) == 0
    said = capsys.readouterr().out
    assert "What the solver will be asked" in said
    assert "cost at most" in said
    assert "the budget may end the run before that (solver.budget_cost=0.5)" in said
    assert main(["solver=openai", "solver.model=m"]) == 0
    assert "cost at most" not in capsys.readouterr().out
    assert main([]) == 0
    assert "will be asked" not in capsys.readouterr().out
