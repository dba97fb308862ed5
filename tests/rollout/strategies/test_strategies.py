"""Every strategy against a solver that follows a script: what it asks, in which order, and what it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from conf.schema.own_parts import PartName
from conf.schema.places import ROOT
from conf.schema.strategy import UNTRAINED, Strategy
from rollout.episode.contracts import Reply, SolverFailure
from rollout.records import Attempt, Episode, Turn
from rollout.strategies import DECOMPOSE_ONLY, STRATEGIES, run_strategy
from rollout.strategies.dependency_graph import out_of_order, with_answers
from tests.rollout.fakes import (
    PLAN,
    PROBLEM,
    SOLVE,
    SUB,
    CharacterEngine,
    Planner,
    Scripted,
    by_question,
    episode_of,
    run,
)
from tests.settings import prompts, strategy


def fail_on(word: str, outcome: str = "solver_timeout") -> Callable[[str, int], str]:
    def reply(prompt: str, sample: int) -> str:
        if word in prompt.rsplit("\nQ: ", 1)[1]:
            raise SolverFailure(outcome)
        return by_question(prompt, sample)

    return reply


# -- what is asked, in which order -------------------------------------------------------------------------------


def test_direct_asks_once():
    episode, solver = run("direct")
    assert solver.asked == [(SOLVE.format(""), "solve", 0)]
    assert episode.final.text == "The answer is 5."
    assert episode.initial is None
    assert episode.decomposition is None


@pytest.mark.parametrize("template", [strategy().decompose_template, "{question}\nSub-questions:\n"])
def test_a_plan_alone_is_answered_by_nobody_and_costs_an_attempt_only_where_it_is_shown(template):
    solver, planner = Scripted(by_question), Planner(PLAN)
    episode = asyncio.run(run_strategy(DECOMPOSE_ONLY, PROBLEM, planner, solver, prompts(decompose_template=template)))
    shown = "{attempt}" in template
    assert solver.asked == [(SOLVE.format(""), "solve", 0)] * shown
    assert planner.attempts == ["The answer is 5." if shown else ""]
    assert episode.decomposition.subquestions == PLAN
    assert (episode.turns, episode.final.text) == ([], "")


def thinking(prompt: str, sample: int) -> str:
    return f"<think>Could the answer be 77?</think>\n{by_question(prompt, sample)}"


@pytest.mark.parametrize("name", ["daslam", "independent", "dependency_graph"])
def test_thinking_is_kept_in_the_record_and_shown_to_nobody(name):
    planner = Planner(["How many has Ann?", "How many has Bob if Ann has #1?"])
    episode, solver = run(name, thinking, decomposer=planner)
    assert planner.attempts == ["The answer is 5."]
    assert not any("think" in prompt or "77" in prompt for prompt, *_ in solver.asked)
    texts = [episode.initial.text, episode.final.text, *(turn.text for turn in episode.turns)]
    assert all(text.startswith("<think>Could the answer be 77?</think>") for text in texts)


def test_an_attempt_that_was_cut_off_while_it_thought_is_shown_as_nothing():
    planner = Planner(PLAN)
    run("daslam", lambda prompt, sample: "<think>The answer is 5, but", decomposer=planner)
    assert planner.attempts == [""]


def test_sub_questions_are_not_read_from_the_thinking_of_a_solver_that_writes_them():
    def reply(prompt: str, sample: int) -> str:
        return by_question(prompt, sample) if "\nQ: " in prompt else "<think>\n1. Hm?\n</think>\n1. How many has Ann?"

    episode, _ = run("least_to_most", reply)
    assert episode.decomposition.subquestions == ["How many has Ann?"]


def test_daslam_attempts_decomposes_answers_in_sequence_and_solves():
    planner = Planner(PLAN)
    episode, solver = run("daslam", decomposer=planner)
    first = "\nQ: How many has Ann?\nA: Ann has 3 pens."
    second = "\nQ: How many has Bob?\nA: Bob has 6 pens."
    assert solver.asked == [
        (SOLVE.format(""), "solve", 0),
        (SUB.format("", "How many has Ann?"), "subquestion", 0),
        (SUB.format(first, "How many has Bob?"), "subquestion", 0),
        (SOLVE.format(first + second), "solve", 0),
    ]
    assert planner.attempts == ["The answer is 5."]
    assert episode.initial == Attempt("The answer is 5.")
    assert [(turn.question, turn.text) for turn in episode.turns] == [
        ("How many has Ann?", "Ann has 3 pens."), ("How many has Bob?", "Bob has 6 pens."),
    ]  # fmt: skip
    assert episode.final.text == "3 + 6 = 9. The answer is 9."
    assert solver.most_in_flight == 1


def test_without_feedback_there_is_no_attempt():
    planner = Planner(PLAN)
    episode, solver = run("daslam_no_feedback", decomposer=planner)
    _, full = run("daslam")
    assert solver.asked == full.asked[1:]
    assert planner.attempts == [""]
    assert episode.initial is None
    assert episode.final.text == "3 + 6 = 9. The answer is 9."


def test_least_to_most_lets_the_solver_decompose():
    def reply(prompt: str, sample: int) -> str:
        if prompt.endswith("Sub-questions:\n"):
            return "1. How many has Ann?\n2. How many has Bob?\n3. How many has Cid?"
        return by_question(prompt, sample)

    episode, solver = run("least_to_most", reply, settings={"max_subquestions": 2})
    _, full = run("daslam")
    assert solver.asked == [(f"{PROBLEM.question}\nSub-questions:\n", "decompose_alone", 0), *full.asked[1:]]
    assert episode.decomposition.subquestions == PLAN
    assert episode.decomposition.invalid == "too_many"
    assert not episode.calls


def test_independent_subquestions_are_asked_at_once_and_do_not_see_each_other():
    plan = ["How many has Bob?", "How many has Ann?", "How many has Bob?"]

    async def scenario() -> tuple[Episode, Scripted]:
        solver = Scripted(by_question)
        inner = solver.ask

        async def ask(prompt: str, *, purpose: str, sample: int = 0) -> Reply:
            if purpose == "subquestion":
                async with asyncio.timeout(5):
                    await together.wait()
                await asyncio.sleep(0.02 if "Bob" in prompt.rsplit("\n", 2)[1] else 0)
            return await inner(prompt, purpose=purpose, sample=sample)

        together = asyncio.Barrier(3)
        solver.ask = ask  # type: ignore[method-assign]
        return await run_strategy("independent", PROBLEM, Planner(plan), solver, prompts()), solver

    episode, solver = asyncio.run(scenario())
    asked = [prompt for prompt, purpose, _ in solver.asked if purpose == "subquestion"]
    assert sorted(asked) == sorted(SUB.format("", question) for question in plan)
    assert "Ann" in asked[0].rsplit("\n", 2)[1], "Ann's answer came first"
    assert [turn.question for turn in episode.turns] == plan
    assert [turn.text.split()[0] for turn in episode.turns] == ["Bob", "Ann", "Bob"]
    view = "".join(f"\nQ: {turn.question}\nA: {turn.text}" for turn in episode.turns)
    assert solver.asked[-1] == (SOLVE.format(view), "solve", 0)


# -- the dependency graph ----------------------------------------------------------------------------------------


def test_a_subquestion_is_asked_as_soon_as_those_it_refers_to_are_answered():
    plan = ["How many has Ann?", "How many has Cid?", "What is twice #1?", "What is #3 plus #1?", "Half of #2?"]
    began: list[str] = []
    ended: list[str] = []

    async def scenario() -> Episode:
        released = asyncio.Event()

        class Slow(Scripted):
            async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
                question = prompt.rsplit("\nQ: ", 1)[1].removesuffix("\nA:")
                began.append(question)
                if "Cid" in question:
                    async with asyncio.timeout(5):
                        await released.wait()
                reply = await super().ask(prompt, purpose=purpose, sample=sample)
                ended.append(question)
                if question == "What is 6 plus 3?":
                    released.set()
                return reply

        solver = Slow(lambda prompt, sample: replies[prompt.rsplit("\nQ: ", 1)[1].removesuffix("\nA:")])
        return await run_strategy("dependency_graph", PROBLEM, Planner(plan), solver, prompts())

    replies = {
        "Solve step by step: How many do they have?": "The answer is 9.",
        "How many has Ann?": "She has 3.",
        "How many has Cid?": "He has 8.",
        "What is twice 3?": "2 * 3 = 6.",
        "What is 6 plus 3?": "It is 9.",
        "Half of 8?": "It is 4.",
    }
    episode = asyncio.run(scenario())
    assert began[1:3] == ["How many has Ann?", "How many has Cid?"]
    # Cid's answer comes last of the three; what does not refer to it did not wait for it.
    assert ended.index("What is 6 plus 3?") < ended.index("How many has Cid?") < ended.index("Half of 8?")
    assert [turn.question for turn in episode.turns] == plan
    assert [turn.asked for turn in episode.turns] == [None, None, "What is twice 3?", "What is 6 plus 3?", "Half of 8?"]
    assert episode.note is None
    assert episode.outcome == "ok"


def test_only_the_turns_referred_to_are_in_view_and_the_whole_is_solved_with_what_was_asked():
    episode, solver = run(
        "dependency_graph", plan=["How many has Ann?", "How many has Bob?", "What is #1 plus 1, Bob?"]
    )
    bob = "\nQ: How many has Bob?\nA: Bob has 6 pens."
    ann = "\nQ: How many has Ann?\nA: Ann has 3 pens."
    assert (SUB.format(ann, "What is 3 plus 1, Bob?"), "subquestion", 0) in solver.asked
    assert solver.asked[-1][0] == SOLVE.format(ann + bob + "\nQ: What is 3 plus 1, Bob?\nA: Bob has 6 pens.")
    assert episode.decomposition.subquestions[2] == "What is #1 plus 1, Bob?"


@pytest.mark.parametrize(
    ("plan", "note"),
    [
        (["Ann plus #2?", "Bob plus #1?"], "sub-question 1 refers to #2"),
        (["Ann?", "Bob plus #2?"], "sub-question 2 refers to #2"),
        (["Ann?", "Bob plus #1 and #7?"], "sub-question 2 refers to #7"),
    ],
)
def test_references_that_give_no_order_fall_back_to_the_sequence(plan, note):
    episode, solver = run("dependency_graph", plan=plan)
    assert note in episode.note
    assert solver.most_in_flight == 1
    assert len(episode.turns) == 2
    view = f"\nQ: {episode.turns[0].question}\nA: Ann has 3 pens."
    assert solver.asked[2][0].startswith(PROBLEM.question + view), "earlier turns are in view"
    if "#1" in plan[1]:
        assert "Bob plus 3" in solver.asked[2][0]
    assert Episode.from_json(episode.to_json()).note == episode.note


@pytest.mark.parametrize(
    ("question", "reply", "answer_type", "asked"),
    [
        ("Twice #1?", "It costs $1,200.", "number", "Twice $1,200?"),
        ("Who wrote #1?", "Let me think.\nThe answer is Hamlet.", "boolean", "Who wrote Hamlet?"),
        ("Who wrote #1?", "A play.\nHamlet", "text", "Who wrote Hamlet?"),
        ("Twice #1?", "I cannot\nsay.", "number", "Twice I cannot say.?"),
        ("Twice #1?", " ", "number", None),
        ("House #12?", "3", "number", None),
        ("Room #0 or #100?", "3", "number", None),
    ],
)
def test_references_are_replaced_by_answers(question, reply, answer_type, asked):
    assert with_answers(question, [Turn("a?", reply)], answer_type) == asked


def test_references_backwards_are_in_order():
    assert out_of_order(["a?", "#1?", "#1 and #2?", "#9 lives?"]) is not None
    assert out_of_order(["a?", "#1?", "#1 and #2?"]) is None


@pytest.mark.parametrize(
    ("written", "note", "asked"),
    [
        (["Ann?", "Ann?", "Bob?", "Twice #3?"], None, "Twice 6?"),
        (["Ann?", "Ann?", "Bob?", "Twice #2?"], None, "Twice 3?"),
        (["x" * 301, "Ann?", "Bob?", "Twice #3?"], None, "Twice 6?"),
        (["Ann?", "x" * 301, "Bob?", "Twice #2 and #3?"], "sub-question 3 refers to #2, ", "Twice #2 and 6?"),
    ],
)
def test_a_reference_is_to_what_was_written_there_whatever_was_left_out(written, note, asked):
    engine = CharacterEngine(lambda prompt, number: "\n".join(written))
    overrides = ["strategy=dependency_graph", "strategy.drop_repeats=true"]
    episode = episode_of(engine, overrides, Scripted(by_question))
    assert [turn.question for turn in episode.turns] == ["Ann?", "Bob?", written[-1]]
    assert episode.turns[-1].asked == asked
    assert episode.note is None if note is None else note in episode.note
    assert Episode.from_json(episode.to_json()).decomposition == episode.decomposition


# -- failures and the account ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_token_is_accounted_for(name):
    episode, solver = run(name, lambda prompt, sample: f"How many has Ann?\nHow many has Bob? {'word ' * sample}")
    assert episode.solver_tokens == solver.tokens > 0
    assert episode.solver_prompt_tokens == solver.prompt_tokens > 0
    assert episode.policy_tokens == (0 if name in UNTRAINED else 3)
    again = Episode.from_json(episode.to_json())
    assert again.to_json() == episode.to_json()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_failure_at_the_first_call_is_the_outcome(name):
    def refuse(prompt: str, sample: int) -> str:
        raise SolverFailure("solver_refused")

    episode, _ = run(name, refuse)
    assert episode.outcome == "solver_refused"
    assert episode.final == Attempt("")
    assert episode.solver_tokens == 0


@pytest.mark.parametrize("name", ["daslam", "daslam_no_feedback", "independent", "dependency_graph"])
def test_a_failing_subquestion_ends_the_episode_and_keeps_what_there_was(name):
    episode, solver = run(name, fail_on("Bob"), plan=["How many has Ann?", "How many has Bob?"])
    assert episode.outcome == "solver_timeout"
    assert [turn.question for turn in episode.turns] == ["How many has Ann?"]
    assert episode.final == Attempt("")
    assert episode.solver_tokens == solver.tokens


def branches(failures: dict[str, Exception], name: str) -> tuple[Coroutine[Any, Any, Episode], Scripted]:
    """An episode in which Ann's question is answered, Bob's and Dan's fail as told, and Cid's never ends."""
    solver = Scripted(by_question)
    inner = solver.ask

    async def ask(prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        for person, failure in failures.items():
            if person in prompt.rsplit("\nQ: ", 1)[1]:
                await asyncio.sleep(0.01)
                raise failure
        if "Cid" in prompt.rsplit("\nQ: ", 1)[1]:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                solver.cancelled += 1
                raise
        return await inner(prompt, purpose=purpose, sample=sample)

    solver.ask = ask  # type: ignore[method-assign]
    plan = [f"How many has {person}?" for person in ("Cid", "Ann", "Bob", "Dan")]

    async def episode() -> Episode:
        async with asyncio.timeout(5):
            done = await run_strategy(name, PROBLEM, Planner(plan), solver, prompts())
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return done

    return episode(), solver


@pytest.mark.parametrize("name", ["independent", "dependency_graph"])
def test_a_failing_branch_cancels_the_others_and_waits_for_their_end(name):
    running, solver = branches({"Bob": SolverFailure("prompt_too_long"), "Dan": SolverFailure("solver_timeout")}, name)
    episode = asyncio.run(running)
    assert episode.outcome == "prompt_too_long"
    assert solver.cancelled == 1
    assert [turn.question for turn in episode.turns] == ["How many has Ann?"]
    assert episode.solver_tokens == solver.tokens


@pytest.mark.parametrize("name", ["independent", "dependency_graph"])
def test_an_infrastructure_error_is_raised_even_after_a_solver_failure(name):
    running, solver = branches({"Bob": SolverFailure("solver_timeout"), "Dan": ConnectionError("gone")}, name)
    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(running)
    assert solver.cancelled == 1


@pytest.mark.parametrize("name", ["daslam", "independent", "dependency_graph"])
def test_a_turn_that_could_not_be_judged_has_its_place(name):
    plan = ["How many has Ann?", "How many has Bob?", "How many has Ann?"]

    async def scenario() -> Episode:
        judged = asyncio.Event()

        async def judge(prompt: str, *, purpose: str, sample: int = 0) -> Reply:
            if "How many has Bob?\nA:" in prompt:
                await judged.wait()
                raise SolverFailure("solver_timeout")
            judged.set()
            return Reply("no mistake", 2)

        verifier = Scripted(by_question)
        verifier.ask = judge  # type: ignore[method-assign]
        return await run_strategy(name, PROBLEM, Planner(plan), Scripted(by_question), prompts(), verifier)

    episode = asyncio.run(scenario())
    assert episode.outcome == "solver_timeout"
    assert [turn.question for turn in episode.turns] == plan[: 2 if name == "daslam" else 3]


def test_the_names_of_the_configuration_are_those_of_the_strategies():
    (names,) = [entry for entry in Strategy.model_fields["name"].metadata if isinstance(entry, PartName)]
    files = [path for path in (ROOT / "rollout" / "strategies").glob("*.py") if "async def run(" in path.read_text()]
    assert set(names.known) == set(STRATEGIES) == {path.stem for path in files} - {DECOMPOSE_ONLY}


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_episode_bears_its_strategys_name(name):
    assert run(name, lambda prompt, sample: "The answer is 9.")[0].strategy == name
