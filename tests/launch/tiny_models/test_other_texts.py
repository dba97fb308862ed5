"""Texts of the independent solver and of the branched monolith."""

import asyncio
import itertools
import random
from types import SimpleNamespace

from launch.tiny_models.measure import single_steps
from launch.tiny_models.role_texts import branched_monolith_pieces
from launch.tiny_models.texts import PROMPTS, reworded
from rollout.answers import extract
from rollout.data import branched
from rollout.data.graph import CANNOT_TELL, Graph
from rollout.data.worked import SolverView


def some(count):
    return itertools.islice(branched.generate(3, "train", {4: 1.0}), count)


def test_the_independent_solver_says_the_same_in_other_words():
    assert reworded("Ben leads Amy by 2. Amy owns 3. 3 + 2 = 5. Ben owns 5 cups.") == (
        "Ben leads Amy by 2. Amy owns 3. 3 and 2 make 5. So Ben owns 5 cups."
    )
    assert reworded("Ben leads Amy by 2. Amy is unknown. I cannot tell.") == (
        "Ben leads Amy by 2. Amy is not known. It cannot be told."
    )
    for problem in some(100):
        graph = Graph(problem)
        every = (SolverView(graph).answer(name) for name in graph.quantities)
        solved = SolverView(graph)
        for name in graph.needed[:-1]:
            solved.answer(name)
        for said in (*every, solved.solve()):
            told = reworded(said)
            assert extract.extract(told, "number").answer == extract.extract(said, "number").answer
            assert not set("+-*/=") & set(told)


def test_a_step_is_measured_after_replies_in_the_solvers_own_words():
    problems, prompts = list(some(3)), []

    async def ask(prompt, purpose):
        prompts.append(prompt)
        return SimpleNamespace(text="So Ben owns 5 cups.")

    found = asyncio.run(single_steps(SimpleNamespace(ask=ask), problems, reworded))
    assert found["count"] == len(prompts) == 3 * 4
    told = [prompt.removeprefix(problem.question) for problem in problems for prompt in prompts
            if prompt.startswith(problem.question)]  # fmt: skip
    assert sum(". So " in text for text in told) == 3 * 3, "all but each problem's first have a reply in view"
    assert not any(" = " in text for text in told)


def test_the_branched_monolith_also_answers_what_leads_to_one_person():
    rng, led = random.Random(0), 0
    for problem in some(100):
        graph = Graph(problem)
        (prompt, taught), (text, _) = branched_monolith_pieces(problem, rng)
        assert not taught
        if prompt == PROMPTS.whole(problem):
            assert "Final answer:" in text
            continue
        led += 1
        (named,) = [name for name in graph.quantities if name in prompt.removeprefix(problem.question)]
        asked = [graph.asked_name(line) for line in text.splitlines() if line.startswith("Q: ")]
        assert asked == graph.leading_to(named)
        assert CANNOT_TELL not in text
    assert 40 < led < 80
