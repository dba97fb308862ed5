"""Stage 1's examples for roles: each reads what it reads in an episode, and what it writes is read as it is meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose
from rollout.data.chained import generate
from rollout.data.source import make_source
from rollout.data.worked import worked
from rollout.episode.parse_monolith import parse_monolith
from rollout.episode.verdict import read_verdict
from rollout.records import Problem
from rollout.solvers.program import answer
from rollout.solvers.program_verifier import judge
from tests.rollout.fakes import Scripted, run
from tests.settings import prompts
from tests.trainer.stages.test_fine_tuning_examples import write
from trainer.stages.role_examples import prompts_of_role, role_examples

PROBLEM = next(generate(0, "train", {3: 1.0}))
STEPS = "Natalia sold 48/2 = 24 clips in May.\nShe sold 48+24 = 72 clips."
PEOPLE = Problem("p", "48 in April, half of it in May: how many?", "72", solution=STEPS, source="gsm8k")
ASKED = ["How many in May?", "How many in both?"]


def examples(role: str, problem: Problem = PROBLEM, asked: list[str] | None = None, **changes):
    return role_examples(role, prompts(**changes), problem, asked or problem.subquestions, 0)


def test_the_solver_reads_and_writes_what_an_exact_solver_does_in_an_episode():
    _, solver = run("daslam", Scripted(lambda prompt, sample: answer(prompt)), PROBLEM.subquestions, PROBLEM)
    asked = [(prompt, f" {answer(prompt)}") for prompt, _, _ in solver.asked]
    assert examples("solver") == asked[1:], "without the attempt, before which nothing is asked"


def test_of_peoples_problems_the_solver_learns_the_gold_steps_and_the_answer():
    first, second, whole = examples("solver", PEOPLE, ASKED)
    assert first[1] == " Natalia sold 48/2 = 24 clips in May."
    assert first[1].strip() in second[0]
    assert whole[1].endswith("She sold 48+24 = 72 clips.\nThe answer is 72.")


def test_a_solver_with_a_calculator_learns_annotations_and_reads_none():
    problem = replace(PEOPLE, meta={"equations": ["48/2=24", "48+24=72"]})
    first, second, whole, alone = role_examples(
        "solver", prompts(), problem, ASKED, 0, annotated=True, direct=True
    )  # fmt: skip
    assert first[1] == " Natalia sold 48/2 = <<48/2=24>>24 clips in May."
    assert second[1] == " She sold 48+24 = <<48+24=72>>72 clips."
    assert "Natalia sold 48/2 = 24 clips in May." in second[0]
    assert whole[1] == f"{first[1]}\n{second[1].strip()}\nThe answer is 72."
    assert alone == (prompts().solve(problem, ()), whole[1])
    assert not any("<<" in prompt for prompt, _ in (first, second, whole, alone))
    assert role_examples("solver", prompts(), PEOPLE, ASKED, 0, annotated=True) == examples("solver", PEOPLE, ASKED)


@pytest.mark.parametrize("key", ["annotated", "direct"])
def test_what_is_for_the_solver_is_refused_for_others(key):
    with pytest.raises(ConfigError, match=f"{key}: true is for role solver, found role decomposer"):
        compose([f"sft.{key}=true"])


def test_the_monolith_writes_what_its_strategy_reads():
    for problem, asked in ((PROBLEM, PROBLEM.subquestions), (PEOPLE, ASKED)):
        ((prompt, text),) = examples("monolith", problem, asked)
        assert prompt == f"{problem.question}\n"
        parsed = parse_monolith(text, prompts().strategy)
        assert (parsed.pairs, parsed.invalid) == (worked(problem, asked).pairs, None)
        assert problem.answer in parsed.final


def test_the_verifier_reads_its_prompt_and_writes_the_true_verdict():
    verdicts = []
    for problem in [next(generate(seed, "train", {4: 1.0})) for seed in range(30)]:
        for prompt, text in examples("verifier", problem):
            assert prompt.endswith("\nVerdict:")
            assert read_verdict(text) == read_verdict(judge(prompt))
            verdicts += read_verdict(text)
    assert 0.25 < verdicts.count("no_mistake") / len(verdicts) < 0.65
    assert len(set(verdicts)) == 7


def test_of_peoples_problems_about_half_of_the_replies_are_right():
    found = [role_examples("verifier", prompts(), PEOPLE, ASKED, seed) for seed in range(40)]
    right = [read_verdict(text) == ["no_mistake"] for rows in found for _, text in rows]
    assert 20 < sum(right) < 60
    for (prompt, text), reply in zip(found[0], STEPS.splitlines(), strict=True):
        assert text.startswith(f" {reply} Verdict: ")
        assert (reply in prompt.rpartition("\nA: ")[2]) == (read_verdict(text) == ["no_mistake"])


def test_without_answers_there_are_no_examples():
    assert examples("solver", Problem("p", "Why?", "1"), ["Who?"]) == []


def test_roles_read_in_the_chat_format_of_the_model_that_is_tuned():
    texts = prompts_of_role(compose(["policy.plays=both"]))
    assert texts.solver_chat is texts.verifier_chat is texts.decomposer_chat


def test_answers_stay_beside_their_sub_questions_where_some_ask_nothing(tmp_path):
    asked = ["Define a variable", "How much did she spend?", "How much for shoes?"]
    row = {"id": "a", "question": "How much?", "answer": "41", "subquestions": asked, "solution": "Let S.\nS + 1.\n41."}
    write(tmp_path / "rows.jsonl", [row])
    source = make_source(compose([f"data.train={tmp_path}/rows.jsonl", "data=jsonl", "data.questions_only=true"]).data)
    (problem,) = [*source.rows, *source.held_out(1)]
    solution = worked(problem, problem.subquestions)
    assert solution.pairs == list(zip(asked[1:], ["S + 1.", "41."], strict=True))
    assert solution.computed == ["Let S.", "S + 1.", "41."], "a whole solution has all of its steps"
