"""A solver with a calculator, over an engine that writes a set text: what is filled in, counted and cut off."""

from __future__ import annotations

import asyncio

import pytest

from conf.schema.base import ConfigError
from launch.compose import compose
from rollout.engine.sampling import Sampling
from rollout.engine.vllm_engine import Generation, PromptTooLong
from rollout.solvers.calculator import MOST_FILLED_IN, calculated_reply
from tests.rollout.fakes import Characters

PROMPT = "Q: How many?\nA:"
WRONG = " He sold 48/2 = <<48/2=25>>25 in May. So 48+24 = <<48+24=70>>70. The answer is 70."


class Writing:
    """An engine whose tokens are characters. It goes on with what a set text has after the same words; the number of
    a calculation is copied up to the next one, as it was filled in."""

    version = 0

    def __init__(self, text: str = WRONG, context: int = 10_000) -> None:
        self.text, self.context = text, context
        self.tokenizer = Characters()
        self.asked: list[tuple[str, Sampling]] = []

    async def generate(self, prompt: str, sampling: Sampling) -> Generation:
        self.asked.append((prompt, sampling))
        if len(prompt) >= self.context:
            raise PromptTooLong("too long")
        written = prompt.removeprefix(PROMPT)
        rest = self.text
        if written:
            begun, value = written.removesuffix(">>").rsplit("=", 1)
            wrong = self.text[len(begun) + 1 :].partition(">>")[0]
            copied, mark, later = self.text[len(begun) + 1 + len(wrong) + 2 :].partition("<<")
            rest = copied.replace(wrong, value) + mark + later
            self.text = written + rest
        said = rest[: sampling.max_tokens]
        end = "stop" if len(rest) < sampling.max_tokens else "length"
        return Generation([1] * len(prompt), [ord(one) for one in said], said, [], [], end)


def reply(engine, most=200, seed=None):
    return asyncio.run(calculated_reply(engine, PROMPT, Sampling(most, seed=seed)))


def test_wrong_values_are_replaced_and_the_model_goes_on_from_the_right_ones():
    engine = Writing()
    said = reply(engine)
    assert said.text == "He sold 48/2 = 24 in May. So 48+24 = 72. The answer is 72."
    assert [prompt.removeprefix(PROMPT) for prompt, _ in engine.asked] == [
        "", " He sold 48/2 = <<48/2=24>>", " He sold 48/2 = <<48/2=24>>24 in May. So 48+24 = <<48+24=72>>",
    ]  # fmt: skip
    assert not said.cut


def test_all_that_was_written_and_read_is_counted():
    engine = Writing()
    said = reply(engine)
    second, third = (prompt.removeprefix(PROMPT) for prompt, _ in engine.asked[1:])
    whole = len(WRONG)
    assert said.tokens == whole + (whole - len(second)) + (whole - len(third))
    assert said.prompt_tokens == 3 * len(PROMPT) + len(second) + len(third)


def test_filled_in_values_are_part_of_the_allowance():
    engine = Writing()
    said = reply(engine, most=40)
    assert engine.asked[1][1].max_tokens == 40 - len(" He sold 48/2 = <<48/2=24>>")
    assert said.cut
    assert said.text == "He sold 48/2 = 24 in May. So"


def test_an_allowance_that_ends_in_a_calculation_ends_the_reply():
    said = reply(Writing(), most=24)
    assert (said.text, said.cut) == ("He sold 48/2 =", True)


def test_right_values_and_texts_without_calculations_take_one_request():
    for text in (WRONG.replace("25", "24").replace("70", "72"), " It is 48/2 = 25.", " S <<S+1=3>>3."):
        engine = Writing(text)
        reply(engine)
        assert len(engine.asked) == 1


def test_a_reply_has_a_bounded_number_of_values_filled_in():
    said = reply(Writing(" <<1+1=3>>3" * (MOST_FILLED_IN + 5)), most=10_000)
    assert said.text.split() == ["2"] * MOST_FILLED_IN + ["3"] * 5


def test_a_context_that_is_full_ends_the_reply_and_a_prompt_too_long_has_none():
    assert reply(Writing(context=len(PROMPT) + 20)).cut
    with pytest.raises(PromptTooLong):
        reply(Writing(context=3))


def test_each_continuation_of_a_draw_has_a_seed_of_its_own():
    engine = Writing()
    reply(engine, seed=5)
    seeds = [sampling.seed for _, sampling in engine.asked]
    assert seeds[0] == 5
    assert len(set(seeds)) == 3


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["policy.plays=both"], "solver.calculator: true fills in what a model did not write, and policy.plays 'both'"),
        (["solver=openai", "solver.model=m"], "(a key of solver.backend vllm)"),
    ],
)
def test_where_there_is_no_calculator_it_is_refused_in_one_line(overrides, said):
    with pytest.raises(ConfigError) as error:
        compose([*overrides, "solver.calculator=true"])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
