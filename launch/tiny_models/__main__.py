"""Make the tiny models that ship again: ``python -m launch.tiny_models [KIND ...] [--folder DIR] [--seed 0]``.

KIND is ``solver``, ``decomposer`` (both, if none is given), ``verifier``, ``monolith`` or ``second_solver``. The first
four are trained, side by side and one thread each: two from nothing, the verifier and the monolith on from the shipped
solver. The second solver is cut from that one in seconds. The skill of all but the decomposer is measured as soon as
they are ready, while the others go on, and written into their cards.

A training that was stopped goes on where it was when the same command is given again.

With ``--data branched``, solver, decomposer, monolith and second solver are of the task of branched quantities, and
called tiny_branched_KIND; the first two go on from the shipped ones of the other task. There, KIND may also be
``independent_solver``: trained from nothing, of another size and with other words; give it another seed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import sys
import time
from pathlib import Path
from typing import Any

from rich import progress as bars
from rich.console import Console

from conf.schema.places import ASSETS
from launch.tiny_models import work
from launch.tiny_models.names import NAMES

# Of each task: the steps of its models.
STEPS = {
    "chained": {"solver": 5200, "decomposer": 6875, "verifier": 3000, "monolith": 3000},
    "branched": {"solver": 2600, "decomposer": 6600, "monolith": 3000, "independent_solver": 4800},
}
UNASKED = ("solver", "decomposer")
SECOND = "second_solver"
KINDS = (*dict.fromkeys(kind for steps in STEPS.values() for kind in steps), SECOND)
UNMEASURED = ("decomposer",)
LINE_EVERY = 100


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.tiny_models", description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; else {' and '.join(UNASKED)}")
    parser.add_argument("--data", choices=NAMES, default="chained", help="the task to learn")
    parser.add_argument("--folder", type=Path, default=ASSETS, help="where tiny_KIND goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training steps, for a quick try")
    options = parser.parse_args(arguments)
    kinds = list(dict.fromkeys(options.kinds or UNASKED))
    allowed = (*STEPS[options.data], SECOND)
    unknown = [kind for kind in kinds if kind not in allowed]
    if unknown:
        task = "" if options.data == "chained" else f" with --data {options.data}"
        parser.error(f"KIND: '{unknown[0]}' is unknown{task}; allowed: {', '.join(allowed)}")
    console = Console()
    from launch.tiny_models.card import model_card
    from launch.tiny_models.make import total_steps

    of_task = STEPS[options.data]
    steps = {kind: max(10, int(of_task[kind] * options.scale)) for kind in kinds if kind in of_task}
    folders = {kind: options.folder / f"{NAMES[options.data]}_{kind}" for kind in kinds}
    context = multiprocessing.get_context("spawn")
    reports, skills = context.Queue(), context.Queue()
    started = time.perf_counter()
    counts = (bars.TextColumn("{task.description:<13}"), bars.BarColumn(), bars.MofNCompleteColumn())
    times = (bars.TextColumn("{task.fields[loss]}"), bars.TimeElapsedColumn(), bars.TimeRemainingColumn())
    with bars.Progress(*counts, *times, console=console) as progress:
        tasks: dict[str, bars.TaskID] = {}
        processes: dict[str, Any] = {}
        for kind in kinds:
            if kind in steps:
                tasks[kind] = progress.add_task(kind, total=total_steps(steps[kind], kind, options.data), loss="")
            processes[kind] = context.Process(
                target=work.train_model if kind in steps else work.cut_model,
                args=(kind, options.data, options.seed, steps.get(kind), folders[kind], reports),
                daemon=True,
            )
            processes[kind].start()
        to_measure = {kind: f"measuring {kind}" for kind in kinds if kind not in UNMEASURED}
        while (
            len(processes) < len(kinds) + len(to_measure)
            or any(process.is_alive() for process in processes.values())
            or not reports.empty()
        ):
            for kind, measuring in to_measure.items():
                if processes[kind].exitcode == 0 and measuring not in processes:
                    processes[measuring] = context.Process(
                        target=work.measure_model, args=(kind, options.data, folders[kind], skills)
                    )
                    processes[measuring].start()
            if any(process.exitcode for process in processes.values()):
                break
            try:
                kind, step, loss = reports.get(timeout=1.0)
            except queue.Empty:
                continue
            progress.update(tasks[kind], completed=step, loss=f"loss {loss:.4f}")
            # A log file gets lines where a screen has a bar.
            if not console.is_terminal and (step % LINE_EVERY == 0 or step == progress.tasks[tasks[kind]].total):
                minutes = (time.perf_counter() - started) / 60
                console.print(f"{minutes:5.1f} min  {kind} {step}  loss {loss:.4f}", highlight=False)
    failed = [kind for kind, process in processes.items() if process.exitcode]
    if failed:
        for process in processes.values():
            process.terminate()
        console.print(f"[red]failed[/red] {', '.join(failed)}")
        return 1
    measured = dict(skills.get() for _ in to_measure)
    for kind in kinds:
        model_card(kind, folders[kind], options.seed, steps.get(kind), measured.get(kind), options.data)
        if kind in measured:
            console.print(f"{folders[kind].name}\n{measured[kind]}\n", highlight=False, soft_wrap=True, markup=False)
    minutes = (time.perf_counter() - started) / 60
    console.print(f"made in {minutes:.1f} minutes; models in {options.folder}", highlight=False, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
