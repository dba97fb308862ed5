"""The vLLM backend over a stand-in for the engine: what it asks for, and what becomes of it. tests/end_to_end has the
real one."""

from __future__ import annotations

import asyncio

import pytest

from conf.schema.solver import VllmSolver
from rollout.engine.sampling import Sampling, draw_seed
from rollout.engine.vllm_arguments import EngineSettings
from rollout.engine.vllm_engine import EngineError, Generation, PromptTooLong
from rollout.episode.contracts import Likelihood, Reply, SolverFailure
from rollout.solvers import vllm
from rollout.solvers.base import SolverBroken, Usage
from tests.rollout.fakes import Characters

LENGTHS = {"max_tokens_subquestion": 8, "max_tokens_solve": 32, "sample_temperature": 0.6, "timeout_s": 0.05}


class StandIn:
    """Notes what is asked of it."""

    def __init__(self, settings: EngineSettings) -> None:
        self.asked: list[tuple[str, Sampling]] = []
        self.scored: list[tuple[list[int], list[int]]] = []
        self.tokenizer = Characters()
        self.texts: list[str] = []
        self.finish_reason = "stop"

    def start(self) -> None:
        pass

    async def generate(self, prompt: str, sampling: Sampling) -> Generation:
        self.asked.append((prompt, sampling))
        if prompt == "long":
            raise PromptTooLong("prompt of 600 tokens")
        if prompt == "dead":
            raise EngineError("stopped")
        if prompt == "slow":
            await asyncio.sleep(5)
        text = self.texts.pop(0) if self.texts else " Tom owns 5 pens. "
        return Generation([1, 2, 3], [4, 5], text, [], [], self.finish_reason)

    async def logprobs(self, prompt: list[int], completion: list[int]) -> list[float]:
        self.scored.append((prompt, completion))
        await self.generate(self.tokenizer.decode(prompt), Sampling(1))
        return [-0.5] * len(completion)


@pytest.fixture
def solver(monkeypatch, tmp_path):
    monkeypatch.setattr(vllm.EngineSolver, "engine_of", StandIn)
    (tmp_path / "config.json").write_text("{}")
    return vllm.EngineSolver(VllmSolver(backend="vllm", path=str(tmp_path), **LENGTHS))


def ask(solver, prompt, **kwargs):
    return asyncio.run(solver.ask(prompt, **kwargs))


def test_the_reply_and_its_tokens_and_what_was_read(solver):
    assert ask(solver, "a", purpose="solve") == Reply("Tom owns 5 pens.", 2, 3)
    assert solver.usage == Usage(requests=1, prompt_tokens=3, completion_tokens=2)


def test_a_reply_that_reached_its_limit_was_cut_off(solver):
    assert not ask(solver, "a", purpose="solve").cut
    solver.engine.finish_reason = "length"
    assert ask(solver, "a", purpose="solve").cut


def test_a_calculator_goes_on_from_a_value_that_was_wrong_and_is_another_solver(solver):
    assert "calculator" not in solver.identity
    solver.settings = solver.settings.model_copy(update={"calculator": True})
    assert solver.identity["calculator"]
    solver.engine.texts = [" It is <<1+1=3>>3", "2."]
    assert ask(solver, "a", purpose="solve") == Reply("It is 2.", 4, 6)
    assert [prompt for prompt, _ in solver.engine.asked] == ["a", "a It is <<1+1=2>>"]


def test_the_first_reply_is_the_configured_one_and_draws_are_seeded(solver):
    for sample in (0, 1, 2, 1):
        ask(solver, "a", purpose="subquestion", sample=sample)
    greedy, one, two, again = (sampling for _, sampling in solver.engine.asked)
    assert greedy == Sampling(8, 0.0, ("\n",), None)
    assert one == again == Sampling(8, 0.6, ("\n",), draw_seed("a", 1))
    assert two.seed != one.seed
    assert draw_seed("b", 1) != one.seed


def test_a_texts_log_probability_is_the_sum_over_its_tokens_and_only_reading_is_paid(solver):
    assert asyncio.run(solver.log_likelihood("a:", " 9.")) == Likelihood(-1.5, 5)
    assert solver.engine.scored == [([ord("a"), ord(":")], [ord(one) for one in " 9."])]
    assert solver.usage == Usage(requests=1, prompt_tokens=5)


@pytest.mark.parametrize(
    ("prompt", "error"), [("long", SolverFailure), ("slow", SolverFailure), ("dead", SolverBroken)]
)
def test_what_goes_wrong_with_a_log_probability_has_the_names_of_a_reply(solver, prompt, error):
    with pytest.raises(error) as found:
        asyncio.run(solver.log_likelihood(prompt, " 9."))
    assert getattr(found.value, "outcome", None) == {"long": "prompt_too_long", "slow": "solver_timeout"}.get(prompt)
    assert solver.usage == Usage()


@pytest.mark.parametrize(("prompt", "outcome"), [("long", "prompt_too_long"), ("slow", "solver_timeout")])
def test_what_the_solver_cannot_do_has_a_name(solver, prompt, outcome):
    with pytest.raises(SolverFailure) as error:
        ask(solver, prompt, purpose="solve")
    assert error.value.outcome == outcome
    assert solver.usage == Usage()


def test_an_engine_that_stopped_is_no_outcome(solver):
    with pytest.raises(SolverBroken):
        ask(solver, "dead", purpose="solve")


def test_another_context_may_cut_replies_elsewhere_and_is_another_solver(solver):
    before = solver.identity
    solver.settings = solver.settings.model_copy(update={"max_model_len": solver.settings.max_model_len + 1})
    assert solver.identity != before


def test_a_model_written_anew_under_its_name_is_another_solver(solver, tmp_path):
    before = solver.identity
    assert solver.identity == before
    (tmp_path / "model.safetensors").write_text("new")
    assert solver.identity != before
