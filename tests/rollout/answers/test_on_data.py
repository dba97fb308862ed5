"""Answers of people's data sets: gold answers must be found in their own solutions and equal their rewritings.

The sets belong to their sources and are not in the project: without the folder these tests are skipped.
"""

import json
import os
import re
from functools import cache
from pathlib import Path

import pytest

from conf.schema.places import ROOT
from rollout.answers.extract import extract
from rollout.answers.mark import score
from rollout.options import options
from rollout.records import Problem

DATA = Path(os.environ.get("DECOMPOSER_DATA", ROOT.parent / "shared" / "data"))
DOCUMENT = ROOT / "docs" / "answers.md"
SETS = sorted(str(path.relative_to(DATA).with_suffix("")) for path in DATA.glob("*/*.jsonl")) or ["none"]

pytestmark = pytest.mark.skipif(
    SETS == ["none"], reason=f"no data sets at {DATA}: set DECOMPOSER_DATA to a folder of <set>/<split>.jsonl"
)


@cache
def problems(name):
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as stream:
        return [Problem.from_json(json.loads(line)) for line in stream]


@cache
def distinct(name):
    """Of problems with the same answer, type and choices the first, where the question does not matter."""
    by_answer = {
        (problem.answer_type, problem.answer, str(problem.choices), problem.meta.get("raw_type")): problem
        for problem in reversed(problems(name))
    }
    return list(by_answer.values())


def missed(name, mark=""):
    """The ids of the problems whose gold answer is not read from their own gold solution."""
    found = []
    for problem in problems(name):
        text = problem.solution + mark.format(answer=problem.answer)
        read = extract(text, problem.answer_type, problem.choices)
        if score(problem, read.answer) != 1.0:
            found.append(problem.id)
    return found


