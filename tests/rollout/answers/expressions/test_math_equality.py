import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from conf.schema.places import ROOT
from rollout.answers.expressions import math_equality
from rollout.answers.expressions.math_equality import EquivalenceError, TimeLimitError, math_equal
from rollout.answers.expressions.same_expression import same_expression

TOWER = "9^{9^{9^9}}"


@pytest.fixture
def short_deadline(monkeypatch):
    math_equal("x", "x+0")
    monkeypatch.setattr(math_equality, "DEADLINE_SECONDS", 3.0)


def test_a_comparison_that_never_ends_is_ended_and_the_next_one_works(short_deadline):
    started = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"9\^\{9\^.*7x.*longer than 3 s"):
        math_equal(TOWER, "7x")
    assert time.monotonic() - started < 15
    assert math_equal("(x-1)(x+1)", "x^2-1")


def test_a_failure_is_not_remembered(short_deadline):
    for _ in range(2):
        with pytest.raises(TimeLimitError):
            math_equal(TOWER, "7y")


def test_long_texts_are_shortened_in_the_error(short_deadline):
    with pytest.raises(TimeLimitError) as caught:
        math_equal(TOWER, "7z+" + "z+" * 300 + "1")
    assert len(str(caught.value)) < 300


def test_the_limit_holds_in_every_thread(short_deadline):
    outcomes = []

    def ask(index):
        try:
            outcomes.append(math_equal(f"x+{index}", f"{index}+x") if index else math_equal(TOWER, "11x"))
        except TimeLimitError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, outcomes)) == sorted(map(str, [TimeLimitError, True, True, True, True, True]))


def test_a_helper_that_dies_is_an_error_and_not_a_wait(monkeypatch):
    math_equal("x", "x+0")
    monkeypatch.setattr(math_equality, "DEADLINE_SECONDS", 60.0)
    victim = math_equality._helper._process.pid
    timer = threading.Timer(0.5, os.kill, (victim, signal.SIGKILL))
    timer.start()
    with pytest.raises(EquivalenceError, match="died while comparing"):
        math_equal(TOWER, "13x")
    timer.join()
    assert math_equal("2x", "x+x")


def test_a_pair_asked_before_does_not_reach_the_helper(monkeypatch):
    asked = []
    monkeypatch.setattr(math_equality._helper, "ask", lambda gold, found: asked.append((gold, found)) or True)
    for _ in range(3):
        math_equal("once upon", "a time")
    assert asked == [("once upon", "a time")]


def test_what_is_cheap_to_compare_does_not_reach_the_helper(monkeypatch):
    def ask(gold, found):
        raise AssertionError((gold, found))

    monkeypatch.setattr(math_equality._helper, "ask", ask)
    assert same_expression(r"\frac{1}{2}", "0.5")
    assert same_expression(r"\left( 3, \dfrac{\pi}{7} \right)", r"(3,\frac{\pi}{7})")
    assert not same_expression("(3,4)", "(4,3)")
    assert not same_expression("5k", "I do not know")


SCRIPT = """
import json
from rollout.answers.expressions import math_equality
print(json.dumps([math_equality.math_equal("x+x", "2x"), math_equality._helper._process.pid]))
"""


@pytest.mark.parametrize("closed", [False, True])
def test_an_unguarded_script_can_compare_and_leaves_no_process(tmp_path, closed):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
        preexec_fn=(lambda: os.close(0)) if closed else None,
    )
    same, pid = json.loads(run.stdout)
    assert same is True
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} is still there")
