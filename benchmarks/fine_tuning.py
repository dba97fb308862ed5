"""Measure what each setting saves in a step of stage 1: ``python -m benchmarks.fine_tuning [--rounds 2] OVERRIDE ...``.

A step of stage 1 is timed as configured, and with one setting at a time put back: layers not compiled, the softmax over
the whole vocabulary, all layers trained, float32. The same examples are learned in turn in one run, one rank, in this
process. OVERRIDES are those of ``launch.sft``, such as experiment=gsm8k_solver_gemma270m with ``cluster=laptop`` and
``learner.dtype=bfloat16 learner.compile=true``; of a model that has no setting of these, the rows are alike.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from functools import partial

from rich.console import Console
from rich.table import Table

from benchmarks.processes import Machine
from benchmarks.timing import take_turns
from conf.schema.config import Config
from launch.compose import compose
from rollout.data.source import make_source
from trainer.algorithm.experience import microbatches, pad
from trainer.learner.learner import Learner
from trainer.stages.role_examples import Example, prompts_of_role, role_examples

CHANGES = {
    "as configured": [],
    "not compiled": ["learner.compile=false"],
    "whole vocabulary": ["sft.vocabulary=whole"],
    "all layers": ["model.layers=null"],
    "float32": ["learner.dtype=float32"],
}


def make_examples(config: Config, count: int) -> list[Example]:
    """Return the first examples of the configured role. Raises SystemExit for a decomposer's, which need a solver."""
    source, prompts, recipe = make_source(config.data), prompts_of_role(config), config.sft
    if recipe.role == "decomposer":
        raise SystemExit("sft.role: 'decomposer' is not allowed; allowed here: solver, verifier, monolith")
    found = (
        role_examples(
            recipe.role, prompts, problem, problem.subquestions or [], 0,
            annotated=recipe.annotated, direct=recipe.direct,
        )
        for problem in source.train(config.seed)
    )  # fmt: skip
    return list(itertools.islice(itertools.chain.from_iterable(found), count))


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="benchmarks.fine_tuning", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20, help="batches whose words are the examples'")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of the configuration")
    options = parser.parse_intermixed_args()
    configs = {name: compose(["stages=[sft]", *options.overrides, *change]) for name, change in CHANGES.items()}
    config = configs["as configured"]
    rows = make_examples(config, options.steps * config.sft.batch_size)
    batch = rows[: config.sft.batch_size]
    sides, address = {}, None
    for name, one in configs.items():
        learner = Learner(one, 0)
        address = address or learner.address()
        learner.connect(*address)
        learner.setup(one.model.path, "sft")
        if one.sft.vocabulary == "examples":
            learner.use_words(rows)
        sides[name] = partial(learner.sft_step, batch, 0.0)
        sides[name]()
    pairs = learner._tokens(batch)
    tokens = sum(len(prompt) + len(completion) for prompt, completion in pairs)
    groups = microbatches(pairs, config.learner.max_tokens_per_microbatch, padded=True)
    padded = sum(pad([pairs[index] for index in group]).ids.numel() for group in groups)
    machine = Machine()
    table = Table("step of stage 1", "ms a token, median", "times as long")
    medians = {
        name: statistics.median(wall for wall, _ in seconds)
        for name, seconds in take_turns(sides, options.rounds).items()
    }
    for name, median in medians.items():
        table.add_row(name, f"{1000 * median / tokens:.2f}", f"{median / medians['as configured']:.2f}")
    console = Console()
    console.print(table)
    told = f"{len(batch)} examples, {tokens} tokens and {padded / tokens - 1:.1%} of padding, {options.rounds} rounds"
    console.print(f"{told}\n{machine.line()}", highlight=False)


if __name__ == "__main__":
    main()
