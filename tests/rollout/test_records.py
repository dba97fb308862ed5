"""Episode records with the policy's calls: what is written, what is read, and what earlier versions wrote."""

from __future__ import annotations

import json

import pytest

from rollout.records import Decomposition, Episode, EpisodeFacts, PolicyCall, Problem, RecordError, Turn

PROBLEM = {"id": "p", "question": "How many?", "answer": "9"}
ONE = {
    "prompt_ids": [1, 2],
    "token_ids": [3, 4],
    "logprobs": [-0.5, -0.25],
    "versions": [3, 4],
    "finish_reason": "stop",
}


def call(purpose: str, versions: list[int], text: str = "") -> PolicyCall:
    count = len(versions)
    return PolicyCall(purpose, [1], list(range(count)), [-0.5] * count, versions, text=text)


def spoken() -> Episode:
    """Concepts, a sub-question that was refused, and one that was kept."""
    calls = [call("concepts", [5, 5], "Doubling."), call("next", [4], "Why?")]
    calls.append(call("next", [6, 7, 7], "How many has Bob?"))
    turns = [Turn("How many has Bob?", "6", "6", call=2, verdicts=["no mistake"], verdict_text="Fine.")]
    return Episode(
        Problem.from_json(PROBLEM), "lm2", decomposition=Decomposition("How many has Bob?", ["How many has Bob?"]),
        turns=turns, calls=calls, concepts="Doubling.", refused=[Turn("Why?", "?", call=1, verdicts=["misunderstood"])],
        decomposer_tokens=6, policy_tokens=6, verifier_tokens=4, verifier_prompt_tokens=9,
    )  # fmt: skip


def test_a_record_says_what_each_call_was_for_and_holds_no_tokens():
    record = json.loads(json.dumps(spoken().to_json()))
    assert record["calls"] == [
        {"purpose": "concepts", "finish_reason": "stop", "text": "Doubling."},
        {"purpose": "next", "finish_reason": "stop", "text": "Why?"},
        {"purpose": "next", "finish_reason": "stop", "text": "How many has Bob?"},
    ]
    again = Episode.from_json(record)
    assert again.to_json() == spoken().to_json()
    assert (again.turns, again.refused, again.concepts) == (spoken().turns, spoken().refused, "Doubling.")
    assert again.facts.policy_tokens == 0
    assert not again.token_versions


def test_the_log_probabilities_of_the_gold_answer_are_kept_and_only_there_where_they_were_measured():
    plain, measured = spoken(), spoken()
    measured.gold_logprobs = [-7.25, -1 / 3]
    assert "gold_logprobs" not in plain.to_json()
    assert Episode.from_json(plain.to_json()).gold_logprobs == []
    record = json.loads(json.dumps(measured.to_json()))
    assert Episode.from_json(record).gold_logprobs == [-7.25, -1 / 3]
    assert {name: value for name, value in record.items() if name != "gold_logprobs"} == plain.to_json()
    assert measured.packed().open().gold_logprobs == [-7.25, -1 / 3]


def test_the_facts_are_of_all_calls():
    assert spoken().facts == EpisodeFacts("ok", None, 1, 6, 0, (4, 7), 3)
    assert spoken().token_versions == [5, 5, 4, 6, 7, 7]


def test_a_record_of_one_policy_sample_is_read_as_one_call():
    record = {"problem": PROBLEM, "decomposition": {"text": "a?", "subquestions": ["a?"]}, "policy_tokens": 2}
    episode = Episode.from_json({**record, "policy": {**ONE, "subquestion_ends": [1]}})
    assert episode.calls == [PolicyCall("decompose", [1, 2], [3, 4], [-0.5, -0.25], [3, 4], "stop", [1], "a?")]
    assert episode.decomposer_tokens == episode.policy_tokens == 2
    assert Episode.from_json(record | {"policy": None}).calls == []
    assert Episode.from_json({"problem": PROBLEM, "policy": ONE}).calls[0].text == ""


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"calls": "a?"}, "'calls' must be a list"),
        ({"calls": ["a?"]}, r"'calls\[0\]' must be an object"),
        ({"calls": [{"purpose": "next"}, {"text": "a?"}]}, r"'calls\[1\].purpose' is missing"),
        ({"calls": [{"purpose": "next", "token_ids": [1]}]}, r"'calls\[0\].prompt_ids' is missing"),
        ({"policy": {**ONE, "token_ids": ["3"]}}, r"'calls\[0\].token_ids\[0\]' must be a whole number"),
        ({"decomposition": "a?", "policy": ONE}, "'decomposition' must be an object"),
        ({"gold_logprobs": -1.0}, "'gold_logprobs' must be a list"),
        ({"gold_logprobs": [-1.0, "-2"]}, r"'gold_logprobs\[1\]' must be a number"),
        ({"gold_logprobs": [float("nan")]}, r"'gold_logprobs\[0\]' must be a finite number"),
        ({"turns": [{"question": "a?", "text": "1", "call": -1}]}, r"'turns\[0\].call' must be an index or null"),
        ({"turns": [{"question": "a?", "text": "1", "verdicts": "none"}]}, r"'turns\[0\].verdicts' must be a list"),
    ],
)
def test_what_is_wrong_in_a_call_is_named(fields, named):
    with pytest.raises(RecordError, match=named):
        Episode.from_json({"problem": PROBLEM, **fields})
