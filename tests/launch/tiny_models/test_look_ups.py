"""Replies to branched problems, token by token: what a reply copies from the text is one look-up away."""

from __future__ import annotations

import itertools
import random
from functools import cache

import pytest
from transformers import PreTrainedTokenizerFast

from launch.tiny_models.curriculum import POSITIONS
from launch.tiny_models.make import make_tokenizer
from launch.tiny_models.role_texts import branched_monolith_pieces
from launch.tiny_models.texts import (
    END,
    PROMPTS,
    asking_pieces,
    dependent_pieces,
    fact_pieces,
    independent_pieces,
    listing_pieces,
    ordering_pieces,
    random_turns,
    relation_pieces,
    reworded,
    solver_pieces,
)
from rollout.data.branched import VERBS, generate
from rollout.data.graph import CANNOT_TELL, Graph
from rollout.data.look_ups import LookUps
from rollout.data.worked import SolverView
from rollout.records import Problem, Turn

STEPS = {2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0, 6: 1.0}
PIECES = [
    fact_pieces, relation_pieces, dependent_pieces, listing_pieces, ordering_pieces, asking_pieces, solver_pieces,
    independent_pieces, branched_monolith_pieces,
]  # fmt: skip
# A piece of a reply, and where it comes from: copied from the text by look-ups; the word that says whether and how a
# quantity is told; or neither: the name asked about, names of the reply itself, fixed words, arithmetic.
Part = tuple[str, str]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer(0, "branched", count=300)


@cache
def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def parts(graph: Graph, name: str, known: set[str]) -> list[Part]:
    """Return a reply of one who knows the values of ``known``, in parts."""
    value = graph.values
    if name in known:
        return [(f" {name}", ""), (" owns", ""), (f" {value[name]}", "copied"), (f" {graph.item}.", "")]
    _, verb, rest = graph.quantities[name].clause.split(" ", 2)
    found = [(f" {name}", ""), (f" {verb}", "verb"), (f" {rest}.", "copied")]
    for operand in graph.quantities[name].operands:
        found.append((f" {operand}", ""))
        if operand not in known:
            return [*found, (f" is unknown. {CANNOT_TELL}", "")]
        found += [(" owns", ""), (f" {value[operand]}", "copied"), (".", "")]
    return [*found, (f" {graph.line(name)}", "")]


class Checker:
    """Checks replies to prompts about a problem; ``copied`` counts their tokens that are copied from the prompt."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer, self.copied = tokenizer, 0
        self.verbs = {token for verb in VERBS for token in encode(tokenizer, f" {verb}")}

    def check(self, problem: Problem, prompt: str, replies: list[list[Part]]) -> None:
        before, told = encode(self.tokenizer, prompt), LookUps(encode(self.tokenizer, problem.question))
        look_ups = LookUps(before)
        for reply in replies:
            written = list(before)
            for text, kind in reply:
                for token in encode(self.tokenizer, text):
                    if kind == "copied":
                        assert look_ups.after(written) == {token}, (problem.question, reply, text)
                        self.copied += 1
                    elif kind == "verb":
                        assert told.after(written[-1:]) & self.verbs == {token}, (problem.question, reply, text)
                    written.append(token)


def test_in_thousands_of_problems_every_clause_is_restated_by_look_ups(tokenizer):
    checker = Checker(tokenizer)
    for problem in itertools.islice(generate(5, "train", STEPS), 2000):
        graph = Graph(problem)
        prompt = PROMPTS.subquestion(problem, [], graph.ask(graph.target))
        checker.check(problem, prompt, [parts(graph, name, graph.given) for name in graph.quantities])
    assert checker.copied > 100_000


def test_after_whatever_turns_every_reply_copies_by_look_ups(tokenizer):
    checker = Checker(tokenizer)
    for problem in itertools.islice(generate(6, "train", STEPS), 200):
        graph, turns = Graph(problem), list[Turn]()
        view = SolverView(graph)
        for name in random_turns(problem, graph, random.Random(problem.id)):
            prompt = PROMPTS.subquestion(problem, turns, graph.ask(name))
            reply = parts(graph, name, view.known)
            checker.check(problem, prompt, [reply])
            turns.append(Turn(graph.ask(name), view.answer(name)))
            whole = "".join(text for text, _ in reply)
            assert whole == f" {turns[-1].text}"
            assert encode(tokenizer, whole) == [token for text, _ in reply for token in encode(tokenizer, text)]
        checker.check(problem, PROMPTS.solve(problem, turns), [parts(graph, graph.target, view.known)])


def test_every_word_is_one_token(tokenizer):
    rng = random.Random(0)
    for problem in itertools.islice(generate(7, "train", STEPS), 50):
        text = "".join(piece for piece, _ in solver_pieces(problem, rng)).replace(END, "")
        for token in tokenizer.convert_ids_to_tokens(encode(tokenizer, text)):
            assert token.lstrip("Ġ").isalpha() or len(token.lstrip("Ġ")) <= 1, token
        names = " ".join(problem.meta["needed"])
        assert len(encode(tokenizer, f" {names}")) == len(problem.meta["needed"])


@pytest.mark.parametrize("pieces", PIECES, ids=lambda pieces: pieces.__name__)
def test_texts_fit_the_context_and_teach_something(tokenizer, pieces):
    rng = random.Random(0)
    for problem in itertools.islice(generate(8, "train", {6: 1.0}), 200):
        written = pieces(problem, rng)
        assert sum(len(encode(tokenizer, text)) for text, _ in written) <= POSITIONS["branched"]
        assert any(taught for _, taught in written)
        assert not written[0][1]


def test_the_solvers_limits_hold_what_it_is_to_write(tokenizer):
    for problem in itertools.islice(generate(9, "train", {6: 1.0}), 200):
        view = SolverView(Graph(problem))
        replies = [view.answer(name) for name in view.graph.needed[:-1]]
        assert max(len(encode(tokenizer, reply)) for reply in replies) < 40
        assert len(encode(tokenizer, view.solve())) < 160
        # In words, a token that the tokenizer did not learn is several: those fit all the same.
        assert max(len(encode(tokenizer, reworded(reply))) for reply in replies) < 40
