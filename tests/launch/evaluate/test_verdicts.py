"""Verdicts beside the true ones, on problems whose truth the generator knows."""

from __future__ import annotations

from dataclasses import replace

from launch.evaluate.verdicts import verdict_pairs
from rollout.data.chained import generate
from rollout.data.graph import Graph
from rollout.records import Decomposition, Episode, Problem, Turn


def judged_episode(named: list[str]) -> Episode:
    """An episode on a problem of three steps: a right first reply, and a second sub-question that came too early."""
    problem = next(generate(3, "train", {3: 1.0}))
    graph = Graph(problem)
    first, second, _ = graph.needed
    episode = Episode(problem, "lm2", turns=[Turn(graph.ask(first), graph.line(first), call=1, verdicts=named[:1])])
    early = Turn(graph.ask(second), graph.reply(second, graph.given), call=0, verdicts=named[1:2])
    episode.refused = [early]
    episode.turns.append(Turn(graph.ask(second), graph.line(second), call=2, verdicts=named[2:]))
    return episode


def test_verdicts_stand_beside_the_true_ones():
    found = verdict_pairs(judged_episode(["no_mistake", "conceptual", "no_mistake", "last_step"]))
    assert found == [
        ("no_mistake", "no_mistake"), ("no_mistake", "no_mistake"), ("no_mistake", "last_step"),
        ("procedural", "conceptual"),
    ]  # fmt: skip
    alone = judged_episode(["no_mistake", "procedural", "no_mistake"])
    alone.turns[1].text, alone.refused = alone.refused[0].text, []
    assert verdict_pairs(alone)[1] == ("first_step", "no_mistake"), "it could tell, with the first answer in view"
    alone.strategy = "independent"
    assert verdict_pairs(alone)[1] == ("procedural", "no_mistake"), "there it sees no earlier answer"
    elsewhere = replace(alone, problem=Problem("p", "?", "1"))
    assert verdict_pairs(elsewhere) == []


def test_a_reference_shows_the_turn_that_was_written_there():
    episode = judged_episode(["no_mistake", "procedural", "no_mistake"])
    episode.strategy, episode.refused = "dependency_graph", []
    episode.turns[1].question += " By #2."
    episode.decomposition = Decomposition("", [turn.question for turn in episode.turns])
    assert verdict_pairs(episode)[1] == ("no_mistake", "no_mistake"), "it needed nothing else"
    episode.turns[1].text = "I cannot tell."
    assert verdict_pairs(episode)[1] == ("procedural", "no_mistake"), "nothing was in view"
    episode.decomposition.numbers = [1, 1, 2]
    assert verdict_pairs(episode)[1] == ("first_step", "no_mistake"), "the first answer was in view"


def test_what_a_frozen_decomposer_asked_again_is_judged_by_what_stood_before_it():
    episode = judged_episode(["no_mistake", "conceptual", "no_mistake"])
    for number, turn in enumerate([episode.turns[0], episode.refused[0], episode.turns[1]]):
        turn.call, turn.answer_call = None, number  # the policy only answers
    assert verdict_pairs(episode)[2] == ("first_step", "conceptual"), "the first answer was in view"
