"""Strategies whose decomposer writes one text after another, and the monolith, over engines that follow a script."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.episode.contracts import Reply, SolverFailure
from rollout.jobs import call_seed
from rollout.records import Episode, Problem
from tests.rollout.fakes import PLAN, PROBLEM, CharacterEngine, Scripted, by_question, episode_of

ATTEMPT = f"{PROBLEM.question}\nFirst attempt: The answer is 5.\n"


def saying(*texts: str) -> CharacterEngine:
    """A policy that says these texts in turn, and then nothing but the end mark."""
    return CharacterEngine(lambda prompt, number: texts[number] if number < len(texts) else "Done.")


def judging(*texts: str) -> Scripted:
    """A verifier that says these texts in turn, and then that there is no mistake."""
    verdicts = iter(texts)
    return Scripted(lambda prompt, sample: next(verdicts, "no mistake"))


def lm2(engine: CharacterEngine, verifier: Any = None, *overrides: str, **given: Any) -> tuple[Episode, Scripted]:
    solver = Scripted(by_question)
    return episode_of(engine, ["strategy=lm2", *overrides], solver, verifier, **given), solver


# -- the order of an episode -----------------------------------------------------------------------------------------


def test_lm2_writes_concepts_then_one_sub_question_at_a_time_until_its_end_mark():
    engine, verifier = saying("Doubling, sums.", *PLAN), judging()
    episode, solver = lm2(engine, verifier)
    assert episode.outcome == "ok"
    assert episode.initial.text == "The answer is 5."
    assert episode.concepts == "Doubling, sums."
    assert [turn.question for turn in episode.turns] == episode.subquestions == PLAN
    assert [turn.verdicts for turn in episode.turns] == [["no_mistake"]] * 2
    assert [call.purpose for call in episode.calls] == ["concepts", "next", "next", "next"]
    assert [turn.call for turn in episode.turns] == [1, 2]
    assert [turn.answer_call for turn in episode.turns] == [None, None]
    pairs = "\nQ: How many has Ann?\nA: Ann has 3 pens.\nQ: How many has Bob?\nA: Bob has 6 pens."
    assert solver.asked[-1][0].startswith(f"{PROBLEM.question}\nConcepts: Doubling, sums.{pairs}\nQ: Solve")
    assert episode.decomposition.invalid is None


def test_a_prompt_goes_on_from_the_call_before_it_token_for_token_and_nothing_is_tokenised_twice():
    engine = saying("Doubling.", *PLAN)
    episode, _ = lm2(engine, judging())
    for before, after in zip(episode.calls, episode.calls[1:], strict=False):
        whole = [*before.prompt_ids, *before.token_ids]
        assert after.prompt_ids[: len(whole)] == whole
    assert engine.prompts[1:3] == [
        f"{ATTEMPT}Concepts:\nDoubling.\nSub-questions:\n",
        f"{ATTEMPT}Concepts:\nDoubling.\nSub-questions:\nHow many has Ann?\nA: Ann has 3 pens.\n",
    ]
    assert not any("Doubling" in text or "How many has Ann" in text for text in engine.tokenizer.encoded)


def test_the_first_call_has_the_jobs_seed_and_the_others_have_their_own():
    engine = saying("Doubling.", *PLAN)
    lm2(engine)
    seeds = [sampling.seed for _, sampling in engine.asked]
    assert seeds == [11, *(call_seed(11, number) for number in (1, 2, 3))]
    assert len(set(seeds)) == 4


@pytest.mark.parametrize("verdict", ["conceptual", "procedural", "misunderstood question", "error in the first step"])
def test_a_refused_sub_question_is_written_again_and_stays_out_of_everybodys_view(verdict):
    engine, verifier = saying("Doubling.", "Who?", *PLAN), judging(f"Verdict: {verdict}.")
    episode, solver = lm2(engine, verifier)
    assert [turn.question for turn in episode.turns] == episode.subquestions == PLAN
    (refused,) = episode.refused
    assert (refused.question, refused.call) == ("Who?", 1)
    assert "Refused: " in engine.prompts[2]
    assert "Who?" in engine.prompts[2]
    assert "Who?" not in engine.prompts[3], "the pair that took its place is in view alone"
    assert not any("Who?" in prompt for prompt, *_ in solver.asked[2:])
    assert not any("Who?" in prompt for prompt, *_ in verifier.asked[1:])
    assert episode.calls[1].subquestion_ends == []
    assert [len(call.subquestion_ends) for call in episode.calls] == [0, 0, 1, 1, 0]


@pytest.mark.parametrize(("retries", "refused"), [(0, 0), (1, 1), (3, 3)])
def test_a_sub_question_is_written_again_so_often_and_then_taken_as_it_is(retries, refused):
    engine = CharacterEngine(lambda prompt, number: ["Doubling.", *["Who?"] * (retries + 1), "Done."][number])
    episode, _ = lm2(engine, judging(*["conceptual"] * 9), f"strategy.retries={retries}")
    assert len(episode.refused) == refused
    assert [turn.question for turn in episode.turns] == ["Who?"]
    assert episode.turns[0].verdicts == ["conceptual"]


def test_the_same_sub_question_asked_again_is_answered_by_a_new_draw():
    engine = saying("Doubling.", "Who?", "Who?", *PLAN)
    episode, solver = lm2(engine, judging("conceptual", "conceptual"), "strategy.retries=3")
    assert [turn.question for turn in episode.refused] == ["Who?", "Who?"]
    draws = [
        (prompt.rpartition("Q: ")[2], sample) for prompt, purpose, sample in solver.asked if purpose == "subquestion"
    ]
    first, second, *others = draws
    assert (first[1], second[1]) == (0, 1)
    assert [sample for _, sample in others] == [0, 0], "another sub-question's first reply is greedy"


@pytest.mark.parametrize("verdict", ["computational", "error in the last step", "second half", "hm", ""])
def test_other_verdicts_take_the_pair_up(verdict):
    episode, _ = lm2(saying("Doubling.", *PLAN), judging(verdict))
    assert episode.refused == []
    assert [turn.question for turn in episode.turns] == PLAN
    assert (episode.turns[0].verdicts == ["unreadable"]) == (verdict in ("hm", ""))


def test_the_classes_that_refuse_a_sub_question_are_the_configurations():
    overrides = ["strategy.rewrite_on=[computational]"]
    episode, _ = lm2(saying("Doubling.", "Who?", *PLAN), judging("computational", "conceptual"), *overrides)
    assert [turn.question for turn in episode.refused] == ["Who?"]
    assert [turn.question for turn in episode.turns] == PLAN


def test_the_ablations_leave_out_the_verifier_or_the_concepts():
    episode, _ = lm2(saying("Doubling.", *PLAN))
    assert [turn.verdicts for turn in episode.turns] == [[], []]
    engine = saying(*PLAN)
    episode, solver = lm2(engine, judging(), "strategy.concepts=false")
    assert episode.concepts is None
    assert engine.prompts[0] == f"{ATTEMPT}Sub-questions:\n"
    assert "Concepts" not in solver.asked[-1][0]


def test_interleaved_is_lm2_without_concepts_and_verdicts_have_no_say():
    engine, verifier = saying(*PLAN), judging(*["conceptual"] * 9)
    episode = episode_of(engine, ["strategy=interleaved"], verifier=verifier)
    assert [turn.question for turn in episode.turns] == PLAN
    assert episode.refused == []
    assert [call.purpose for call in episode.calls] == ["next"] * 3


def test_the_verifier_never_sees_the_gold_answer():
    verifier = judging()
    lm2(saying("Doubling.", *PLAN), verifier, problem=Problem("p", PROBLEM.question, "4711", solution="= 4711"))
    assert len(verifier.asked) == 2
    assert not any("4711" in prompt for prompt, *_ in verifier.asked)


def test_given_sub_questions_are_handed_out_one_by_one():
    engine = saying()
    episode, _ = lm2(engine, judging(*["conceptual"] * 9), given=PLAN)
    assert [turn.question for turn in episode.turns] == episode.subquestions == PLAN
    assert episode.calls == episode.refused == engine.asked == []
    assert episode.final.text


# -- limits and failures ---------------------------------------------------------------------------------------------


def test_a_decomposer_that_never_ends_is_stopped_and_the_question_answered():
    engine = CharacterEngine(lambda prompt, number: f"Question {number}?")
    episode, _ = lm2(engine, None, "strategy.max_subquestions=3", "strategy.concepts=false")
    assert len(episode.turns) == len(episode.calls) == 3
    assert "strategy.max_subquestions" in episode.note
    assert (episode.outcome, bool(episode.final.text)) == ("ok", True)


@pytest.mark.parametrize(
    ("limit", "outcome", "calls"),
    [("max_calls=2", "episode_calls", 2), ("max_policy_tokens=15", "episode_policy_tokens", 2)],
)
def test_a_limit_of_calls_or_tokens_ends_an_episode_under_its_name(limit, outcome, calls):
    engine = CharacterEngine(lambda prompt, number: f"Question {number}?")
    episode, _ = lm2(engine, None, f"strategy.{limit}", "strategy.concepts=false")
    assert (episode.outcome, len(episode.calls), len(engine.asked)) == (outcome, calls, calls)
    assert len(episode.turns) == calls
    assert episode.policy_tokens == episode.decomposer_tokens == sum(len(call.token_ids) for call in episode.calls)


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        ("solver_timeout", "verifier_timeout"),
        ("solver_refused", "verifier_refused"),
        ("solver_empty", "verifier_empty"),
        ("prompt_too_long", "verifier_prompt_too_long"),
    ],
)
def test_a_failure_of_the_verifier_ends_the_episode_under_its_own_name_and_keeps_the_answer(failure, outcome):
    def fail(prompt: str, sample: int) -> str:
        raise SolverFailure(failure)

    episode, _ = lm2(saying("Doubling.", *PLAN), Scripted(fail))
    assert episode.outcome == outcome
    assert [(turn.question, turn.verdicts) for turn in episode.turns] == [(PLAN[0], [])]
    assert episode.subquestions == PLAN[:1]


def test_a_sub_question_that_was_asked_is_the_episodes_though_nobody_answered_it():
    def fail_at_bob(prompt: str, sample: int) -> str:
        if "Bob" in prompt.rpartition("Q:")[2]:
            raise SolverFailure("solver_timeout")
        return by_question(prompt, sample)

    episode = episode_of(
        saying("Doubling.", "Who?", *PLAN), ["strategy=lm2"], Scripted(fail_at_bob), judging("conceptual")
    )
    assert (episode.outcome, episode.subquestions) == ("solver_timeout", PLAN)
    assert [turn.question for turn in episode.refused] == ["Who?"]
    assert [turn.question for turn in episode.turns] == PLAN[:1]
    assert [len(call.subquestion_ends) for call in episode.calls] == [0, 0, 1, 1]
    engine = CharacterEngine(lambda prompt, number: [*PLAN][number] if number < 2 else "Ann has 3 pens.")
    alone = episode_of(engine, ["strategy=interleaved", "policy.plays=both", "strategy.max_calls=2"])
    assert (alone.outcome, alone.subquestions, alone.turns) == ("episode_calls", PLAN[1:], [])


def test_an_episodes_time_is_the_verifiers_too():
    verifier = Scripted(by_question, wait_for=2)
    episode, _ = lm2(saying("Doubling.", *PLAN), verifier, "rollout.episode_timeout_s=0.2")
    assert episode.outcome == "episode_timeout"
    assert verifier.cancelled == 1


def test_a_prompt_beyond_the_context_ends_the_decomposition_and_not_the_episode():
    engine = saying("Doubling.", *PLAN)
    engine.context = 130
    episode, _ = lm2(engine)
    assert episode.decomposition.invalid == "prompt_too_long"
    assert (episode.outcome, bool(episode.final.text)) == ("ok", True)


@pytest.mark.parametrize(("text", "invalid"), [("", "empty"), ("x" * 301, "too_long")])
def test_what_is_no_sub_question_ends_the_list_and_is_named(text, invalid):
    episode, _ = lm2(saying("Doubling.", "How many has Ann?", text))
    assert [turn.question for turn in episode.turns] == ["How many has Ann?"]
    assert episode.decomposition.invalid == invalid
    assert episode.final.text


def test_the_tokens_of_every_role_are_counted_and_the_record_holds_all_of_it():
    verifier = judging("conceptual")
    episode, solver = lm2(saying("Doubling.", "Who?", *PLAN), verifier)
    assert (episode.solver_tokens, episode.solver_prompt_tokens) == (solver.tokens, solver.prompt_tokens)
    assert (episode.verifier_tokens, episode.verifier_prompt_tokens) == (verifier.tokens, verifier.prompt_tokens)
    assert episode.decomposer_tokens == episode.policy_tokens == sum(len(call.token_ids) for call in episode.calls)
    record = episode.to_json()
    assert Episode.from_json(record).to_json() == record
    assert [call["purpose"] for call in record["calls"]] == ["concepts", "next", "next", "next", "next"]
    assert record["refused"][0]["verdicts"] == ["conceptual"]


# -- roles -----------------------------------------------------------------------------------------------------------


def by_role(prompt: str, number: int) -> str:
    """A policy that answers what it is asked, and writes the plan where it is asked for sub-questions."""
    if prompt.endswith("Sub-questions:\n"):
        return "\n".join(PLAN)
    return by_question(prompt, 0) if "\nQ: " in prompt else "The answer is 9."


@pytest.mark.parametrize("name", ["daslam", "independent", "dependency_graph", "daslam_no_feedback"])
@pytest.mark.parametrize("plays", ["decomposer", "solver", "both"])
def test_todays_strategies_give_the_same_episode_whoever_plays(name, plays):
    problem = Problem("p", PROBLEM.question, "9", subquestions=PLAN)
    solver, engine = Scripted(by_question), CharacterEngine(by_role)
    episode = episode_of(engine, [f"strategy={name}", f"policy.plays={plays}"], solver, problem=problem)
    assert episode.outcome == "ok"
    assert episode.subquestions == PLAN
    assert [turn.text for turn in episode.turns] == ["Ann has 3 pens.", "Bob has 6 pens."]
    assert episode.final.text == "3 + 6 = 9. The answer is 9."
    asked = 1 if name == "daslam_no_feedback" else 2
    counts = {"decomposer": 1, "solver": len(PLAN) + asked, "both": len(PLAN) + asked + 1}
    assert len(episode.calls) == len(engine.asked) == counts[plays]
    assert len(solver.asked) == (len(PLAN) + asked if plays == "decomposer" else 0)
    assert [turn.call is None for turn in episode.turns] == [plays == "solver"] * 2
    answered = [] if plays == "decomposer" else [episode.calls[turn.answer_call].text for turn in episode.turns]
    assert answered == ([] if plays == "decomposer" else [turn.text for turn in episode.turns])
    assert episode.policy_tokens == sum(len(call.token_ids) for call in episode.calls)
    assert episode.weight_version == 7


@pytest.mark.parametrize("name", ["direct", "self_consistency", "least_to_most"])
def test_a_policy_that_plays_the_solver_speaks_in_strategies_without_a_decomposer(name):
    solver, engine = Scripted(by_question), CharacterEngine(by_role)
    episode = episode_of(engine, [f"strategy={name}", "policy.plays=solver"], solver)
    assert episode.outcome == "ok"
    assert solver.asked == []
    assert len(episode.calls) == {"direct": 1, "self_consistency": 5}.get(name, 4)
    assert episode.solver_tokens == episode.policy_tokens
    assert episode.decomposer_tokens == 0


@pytest.mark.parametrize("before", ["", "  ", "Why? <think>\n1. Hm?\n</think>\n"])
@pytest.mark.parametrize("plays", ["both", "solver"])
def test_the_policys_own_list_of_sub_questions_is_a_call_that_wrote_them(plays, before):
    engine = CharacterEngine(lambda prompt, number: before * (number == 0) + by_role(prompt, number))
    episode = episode_of(engine, ["strategy=least_to_most", f"policy.plays={plays}"])
    assert [call.purpose for call in episode.calls] == ["decompose_alone", "subquestion", "subquestion", "solve"]
    assert [(turn.call, turn.answer_call) for turn in episode.turns] == [(0, 1), (0, 2)]
    assert (episode.subquestions, episode.decomposition.invalid) == (PLAN, None)
    first, *others = episode.calls
    ends = ["".join(map(chr, first.token_ids[: end + 1])).rsplit("\n", 1)[-1] for end in first.subquestion_ends]
    assert [end.strip() for end in ends] == PLAN
    assert not any(call.subquestion_ends for call in others)
    listed, *_, solved = [sampling for _, sampling in engine.asked]
    assert (listed.max_tokens, listed.stop) == (solved.max_tokens, solved.stop)


class CutShort(Scripted):
    """A frozen solver whose replies are all cut off."""

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        return replace(await super().ask(prompt, purpose=purpose, sample=sample), cut=True)


@pytest.mark.parametrize("plays", ["both", "decomposer"])
def test_a_list_that_was_cut_off_is_not_whole_whoever_wrote_it(plays):
    solver = CutShort(lambda prompt, sample: by_role(prompt, 0))
    engine = CharacterEngine(by_role, finish_reason="length")
    episode = episode_of(engine, ["strategy=least_to_most", f"policy.plays={plays}"], solver)
    assert (episode.subquestions, episode.decomposition.invalid) == (PLAN, "truncated")
    assert [turn.call for turn in episode.turns] == ([0, 0] if plays == "both" else [None, None])


@pytest.mark.parametrize("name", ["daslam", "lm2", "monolith"])
def test_a_text_of_a_frozen_model_that_was_cut_off_is_not_whole(name):
    engine = CharacterEngine(by_role)
    solver = CutShort(lambda prompt, sample: by_role(prompt, 0))
    overrides = {"monolith": []}.get(name, ["policy.plays=solver", "policy.decomposer=solver"])
    episode = episode_of(engine, [f"strategy={name}", *overrides], solver)
    assert episode.decomposition.invalid == "truncated"


def test_draws_of_a_greedy_policy_are_sampled_and_all_else_is_greedy():
    engine = CharacterEngine(by_role)
    episode_of(engine, ["strategy=self_consistency", "policy.plays=solver"], temperature=0.0)
    assert {sampling.temperature for _, sampling in engine.asked} == {0.7}
    assert len({sampling.seed for _, sampling in engine.asked}) == 5
    engine = CharacterEngine(by_role)
    episode_of(engine, ["policy.plays=both"], temperature=0.0)
    assert {sampling.temperature for _, sampling in engine.asked} == {0.0}


def test_a_frozen_model_can_decompose_for_a_policy_that_solves():
    solver = Scripted(lambda prompt, sample: "\n".join(PLAN) if prompt.endswith("Sub-questions:\n") else "?")
    engine = CharacterEngine(by_role)
    episode = episode_of(engine, ["policy.plays=solver", "policy.decomposer=solver"], solver)
    assert episode.subquestions == PLAN
    assert [purpose for _, purpose, _ in solver.asked] == ["solve"]
    assert [call.purpose for call in episode.calls] == ["solve", "subquestion", "subquestion", "solve"]
    assert episode.decomposer_tokens == solver.tokens


def test_lm2_is_played_by_one_policy_in_both_roles():
    def reply(prompt: str, number: int) -> str:
        if prompt.endswith("Concepts:\n"):
            return "Doubling."
        if "Sub-questions:\n" in prompt:
            return (*PLAN, "Done.")[prompt.count("\nA: ")]
        return by_question(prompt, 0)

    engine, solver = CharacterEngine(reply), Scripted(by_question)
    episode = episode_of(engine, ["strategy=lm2", "policy.plays=both"], solver, judging())
    assert solver.asked == []
    purposes = ["solve", "concepts", "next", "subquestion", "next", "subquestion", "next", "solve"]
    assert [call.purpose for call in episode.calls] == purposes
    assert [(turn.call, turn.answer_call) for turn in episode.turns] == [(2, 3), (4, 5)]
    assert episode.decomposer_tokens + episode.solver_tokens == episode.policy_tokens


def test_the_policys_tokens_as_a_solver_count_as_the_solvers():
    engine = CharacterEngine(by_role)
    overrides = ["policy.plays=both", "rollout.episode_solver_tokens=1"]
    assert episode_of(engine, overrides).outcome == "episode_tokens"


# -- the monolith ----------------------------------------------------------------------------------------------------

WHOLE = "Q: How many has Ann?\nA: Ann has 3 pens.\nQ: How many has Bob?\nA: Bob has 6 pens.\nFinal answer: 9"


@pytest.mark.parametrize("plays", ["both", "solver", "decomposer"])
def test_a_monolith_is_one_text_of_whoever_solves(plays):
    solver, engine = Scripted(lambda prompt, sample: WHOLE), CharacterEngine(lambda prompt, number: WHOLE)
    episode = episode_of(engine, ["strategy=monolith", f"policy.plays={plays}"], solver)
    assert (len(episode.calls), len(solver.asked)) == ((0, 1) if plays == "decomposer" else (1, 0))
    assert episode.subquestions == PLAN
    assert [turn.text for turn in episode.turns] == ["Ann has 3 pens.", "Bob has 6 pens."]
    assert episode.final.text == "9"
    if plays != "decomposer":
        (call,) = episode.calls
        ends = ["".join(map(chr, call.token_ids[: end + 1])).rsplit("\n", 1)[-1] for end in call.subquestion_ends]
        assert ends == [f"Q: {question}" for question in PLAN]
        assert [(turn.call, turn.answer_call) for turn in episode.turns] == [(0, 0), (0, 0)]
