"""Worked-out decompositions, for a decomposer that can compute: ``python -m benchmarks.worked write FILE`` and ``check
MODEL``.

Each sub-question of these rows of the embedded task follows its own solution, the answer included. A decomposer that
is fine-tuned on some of them has the means to leak answers to the solver; whether PPO uses them is a study of
docs/studies.md. ``write`` makes the rows, for ``sft.sources`` of the kind ``file``. ``check`` draws decompositions from
such a decomposer, and tells how many are worked out and how many of each kind lead to the right answer.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from conf.schema.strategy import Strategy
from launch.compose import compose
from rollout.data.chained import generate
from rollout.data.graph import Graph
from rollout.episode.parse_decomposition import parse
from rollout.episode.prompts import Prompts
from rollout.json_lines import write_lines
from rollout.records import Problem

STEPS = {1: 0.05, 2: 0.2, 3: 0.35, 4: 0.4}  # those of conf/data/chained.yaml
SEED = 7
AT_ONCE = 60


def worked_out(graph: Graph) -> list[str]:
    """Return a sub-question for each needed quantity, the last one's too, each after its solution and answer."""
    known = graph.given
    asked = []
    for name in graph.needed:
        asked.append(f"{graph.reply(name, known)} {graph.ask(name)}")
        known = known | {name}
    return asked


def write(file: Path, count: int) -> None:
    """Write the rows of so many problems."""
    problems = itertools.islice(generate(SEED, "train", STEPS), count)
    write_lines(
        file,
        (
            {"question": problem.question, "answer": problem.answer, "subquestions": worked_out(Graph(problem))}
            for problem in problems
        ),
    )


def judge(graph: Graph, subquestions: Sequence[str]) -> tuple[bool, bool]:
    """Return whether a decomposition is worked out, and whether it leads to the answer: it states the right value of
    the target, or without computations, the target is one step away after it."""
    text = "\n".join(subquestions)
    if "=" not in text:
        return False, graph.check_decomposition(subquestions)["solves"]
    return True, re.search(rf"\b{graph.target} owns {graph.values[graph.target]}\b", text) is not None


def draw(model_path: str, problems: Sequence[Problem], strategy: Strategy) -> list[list[str]]:
    """Return a decomposition of each problem, drawn at temperature 1 after the solver's first attempt."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(model_path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
    prompts, drawn = Prompts.of(compose(["data=chained"])), []
    for start in range(0, len(problems), AT_ONCE):
        batch = problems[start : start + AT_ONCE]
        attempts = [graph.reply(graph.target, graph.given) for graph in map(Graph, batch)]
        texts = [prompts.decompose(problem, attempt) for problem, attempt in zip(batch, attempts, strict=True)]
        given = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
        with torch.no_grad():
            ids = model.generate(**given, max_new_tokens=224, do_sample=True, top_k=0, temperature=1.0)
        written = tokenizer.batch_decode(ids[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
        drawn += [parse(text, strategy).subquestions for text in written]
    return drawn


def check(model_path: str, count: int) -> None:
    """Print, by the number of steps, how many decompositions are worked out, and how often each kind is right."""
    problems = list(itertools.islice(generate(SEED + 1, "train", {2: 1.0, 3: 1.0, 4: 1.0}), count))
    found: defaultdict[int, list[tuple[bool, bool]]] = defaultdict(list)
    for problem, drawn in zip(problems, draw(model_path, problems, compose(["data=chained"]).strategy), strict=True):
        found[problem.meta["steps"]].append(judge(Graph(problem), drawn))
    print("| steps | problems | worked out | right, worked out | right, plain |\n|---|---|---|---|---|")
    for steps, rows in sorted(found.items()):
        right = {kind: [ok for worked, ok in rows if worked == kind] for kind in (True, False)}
        shares = [f"{sum(oks) / len(oks):.2f}" if oks else "" for oks in right.values()]
        print(f"| {steps} | {len(rows)} | {len(right[True]) / len(rows):.2f} | {shares[0]} | {shares[1]} |")


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(prog="benchmarks.worked", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write")
    writing.add_argument("file", type=Path)
    writing.add_argument("--count", type=int, default=6_400)
    checking = commands.add_parser("check")
    checking.add_argument("model")
    checking.add_argument("--count", type=int, default=600)
    args = parser.parse_args()
    if args.command == "write":
        write(args.file, args.count)
    else:
        check(args.model, args.count)


if __name__ == "__main__":
    main()
