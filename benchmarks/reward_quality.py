"""Count how often the reward puts people's decompositions above worsened ones:
``python -m benchmarks.reward_quality DATA``.

DATA is ``gsm8k_socratic``, ``strategyqa``, ``chained``, another data set of conf/data with sub-questions, or a file of
problems, one JSON object a line. Every held-out problem gives one episode with the data's sub-questions, answered as
its solution says, and one for each change. Initial attempt and final answer are the same in all of them, so the
sub-questions and their replies alone decide. A tie counts half.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from conf.schema.rewards import MODES, PARTS, Rewards
from launch.compose import compose
from rewards.actor import score_batch
from rewards.nouns_and_vectors import TextResources, steps
from rewards.numbers_in_text import known_values, values
from rewards.reward import Reward
from rollout import json_lines
from rollout.data.graph import has_graph
from rollout.data.source import make_source
from rollout.records import Attempt, Decomposition, Episode, Problem, Turn
from rollout.words import words

BATCH = 20
REFUSAL = "I cannot tell."
FRAMES = ("Can you tell me this, please: {}", "Please solve: {}", "{} What is the answer?")
VERDICT = re.compile(r"(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would)\b", re.IGNORECASE)
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class Case:
    """A problem, its sub-questions with their replies, those of another problem, and what a change may draw."""

    problem: Problem
    pairs: Pairs
    other: Pairs
    nouns: list[str]
    rng: random.Random


def replies_of(problem: Problem) -> list[str] | None:
    """Return the replies that the data gives to its sub-questions; None where the two cannot be brought together.

    A line of the solution each, where there are as many, but for a last one that answers the question itself. Facts
    for a problem of yes or no: to each sub-question the fact with most of its words, to the last the verdict.
    """
    asked, lines = problem.subquestions or [], steps(problem.solution or "")
    if not asked or not lines:
        return None
    if problem.answer_type != "boolean":
        whole = len(lines) == len(asked) or (has_graph(problem) and len(lines) == len(asked) + 1)
        return lines[: len(asked)] if whole else None
    facts = [_nearest(text, lines) for text in asked]
    replies = [f"Yes. {fact}" if VERDICT.match(text) else fact for text, fact in zip(asked, facts, strict=True)]
    return [*replies[:-1], f"{problem.answer.capitalize()}. {facts[-1]}"]


def _nearest(text: str, lines: Sequence[str]) -> str:
    """Return the line with most of a text's words."""
    return max(lines, key=lambda line: len({*words(text)} & {*words(line)}))


def another(case: Case) -> Pairs | None:
    """Answer another problem's sub-questions."""
    return case.other


def reversed_order(case: Case) -> Pairs | None:
    """Ask and answer from the last to the first."""
    return case.pairs[::-1] if len(case.pairs) > 1 else None


def shortened(case: Case) -> Pairs | None:
    """Leave the last sub-question out."""
    return case.pairs[:-1] if len(case.pairs) > 1 else None


def nouns_only(case: Case) -> Pairs | None:
    """Name the question's nouns, and ask nothing of them."""
    if not case.nouns:
        return None
    named = [f"the {noun}" for noun in case.nouns]
    listed = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return [(f"What about {listed}?", f"There are {listed}.")]


def reworded(case: Case) -> Pairs | None:
    """Ask the whole question in a frame, or with its sentences joined or turned round; all is then answered at once."""
    question = case.problem.question
    sentences = re.split(r"(?<=[.?!])\s+", question)
    told = [question, ", ".join(part.rstrip(".") for part in sentences), " ".join(sentences[::-1])]
    asked = case.rng.choice(FRAMES).format(case.rng.choice(told))
    return [(asked, " ".join(steps(case.problem.solution or "")))]


def echoed(case: Case) -> Pairs | None:
    """Reply with the sub-question and any number."""
    return [(asked, f"{asked.rstrip('?. ')}: {case.rng.randint(2, 99)}") for asked, _ in case.pairs]


def wrong(case: Case) -> Pairs | None:
    """Change the number that each reply comes to, and turn the verdict round."""

    def changed(reply: str) -> str:
        if re.match(r"(?:yes|no)\b", reply, re.I):
            said, rest = reply.split(".", 1)
            return f"{'No' if said.lower() == 'yes' else 'Yes'}.{rest}"
        numbers = re.findall(r"\d[\d,]*(?:\.\d+)?", reply)
        if not numbers:
            return case.rng.choice(case.other)[1]
        after = re.search(r".*=\s*\$?(\d[\d,]*(?:\.\d+)?)", reply, re.DOTALL)
        last = after[1] if after else numbers[-1]
        other = str(round(float(last.replace(",", "")) + case.rng.choice((-3, 2, 5, 7)), 4)).removesuffix(".0")
        return other.join(reply.rsplit(last, reply.count(last)))

    return [(asked, changed(reply)) for asked, reply in case.pairs]


def swapped(case: Case) -> Pairs | None:
    """Reply to each sub-question with what belongs to the next."""
    replies = [reply for _, reply in case.pairs]
    turned = replies[1:] + replies[:1]
    return [(asked, reply) for (asked, _), reply in zip(case.pairs, turned, strict=True)] if turned != replies else None


def refused(case: Case) -> Pairs | None:
    """Refuse every reply."""
    return [(asked, REFUSAL) for asked, _ in case.pairs]


def solved(case: Case) -> Pairs | None:
    """Solve the problem in the only sub-question: say what every step comes to, then ask what is left to copy."""
    if case.problem.answer_type == "boolean":
        return None
    results = [line.rstrip(". ") for line in steps(case.problem.solution or "")]
    return [(f"{'; '.join(results)}. So {case.pairs[-1][0]}", f"It is {case.problem.answer}.")]


