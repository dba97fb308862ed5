"""What is read from a verifier's reply: classes that are named and not denied, and nothing else."""

from __future__ import annotations

import time

import pytest

from conf.schema.rewards import VERDICTS as PAID
from rollout.episode.verdict import VERDICTS, read_verdict


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("conceptual", ["conceptual"]),
        ("Computational error in the last step.", ["computational", "last_step"]),
        ("Verdict: procedural; error in the first half", ["procedural", "first_half"]),
        ("The solver misunderstood the question.", ["misunderstood"]),
        ("There is an error in the first step, and a calculation mistake.", ["computational", "first_step"]),
        ("second_half, Last-Step", ["second_half", "last_step"]),
        ("**Verdict:** no mistake", ["no_mistake"]),
        ("No mistakes were found.", ["no_mistake"]),
        ("I do not see any mistake here.", ["no_mistake"]),
        ("The reply is error-free.", ["no_mistake"]),
        ('["no mistake"]', ["no_mistake"]),
    ],
)
def test_classes_are_read_in_whatever_words(text, classes):
    assert read_verdict(text) == classes


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("No conceptual mistake, but a computational one.", ["computational"]),
        ("There is no conceptual, procedural or computational error.", ["unreadable"]),
        ("The error isn't procedural. It is conceptual.", ["conceptual"]),
        ("Neither conceptual nor procedural; computational", ["computational"]),
        ("The first step is correct; the error is in the last step.", ["last_step"]),
        ("There is no conceptual error, the error is computational.", ["computational"]),
        ("Conceptual: no\nComputational: yes\nProcedural: no", ["computational"]),
        ("No mistake in the first half. Error in the second half.", ["second_half"]),
        ("The solver did not misunderstand anything: no mistake.", ["no_mistake"]),
        ("The calculation is right.", ["unreadable"]),
    ],
)
def test_what_is_denied_is_not_named(text, classes):
    assert read_verdict(text) == classes


def test_what_follows_the_last_verdict_counts():
    listed = "The classes are conceptual, computational, procedural and no mistake.\n"
    assert read_verdict(f"{listed}Verdict: computational") == ["computational"]
    assert read_verdict(f"Verdict: procedural\nI mean: {listed}Verdict: last step") == ["last_step"]
    assert read_verdict("procedural. Verdict:") == ["procedural"]


@pytest.mark.parametrize("text", ["", " ", "hm", "Yes.", "I cannot judge this.", "#" * 9000, "\x00\ufffd", "Verdict:"])
def test_a_reply_without_a_class_is_unreadable(text):
    assert read_verdict(text) == ["unreadable"]


def test_every_class_is_paid_and_has_a_name():
    assert set(VERDICTS) == {*PAID, "unreadable"}


@pytest.mark.parametrize(
    "piece",
    ["no ", "verdict: ", "conceptual ", "no conceptual, ", "first ", "n't ", "misread:", "not a ", " ", ",", "is a"],
)
def test_hostile_text_takes_linear_time(piece):
    began = time.perf_counter()
    read_verdict(piece * 300_000)
    assert time.perf_counter() - began < 1
