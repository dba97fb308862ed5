"""The log-probabilities of the gold answer over an episode: what is asked, when, of whom, and what is recorded."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest

from rollout.episode.contracts import Likelihood, SolverFailure
from rollout.jobs import Job
from rollout.records import Episode, Problem
from rollout.solvers.pool import WINDOW_S
from tests.rollout.fakes import (
    PLAN,
    PROBLEM,
    SOLVE,
    CharacterEngine,
    Scripted,
    Telling,
    by_question,
    episode_of,
    worker_without_engine,
)
from tests.settings import prompts

TURNS = ["\nQ: How many has Ann?\nA: Ann has 3 pens.", "\nQ: How many has Bob?\nA: Bob has 6 pens."]
# Before any turn, after the first, after both.
VALUES = [-8.0, -5.5, -0.25]


def by_turns(prompt: str) -> float:
    """Tell more of the answer with each reply in view."""
    return VALUES[sum(turn in prompt for turn in TURNS)]


def writing(*texts: str) -> CharacterEngine:
    """A policy that says these texts in turn, and then nothing but the end mark."""
    return CharacterEngine(lambda prompt, number: texts[number] if number < len(texts) else "Done.")


def measured(engine: CharacterEngine, solver: Telling, *overrides: str, **given: Any) -> Episode:
    return episode_of(engine, overrides, solver, gold_logprobs=True, **given)


def test_the_solver_tells_the_gold_answers_log_probability_before_and_after_each_turn():
    solver = Telling(by_question, by_turns)
    episode = measured(writing("\n".join(PLAN)), solver)
    assert episode.outcome == "ok"
    assert episode.gold_logprobs == VALUES
    views = ["", TURNS[0], TURNS[0] + TURNS[1]]
    assert sorted(solver.scored) == sorted((f"{SOLVE.format(view)} The answer is", " 9.") for view in views)
    # The last is the prompt to which the final answer was given.
    assert f"{solver.asked[-1][0]} The answer is" in dict(solver.scored)


def test_what_was_read_for_it_is_in_the_solvers_account_and_nothing_else_changes():
    plain = episode_of(writing("\n".join(PLAN)), [], Telling(by_question, by_turns))
    solver = Telling(by_question, by_turns)
    episode = measured(writing("\n".join(PLAN)), solver)
    assert solver.scored_tokens > 0
    assert episode.solver_prompt_tokens == plain.solver_prompt_tokens + solver.scored_tokens
    assert episode.calls == plain.calls
    changed = {"gold_logprobs", "solver_prompt_tokens", "seconds"}
    one, other = episode.to_json(), plain.to_json()
    assert {name: one[name] for name in one if name not in changed} == {
        name: other[name] for name in other if name not in changed
    }


def test_nothing_is_asked_where_the_job_does_not_ask_for_it():
    solver = Telling(by_question, by_turns)
    episode = episode_of(writing("\n".join(PLAN)), ["rewards=solver_likelihood"], solver)
    assert (solver.scored, episode.gold_logprobs) == ([], [])
    # And then the solver need not be able to tell.
    assert episode_of(writing("\n".join(PLAN)), ["rewards=solver_likelihood"], Scripted(by_question)).outcome == "ok"


@pytest.mark.parametrize("strategy", ["daslam", "dependency_graph", "independent", "interleaved", "lm2"])
def test_no_prompt_that_the_policy_or_a_replying_solver_reads_holds_the_gold_answer(strategy):
    problem = replace(PROBLEM, answer="4711")
    texts = ["Doubling.", *PLAN] if strategy == "lm2" else PLAN if strategy == "interleaved" else ["\n".join(PLAN)]
    engine, when = writing(*texts), []

    def told(prompt: str) -> float:
        when.append(len(engine.asked))
        return by_turns(prompt)

    solver = Telling(by_question, told)
    episode = measured(engine, solver, f"strategy={strategy}", problem=problem)
    assert episode.gold_logprobs == VALUES
    assert {completion for _, completion in solver.scored} == {" 4711."}
    assert not any("4711" in prompt for prompt in (*engine.prompts, *(prompt for prompt, *_ in solver.asked)))
    assert "4711" not in str(episode.to_json()["turns"]) + str(episode.calls)
    # It is asked once the policy has spoken for the last time.
    assert set(when) == {len(engine.asked)}


def test_lm2_is_measured_with_its_concepts_in_view_and_without_what_was_refused():
    verdicts = iter(["conceptual"])
    verifier = Scripted(lambda prompt, sample: next(verdicts, "no mistake"))
    solver = Telling(by_question, by_turns)
    episode = measured(writing("Doubling.", "Who?", *PLAN), solver, "strategy=lm2", verifier=verifier)
    assert [turn.question for turn in episode.refused] == ["Who?"]
    assert episode.gold_logprobs == VALUES
    assert all("\nConcepts: Doubling." in prompt and "Who?" not in prompt for prompt, _ in solver.scored)


def test_an_episode_without_a_turn_is_not_measured():
    solver = Telling(by_question, by_turns)
    assert measured(writing(""), solver).gold_logprobs == []
    closed = measured(writing("\n".join(PLAN)), solver, "strategy.gate=disagree")
    assert (closed.gate, closed.gold_logprobs) == ("closed", [])
    assert solver.scored == []


class Failing(Telling):
    """Fails, with both turns in view, as it is told to."""

    def __init__(self, failure: Exception | float) -> None:
        super().__init__(by_question, by_turns)
        self.failure = failure

    async def log_likelihood(self, prompt: str, completion: str) -> Likelihood:
        found = await super().log_likelihood(prompt, completion)
        if TURNS[1] not in prompt:
            return found
        if isinstance(self.failure, Exception):
            raise self.failure
        return Likelihood(self.failure)


def test_a_prompt_that_is_too_long_ends_the_list_and_not_the_episode():
    episode = measured(writing("\n".join(PLAN)), Failing(SolverFailure("prompt_too_long")))
    assert (episode.outcome, episode.gold_logprobs) == ("ok", VALUES[:2])
    assert episode.final.text


def test_any_other_failure_is_the_episodes_outcome():
    solver = Failing(SolverFailure("solver_timeout"))
    episode = measured(writing("\n".join(PLAN)), solver)
    assert (episode.outcome, episode.gold_logprobs) == ("solver_timeout", [])


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_value_that_is_no_number_is_an_error_and_no_episode(value):
    with pytest.raises(ValueError, match="log-probability of the gold answer must be finite, found"):
        measured(writing("\n".join(PLAN)), Failing(value))


def test_an_episode_that_a_frozen_role_ended_is_not_measured():
    def reply(prompt: str, sample: int) -> str:
        if "has Bob" in prompt.rsplit("\nQ: ", 1)[1]:
            raise SolverFailure("solver_refused")
        return by_question(prompt, sample)

    solver = Telling(reply, by_turns)
    episode = measured(writing("\n".join(PLAN)), solver)
    assert (episode.outcome, len(episode.turns), solver.scored) == ("solver_refused", 1, [])


def test_an_episode_that_its_own_limit_ended_keeps_the_values_of_its_turns():
    solver = Telling(by_question, by_turns)
    # The attempt and the first reply have four words each.
    episode = measured(writing("\n".join(PLAN)), solver, "rollout.episode_solver_tokens=8")
    assert (episode.outcome, len(episode.turns)) == ("episode_tokens", 1)
    assert episode.gold_logprobs == VALUES[:2]


def test_the_time_for_it_is_the_episodes():
    class Slow(Telling):
        async def log_likelihood(self, prompt: str, completion: str) -> Likelihood:
            await asyncio.sleep(60)
            raise AssertionError

    solver = Slow(by_question, by_turns)
    episode = measured(writing("\n".join(PLAN)), solver, "rollout.episode_timeout_s=0.2")
    assert (episode.outcome, episode.gold_logprobs) == ("episode_timeout", [])


def test_a_worker_measures_the_jobs_that_ask_for_it():
    async def go() -> list[Episode]:
        worker = worker_without_engine(Telling(by_question, by_turns), concurrency=4)
        jobs = [Job(index, PROBLEM, "daslam", 0, given=PLAN, gold_logprobs=bool(index)) for index in range(2)]
        await worker.submit(jobs)
        found: dict[int, Episode] = {}
        while len(found) < len(jobs):
            found |= {outcome.job.id: outcome.episode for outcome in await worker.collect(5.0 + WINDOW_S)}
        return [found[0], found[1]]

    assert [episode.gold_logprobs for episode in asyncio.run(go())] == [[], VALUES]


@pytest.mark.parametrize(
    ("template", "solve", "before", "after"),
    [
        ("The answer is {answer}.", "{question}{turns}\nA:", "q?\nA: The answer is", " 9."),
        ("{answer}", "{question}{turns}\nA:", "q?\nA:", " 9"),
        ("{answer}", "{question}{turns}\n", "q?", "\n9"),
        ("#### {answer}\n", "{question}{turns}\n", "q?\n####", " 9\n"),
        ("{{so}} [{answer}], {answer}", "{question}{turns} ", "q? {so} [", "9], 9"),
    ],
)
def test_the_answer_is_scored_with_the_space_before_it_and_the_words_after_it(template, solve, before, after):
    chosen = prompts(gold_template=template, solve_template=solve)
    assert chosen.gold(Problem("p", "q?", "9"), []) == (before, after)


def test_the_gold_solution_is_scored_where_the_template_has_it_and_the_problem_too():
    solution = "4 + 5 = 9."
    chosen = prompts(gold_template="{solution} So {answer}", solve_template="{question}{turns}\nA:")
    known = Problem("p", "q?", "9", solution=solution)
    assert chosen.gold(known, []) == ("q?\nA:", " 4 + 5 = 9. So 9")
    for problem, scored in (
        (replace(PROBLEM, solution=solution), {f" {solution}"}),
        (replace(PROBLEM, solution=None), set()),
    ):
        solver = Telling(by_question, by_turns)
        episode = measured(writing("\n".join(PLAN)), solver, "strategy.gold_template='{solution}'", problem=problem)
        assert {completion for _, completion in solver.scored} == scored
        assert episode.gold_logprobs == (VALUES if scored else [])
        assert episode.outcome == "ok"
