"""The proof kit: ``python -m benchmarks.gpu --minutes 8 --out FOLDER``, on a machine with one or more GPUs.

Its parts run one after another, most valuable first, each in a process of its own with a limit of its own. ``FOLDER``
gets a result file and a log of each, and ``summary.md``, which is written again after each part; docs/gpu.md says how
to read it. Nothing is needed from outside. Without a GPU the parts run in tiny sizes on the CPU. The exit status is 1
if a part failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.gpu.driver import Part, run_kit
from benchmarks.gpu.machine import describe
from benchmarks.gpu.summary import FILE, MACHINE, in_words
from benchmarks.gpu.task import Task, in_new_process
from trainer.run_folder.files import write_json

# Most valuable first. The limits are for one GPU, where each part is expected to take about a half of its own, and for
# so many minutes in all; in more they are longer.
MINUTES = 8.0
PARTS = (
    Part("logprobs", "benchmarks.gpu.logprobs:measure", most_s=150),
    Part("push", "benchmarks.gpu.push:measure", most_s=150, least_s=20),
    Part("learner", "benchmarks.gpu.learner:measure", most_s=240),
    Part("memory", "benchmarks.gpu.memory:measure", most_s=120),
    Part("async", "benchmarks.gpu.asynchrony:measure", most_s=180, least_s=20),
    Part("job", "benchmarks.gpu.job:measure", most_s=300, least_s=30),
    Part("people", "benchmarks.gpu.people:measure", most_s=300),
)


def chosen(text: str) -> list[Part]:
    """Return the parts of a list of names, in the kit's order; raises ArgumentTypeError."""
    names = {name.strip() for name in text.split(",")}
    if unknown := names - {part.name for part in PARTS}:
        allowed = ", ".join(part.name for part in PARTS)
        raise argparse.ArgumentTypeError(f"no part is called {', '.join(sorted(unknown))}; allowed: {allowed}")
    return [part for part in PARTS if part.name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the kit; return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all parts together")
    parser.add_argument("--out", type=Path, required=True, help="the folder of results")
    parser.add_argument("--parts", type=chosen, default=list(PARTS), metavar="NAMES", help="some of them, by commas")
    parser.add_argument("--model", help="a folder with a pretrained model, for the part on people's text")
    parser.add_argument("--data", default=os.environ.get("DATA_ROOT"), help="the folder of data sets for that part")
    options = parser.parse_args(arguments)
    deadline = time.time() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    say = partial(print, flush=True)
    # So that the part that is running is ended with the kit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    machine = in_new_process(describe)
    write_json(options.out / MACHINE, machine)
    say(in_words("machine", machine))
    with tempfile.TemporaryDirectory(prefix="gpu-kit-") as scratch:
        given = [path and str(Path(path).absolute()) for path in (options.model, options.data)]
        stretch = max(1.0, options.minutes / MINUTES)
        parts = [replace(part, most_s=stretch * part.most_s) for part in options.parts]
        failed = run_kit(parts, Task("", str(options.out.absolute()), scratch, deadline, *given), say)
    say(f"{options.out / FILE}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