def documented(prefix):
    """The ids that docs/answers.md lists under a prefix: blocks of a prefix and the numbers that follow it."""
    ids = []
    for block in re.findall(r"```text\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL):
        start, *numbers = block.split()
        ids += [f"{start}{number}" for number in numbers if start == prefix]
    return ids


def test_gsm8k_with_its_mark_is_always_read():
    for problem in problems("gsm8k/test"):
        read = extract(f"{problem.solution}\n#### {problem.answer}", "number")
        assert read.rule == "hashes"
        assert read.answer == problem.answer
        assert score(problem, read.answer) == 1.0


@pytest.mark.parametrize(
    ("name", "prefix", "least"),
    [
        ("gsm8k/test", "gsm8k-test-", 0.99),
        ("math500/test", "math500-", 1.0),
        ("aqua/dev", "aqua-dev-", 0.98),
        ("aqua/test", "aqua-test-", 0.98),
        # Many of its solutions never state their answer; docs/answers.md says which.
        ("aqua/train_flan", "aqua-train-", 0.84),
        ("math/train", "math-train-", 0.998),
        ("math/test_not_in_math500", "math-test-", 0.998),
    ],
)
def test_gold_answers_are_read_from_their_solutions_but_for_the_documented_ones(name, prefix, least):
    exceptions = missed(name)
    assert len(exceptions) <= (1 - least) * len(problems(name))
    assert sorted(exceptions) == sorted(documented(prefix))


@pytest.mark.parametrize(
    "sentence",
    [
        "So the value we are looking for is ${}$.",
        "Therefore it equals \\({}\\).",
        "The result is\n\\[\n{}.\n\\]",
        "Hence, it is ${}$, since $1 + 1 = 2$.",
    ],
)
def test_expressions_are_read_from_an_unmarked_last_sentence(sentence):
    expressions = [problem for problem in problems("math500/test") if problem.answer_type == "expression"]
    read = [extract(f"First, $a = 3$. {sentence.format(problem.answer)}", "expression") for problem in expressions]
    right = sum(score(problem, found.answer) for problem, found in zip(expressions, read, strict=True))
    assert right >= 0.95 * len(expressions)
    assert {found.rule for found in read} == {"formula"}


def rewritten(problem):
    """Other ways to write a gold answer, by rule."""
    gold = problem.answer
    yield from (gold, f" {gold}\n", f"**{gold}**")
    if problem.answer_type == "number":
        yield from (
            f"{gold} apples",
            f"${gold}",
            f"\\${gold}",
            f"{gold}.",
            f"x = {gold}",
            f"{gold} dollars",
            f"${gold}$",
        )
        yield from (f"{gold}\\text{{ cm}}", f"{gold}%", gold.replace("-", "−") if gold[0] == "-" else f"+{gold}")
        if "." not in gold and "e" not in gold:
            value = int(gold)
            yield from (f"{value:,}", f"{value:,}.00", f"{value}.0", f"{value}/1", f"\\frac{{{2 * value}}}{{2}}")
            yield from (f"{value:,}".replace(",", mark) for mark in ("{,}", "\u2009", "\u202f", "\\,", ",\\!"))
            yield "".join(chr(ord("０") + int(char)) if char.isdigit() else char for char in gold)
        elif "e" not in gold:
            yield gold + "00"
    elif problem.answer_type == "choice":
        value = options(problem.choices)[gold]
        yield from (f"({gold})", f"{gold}.", gold.lower(), f"({gold.lower()})", f"{gold})", f"Option {gold}")
        yield from (f"\\text{{{gold}}}", f"\\text{{({gold})}}", value, f"{gold}) {value}", f"({gold}) {value}")
    elif problem.answer_type == "multi_choice":
        yield from (", ".join(gold), " and ".join(gold), gold.lower(), gold[::-1], f"{gold}.", f"\\text{{{gold}}}")
        yield from (",".join(f"({letter})" for letter in gold), " ".join(f"({letter.lower()})" for letter in gold))
    elif problem.answer_type == "boolean":
        truth = str(gold == "yes")
        yield from (truth, truth.lower(), gold.upper(), f"{gold.capitalize()}.", f"\\text{{{gold.capitalize()}}}")
    elif problem.answer_type == "expression":
        yield from (f"${gold}$", f"\\({gold}\\)", f"{gold}.", gold.replace("-", "−"), gold.replace(", ", ","))
        yield from (gold.replace(",", ", "), gold.replace(",", ",\\,"), re.sub(r"\\[dt]?frac", r"\\dfrac", gold))
        yield from (re.sub(r"\\[dt]?frac", r"\\frac", gold), gold.replace("^\\circ", "^{\\circ}"))
        yield re.sub(
            r"(?<!\\left)(?<!\\)([(\[])", r"\\left\1", re.sub(r"(?<!\\right)(?<!\\)([)\]])", r"\\right\1", gold)
        )
        yield re.sub(r"\\text\{ ?([a-z ]+)\}", r"\\mbox{ \1}", gold)
        if fraction := re.fullmatch(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}", gold):
            sign, top, bottom = fraction[1], int(fraction[2]), int(fraction[3])
            yield from (f"{sign}{top}/{bottom}", f"{sign}\\frac{{{2 * top}}}{{{2 * bottom}}}")
            yield f"{sign}{top / bottom:.12g}"
        if gold.endswith("\\%"):
            yield from (gold.replace("\\%", "%"), gold.replace("\\%", ""))
    else:
        yield from (f"{gold}.", f'"{gold}"')
        if gold.startswith("\\text{"):
            yield from (gold[6:-1], f"${gold}$", gold.replace(", ", ","))


@pytest.mark.parametrize("name", SETS)
def test_every_gold_answer_equals_itself_and_its_rewritings(name):
    refused = [
        (problem.id, text) for problem in distinct(name) for text in rewritten(problem) if score(problem, text) != 1.0
    ]
    assert refused == []


@pytest.mark.parametrize("name", SETS)
def test_no_gold_answer_of_the_set_equals_a_neighbours_that_differs(name):
    accepted = []
    for problem in distinct(name):
        if problem.answer_type == "number":
            value = float(problem.answer)
            given = [f"{value + 1:.12g}", f"{problem.answer} or {value + 1:.12g}", f"{problem.answer}x"]
        elif problem.answer_type == "boolean":
            given = ["no" if problem.answer == "yes" else "yes", "yes or no"]
        elif problem.answer_type == "choice":
            letters = options(problem.choices)
            others = [key for key in letters if letters[key].split() != letters[problem.answer].split()]
            given = [*others, "".join(letters), *(f"{problem.answer} or {other}" for other in others)]
        elif problem.answer_type == "multi_choice":
            given = [problem.answer + letter for letter in "ABCD" if letter not in problem.answer] + ["E"]
        else:
            given = [f"{problem.answer} or 7777", "", "I do not know"]
        accepted += [(problem.id, text) for text in given if score(problem, text)]
    assert accepted == []


def test_jeebench_tolerates_a_hundredth_and_gives_quarters():
    counted = dict.fromkeys(("number", "choice", "multi_choice"), 0)
    for problem in problems("jeebench/test"):
        counted[problem.answer_type] += 1
        if problem.answer_type == "number":
            value = float(problem.answer)
            near, far = f"{value + 0.009:.6f}", f"{value - 0.011:.6f}"
            assert (score(problem, near), score(problem, far)) == (1.0, 0.0), problem.id
        elif problem.answer_type == "multi_choice" and len(problem.answer) > 1:
            assert score(problem, problem.answer[:-1]) == 0.25 * (len(problem.answer) - 1), problem.id
    assert counted == {"number": 219, "choice": 110, "multi_choice": 186}
