"""What is read from a verifier's reply: classes that are named and not denied, and nothing else."""

from __future__ import annotations

import pytest

from conf.schema.rewards import VERDICTS as PAID
from rollout.episode.verdict import VERDICTS, read_verdict
from tests.cpu_time import assert_linear


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
        ("None.", ["no_mistake"]),
        ("Verdict: correct", ["no_mistake"]),
        ("The answer is correct.", ["no_mistake"]),
        ("No issues. Everything is fine.", ["no_mistake"]),
        ("There is nothing wrong with the answer.", ["no_mistake"]),
        ("Mistakes: none", ["no_mistake"]),
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
        ("The first step is not wrong; no mistake.", ["no_mistake"]),
        ("The first half contains no errors; the second half has one error.", ["second_half"]),
        ("No mistake in the first half, error in the second half.", ["second_half"]),
        ("There is nothing wrong in the first step. Last step.", ["last_step"]),
    ],
)
def test_what_is_denied_is_not_named(text, classes):
    assert read_verdict(text) == classes


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("None of these mistakes: conceptual, computational, procedural.", ["no_mistake"]),
        ("None of these:\n- conceptual\n- procedural", ["no_mistake"]),
        ("It does not contain any of the mistakes: conceptual, misunderstood question; error in the first step.",
         ["no_mistake"]),
        ("None of these: conceptual, procedural. It is computational.", ["computational"]),
        ("None of these mistakes: conceptual, procedural; there is an error in the last step.", ["last_step"]),
        ("None of these mistakes: conceptual, procedural, but computational", ["computational"]),
        ("I checked for conceptual, computational and procedural mistakes. None found.", ["no_mistake"]),
        ("I checked for conceptual and procedural mistakes. None were found, but an error in the last step.",
         ["last_step"]),
        ("The first step is wrong. I looked for procedural mistakes; none.", ["first_step"]),
        ("The mistake is computational. I looked at all else. None found.", ["computational"]),
        ("The reply is not free of mistakes: computational.", ["computational"]),
        ("The reply isn't entirely free of errors: computational.", ["computational"]),
        ("The reply is free of mistakes.", ["no_mistake"]),
        ("It is not correct: computational.", ["computational"]),
    ],
)  # fmt: skip
def test_a_denial_reaches_the_list_after_its_colon_and_the_list_before_it(text, classes):
    assert read_verdict(text) == classes


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("no mistake; conceptual, computational and procedural are all fine", ["no_mistake"]),
        ("The student correctly performs the first step, and the last step. No mistake.", ["no_mistake"]),
        ("The first step is correct, the last step is wrong.", ["last_step"]),
        ("The last step is wrong and the first step is correct.", ["last_step"]),
        ("The first step is right while the last step looks wrong.", ["last_step"]),
        ("The computational part is correct, the procedural part is not.", ["procedural"]),
        ("The first step is not correct.", ["first_step"]),
        ("The last step isn't entirely right.", ["last_step"]),
        ("The first step was not computed correctly.", ["first_step"]),
        ("The student fails to correctly compute the last step.", ["last_step"]),
        ("The last step does not use the right number.", ["last_step"]),
        ("The error is in the last step: it is correctly 7.", ["last_step"]),
    ],
)
def test_what_is_praised_is_not_named(text, classes):
    assert read_verdict(text) == classes


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("Conceptual: correct\nComputational: wrong, 3+4 is 7\nProcedural: correct", ["computational"]),
        ("conceptual: n/a; computational: yes", ["computational"]),
        ("Conceptual - no\nComputational - yes\nProcedural - no", ["computational"]),
        ("**Conceptual:** No\n**Computational:** Yes", ["computational"]),
        ("Conceptual error? No. Computational error? Yes.", ["computational"]),
        ("Conceptual: no mistake\nComputational: 3+4 is not 8", ["computational"]),
        ("Conceptual: no mistake\nProcedural: no procedural mistake", ["no_mistake"]),
        ("Conceptual errors: none\nCalculation errors: 3+4 is not 8", ["computational"]),
        ("conceptual: no computational: yes procedural: no", ["computational"]),
        ('{"conceptual": false, "computational": true}', ["computational"]),
        ("- [ ] conceptual\n- [x] computational", ["computational"]),
        ("| conceptual | no |\n| computational | yes |", ["computational"]),
        ("Computational: not correct", ["computational"]),
        ("Computational: the correct result is 7, not 8.", ["computational"]),
        ("Procedural: no order of the steps is kept", ["procedural"]),
        ("Error in the last step - no multiplication was done.", ["last_step"]),
    ],
)
def test_a_checklists_classes_are_those_that_it_does_not_clear(text, classes):
    assert read_verdict(text) == classes


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("No mistake. The first step correctly computes 3+4=7 and the final step gives 10.", ["no_mistake"]),
        ("No mistakes in the answer. The first step adds 3 and 4.", ["no_mistake"]),
        ("The answer is correct: the first step adds 3 and 4, the last step doubles.", ["no_mistake"]),
        ("Correct. The final step gives 10.", ["no_mistake"]),
        ("No mistake. The question is misunderstood.", ["misunderstood"]),
        ("No mistake, but the last step is missing.", ["last_step"]),
        ("Wrong in the first step but correct in the last step.", ["first_step"]),
        ("The first half is right, but not correct in the second half.", ["second_half"]),
        ("The first half is right. It isn't quite right in the last step.", ["last_step"]),
        ("The answer is correct. However, the last step is missing.", ["last_step"]),
        ("No mistake in the calculation; conceptual.", ["conceptual"]),
        ("The calculation is right. Conceptual.", ["conceptual"]),
        ("Step 1: correct\nStep 2: computational", ["computational"]),
    ],
)
def test_after_no_mistake_a_class_counts_only_as_something_wrong(text, classes):
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
    [
        "no ",
        "verdict: ",
        "conceptual ",
        "no conceptual, ",
        "first ",
        "n't ",
        "misread:",
        "not a ",
        " ",
        ",",
        "is a",
        "no mistake ",
        "first step: ",
        "conceptual: no ",
        "and the first step is ",
        "the answer is all ",
        "* ",
        "|",
        "none of these: ",
        "not any of ",
        "conceptual. none ",
    ],
)
def test_hostile_text_takes_linear_time(piece):
    assert_linear(read_verdict, piece)
