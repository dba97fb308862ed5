"""Stage 3: which episodes are run for which strategy, and what is counted."""

from __future__ import annotations

import pytest
from rich.console import Console

from launch.compose import compose
from rewards.modes import Reward
from rollout.data.source import Chained
from rollout.records import Attempt, Episode
from trainer.evaluation import eval_jobs, summarize
from trainer.pipeline import Scored
from trainer.run import Run
from trainer.view import result_table

PROBLEMS = Chained({2: 1.0}, {2: 1.0}).held_out(3)


@pytest.mark.parametrize(
    ("strategy", "stages", "kinds"),
    [
        ("direct", "evaluate", ["direct"]),
        ("self_consistency", "evaluate", ["direct", "self_consistency"]),
        ("least_to_most", "sft,evaluate", ["direct", "least_to_most"]),
        ("independent", "evaluate", ["direct", "gold", "filler", "policy"]),
        ("daslam", "sft,ppo,evaluate", ["direct", "gold", "filler", "sft"]),
    ],
)
def test_a_strategy_is_evaluated_as_it_is_run(strategy, stages, kinds, tmp_path):
    run = Run(compose([f"strategy={strategy}", f"stages=[{stages}]"]), tmp_path, Console(), [])
    assert run._kinds_before() == kinds
    for kind in kinds:
        jobs = eval_jobs(PROBLEMS, kind, strategy)
        assert {job.strategy for job in jobs} == {"direct" if kind == "direct" else strategy}
        assert all((job.plan is not None) == (kind in ("gold", "filler")) for job in jobs)
        assert all(job.temperature == 0.0 for job in jobs)


def test_tokens_and_closed_gates_are_counted():
    reward = Reward({}, 1.0, {}, [], 1.0, 1.0)
    episodes = [
        Episode(problem, "daslam", final=Attempt("1"), gate=gate, solver_tokens=tokens)
        for problem, gate, tokens in zip(PROBLEMS, ("open", "closed", "closed"), (60, 20, 10), strict=True)
    ]
    jobs = eval_jobs(PROBLEMS, "policy", "daslam")
    result = summarize([Scored(*pair, reward) for pair in zip(jobs, episodes, strict=True)])
    assert result["solver_tokens"] == 30
    assert result["gate_closed"] == pytest.approx(2 / 3)
    episodes = [Episode(problem, "direct", final=Attempt("1")) for problem in PROBLEMS]
    assert "gate_closed" not in summarize([Scored(*pair, reward) for pair in zip(jobs, episodes, strict=True)])


def test_what_was_evaluated_is_in_the_table():
    entry = {"mean": 0.5, "low": 0.4, "high": 0.6}
    kinds = dict.fromkeys(["direct", "self_consistency", "least_to_most", "policy"], entry)
    assert result_table(kinds, 3).row_count == 4
