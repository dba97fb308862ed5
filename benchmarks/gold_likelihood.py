"""Measure what a solver's log-probabilities tell of a sub-question: ``python -m benchmarks.gold_likelihood``.

The problems have four to six steps. Each gold decomposition gets one needless sub-question at a random place, and a
rule answers all sub-questions. For each ``strategy.gold_template`` the table shows the mean increase in
tiny_branched_solver's log-probability of the scored text, in nats, after a needed and after a needless sub-question.
The last column compares every needed sub-question with every needless one, across problems: the share of pairs in
which the needed one adds more (0.5 is chance).
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer, LlamaForCausalLM

from conf.schema.model import shipped
from launch.compose import compose
from rollout.data import branched
from rollout.data.graph import Graph
from rollout.data.worked import SolverView
from rollout.episode.prompts import Prompts
from rollout.records import Problem, Turn

TEMPLATES = ("{answer}.", "The answer is {answer}.", "So the answer is {answer}.", "{solution}")
STEPS = {4: 1.0, 5: 1.0, 6: 1.0}


def views(problem: Problem, rng: random.Random) -> Iterator[tuple[bool | None, list[Turn]]]:
    """Yield the turns in view before the first sub-question and after each, and whether the last one was needed."""
    graph = Graph(problem)
    view, turns = SolverView(graph), list[Turn]()
    asked = [(name, True) for name in graph.needed[:-1]]
    asked.insert(rng.randint(0, len(asked)), (rng.choice([n for n in graph.derivable if n not in graph.needed]), False))
    yield None, []
    for name, needed in asked:
        turns = [*turns, Turn(graph.ask(name), view.answer(name))]
        yield needed, turns


class Scorer:
    """Read a model's log-probability of a text after a prompt."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.model = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    @torch.no_grad()
    def __call__(self, prompt: str, text: str) -> float:
        """Return the sum over the text's tokens, in nats."""
        before = self.tokenizer.encode(prompt, add_special_tokens=False)
        ids = torch.tensor([before + self.tokenizer.encode(text, add_special_tokens=False)])
        logprobs = self.model(ids).logits[0, len(before) - 1 : -1].log_softmax(-1)
        return float(logprobs.gather(-1, ids[0, len(before) :, None]).sum())


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.gold_likelihood", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    scorer = Scorer(shipped("tiny_branched_solver"))
    problems = list(itertools.islice(branched.generate(options.seed, "train", STEPS), options.problems))
    table = Table(
        "gold_template", "needed, nats", "needless, nats", "needed adds more", title=f"{len(problems)} problems"
    )
    for template in TEMPLATES:
        prompts = Prompts.of(compose([f"strategy.gold_template='{template}'"]))
        rng, gains = random.Random(options.seed), {True: list[float](), False: list[float]()}
        for problem in problems:
            before = 0.0
            for needed, turns in views(problem, rng):
                now = scorer(*prompts.gold(problem, turns))
                if needed is not None:
                    gains[needed].append(now - before)
                before = now
        pairs = [(a > b) + (a == b) / 2 for a in gains[True] for b in gains[False]]
        table.add_row(template, f"{fmean(gains[True]):.1f}", f"{fmean(gains[False]):.1f}", f"{fmean(pairs):.2f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
