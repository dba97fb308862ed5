"""Write decompositions that are worked out, for a decomposer that can compute: ``python -m benchmarks.worked FILE``.

Each sub-question of these rows of the embedded task follows its own solution, the answer included. A decomposer that
is fine-tuned on some of them has the means to leak answers to the solver; whether PPO uses them is a study of
docs/studies.md. The rows are for ``sft.sources`` of the kind ``file``.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from rollout.data.chained import Graph, generate
from rollout.json_lines import write_lines

STEPS = {1: 0.05, 2: 0.2, 3: 0.35, 4: 0.4}  # those of conf/data/chained.yaml
SEED = 7


def worked_out(graph: Graph) -> list[str]:
    """Return a sub-question for each needed quantity, the last one's too, each after its solution and answer."""
    known = graph.given
    asked = []
    for name in graph.needed:
        asked.append(f"{graph.reply(name, known)} {graph.ask(name)}")
        known = known | {name}
    return asked


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(prog="benchmarks.worked", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=6_400)
    args = parser.parse_args()
    problems = itertools.islice(generate(SEED, "train", STEPS), args.count)
    rows = (
        {"question": problem.question, "answer": problem.answer, "subquestions": worked_out(Graph(problem))}
        for problem in problems
    )
    write_lines(args.file, rows)


if __name__ == "__main__":
    main()