def answer_given(case: Case) -> Pairs | None:
    """Hand over the answer in the last sub-question; no case where its value stands before, for then nothing is."""
    answer, (asked, reply) = case.problem.answer, case.pairs[-1]
    if case.problem.answer_type == "boolean":
        return [*case.pairs[:-1], (f"The answer is {answer}. {asked}", reply)]
    before = " ".join([case.problem.question, *(text for pair in case.pairs[:-1] for text in pair), asked])
    if values(answer) & known_values(before):
        return None
    return [*case.pairs[:-1], (f"It comes to {answer} in the end. {asked}", reply)]


CHANGES: dict[str, Callable[[Case], Pairs | None]] = {
    "another problem's": another,
    "reversed": reversed_order,
    "last left out": shortened,
    "nouns only": nouns_only,
    "question reworded": reworded,
    "replies echo": echoed,
    "replies wrong": wrong,
    "replies swapped": swapped,
    "replies refuse": refused,
    "solved by the decomposer": solved,
    "answer handed over": answer_given,
}


def problems_of(data: str, count: int) -> list[Problem]:
    """Return held-out problems of a data set, or the problems of a file, whose replies are known."""
    if Path(data).is_file():
        rows = [Problem.from_json(json_lines.decode(line)) for _, line in json_lines.numbered(Path(data))]
    else:
        rows = make_source(compose([f"data={data}"]).data).held_out(4 * count)
    usable = [problem for problem in rows if replies_of(problem) is not None]
    print(f"{len(rows)} problems, {len(usable)} whose replies are known, {min(count, len(usable))} taken")
    return usable[:count]


def episode(problem: Problem, pairs: Pairs) -> Episode:
    """Make the episode of these sub-questions and replies."""
    plan = [asked for asked, _ in pairs]
    final = "\n".join([*steps(problem.solution or ""), f"The answer is {problem.answer}."])
    turns = [Turn(*pair) for pair in pairs]
    return Episode(problem, "daslam", Attempt(REFUSAL), Decomposition("\n".join(plan), plan), turns, Attempt(final))


def compared(problems: Sequence[Problem], settings: Rewards, *, hide: bool) -> dict[str, list[tuple[Reward, Reward]]]:
    """Score every problem's own episode and its changes, as if the data had no sub-questions where it is to ``hide``
    them; return the pairs of rewards by change."""
    resources = TextResources(settings.vectors)
    resources.load()
    nouns = resources.nouns([problem.question for problem in problems])
    own = [list(zip(problem.subquestions or [], replies_of(problem) or [], strict=True)) for problem in problems]
    found: dict[str, list[tuple[Reward, Reward]]] = {name: [] for name in CHANGES}
    for start in range(0, len(problems), BATCH):
        batch: list[tuple[str, Episode]] = []
        for index in range(start, min(start + BATCH, len(problems))):
            problem = problems[index]
            case = Case(problem, own[index], own[index - 1], sorted(nouns[index]), random.Random(problem.id))
            changed = {name: change(case) for name, change in CHANGES.items()}
            shown = replace(problem, subquestions=None, meta={}) if hide else problem
            batch += [
                (name, episode(shown, pairs))
                for name, pairs in {"": own[index], **changed}.items()
                if pairs is not None and (not name or pairs != own[index])
            ]
        scored = zip(batch, score_batch([one for _, one in batch], resources, settings), strict=True)
        for (name, _), reward in scored:
            if not name:
                honest = reward
            else:
                found[name].append((honest, reward))
        print(f"\r{start + BATCH} of {len(problems)} problems", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def higher(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    """Return how often the first is the higher, of those that have both; a tie counts half."""
    both = [(one, other) for one, other in pairs if one is not None and other is not None]
    marks = [0.5 if abs(one - other) < 1e-9 else float(one > other) for one, other in both]
    return f"{fmean(marks):.3f}" if marks else "-"


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="benchmarks.reward_quality", description=__doc__.splitlines()[0])
    parser.add_argument("data", help="a data set of conf/data, or a file of problems")
    parser.add_argument("--mode", choices=MODES, default="bounded")
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--hide-subquestions", action="store_true", help="score as if the data had none")
    options = parser.parse_args()
    problems = problems_of(options.data, options.problems)
    settings = Rewards.for_mode(options.mode)
    found = compared(problems, settings, hide=options.hide_subquestions)
    table = Table("", "pairs", *PARTS[:2], "total", "mean margin", "its mean consistency")
    for name, pairs in found.items():
        if not pairs:
            continue
        parts = [higher([(one.parts[part], other.parts[part]) for one, other in pairs]) for part in PARTS[:2]]
        totals = [(one.total, other.total) for one, other in pairs]
        margin = fmean(one - other for one, other in totals)
        worse = fmean(other.parts["answer_consistency"] or 0.0 for _, other in pairs)
        table.add_row(name, str(len(pairs)), *parts, higher(totals), f"{margin:+.3f}", f"{worse:.3f}")
    console = Console(width=120)
    console.print(f"{options.data}, {options.mode}: how often the data's own decomposition is higher", highlight=False)
    console.print(table)
    honest = [one for one, _ in found["replies refuse"]]
    charged = {name: sum(name in one.penalties for one in honest) for name in settings.penalty}
    shares = ", ".join(f"{name} {count / len(honest):.3f}" for name, count in charged.items())
    means = ", ".join(f"{part} {fmean(one.parts[part] or 0.0 for one in honest):.3f}" for part in PARTS[:2])
    console.print(f"the data's own: means {means}; share charged with {shares}", highlight=False)


if __name__ == "__main__":
    main()
