"""Make the tiny models that ship again: ``python -m launch.tiny_models [KIND ...] [--folder DIR] [--seed 0]``.

KIND is ``solver``, ``decomposer`` (both, if none is given) or ``second_solver``. The first two are trained, side by
side and one thread each; the second solver is cut from the shipped one in seconds. A solver's skill is measured as soon
as it is ready, while the others go on, and written into its card.
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

STEPS = {"solver": 5200, "decomposer": 6875}
KINDS = (*STEPS, "second_solver")
SOLVERS = ("solver", "second_solver")
LINE_EVERY = 500


def _train(kind: str, seed: int, steps: int, folder: Path, reports: Any) -> None:
    from launch.tiny_models.make import make, total_steps

    recent: list[float] = []

    def report(step: int, loss: float, exact: float) -> None:
        recent.append(loss)
        if step % 10 == 0 or step == total_steps(steps):
            reports.put((kind, step, sum(recent) / len(recent)))
            recent.clear()

    make(kind, seed, steps, folder, report)


def _cut(kind: str, seed: int, steps: int | None, folder: Path, reports: Any) -> None:
    from conf.schema.model import shipped
    from launch.tiny_models.prune import cut_down

    cut_down(shipped("tiny_solver"), folder, seed)


def _measure(kind: str, folder: Path, skills: Any) -> None:
    from launch.tiny_models.measure import measure
    from rollout.actor_log import actor_log

    actor_log("runs/tiny_models", f"measuring_{kind}")
    skills.put((kind, measure(folder)))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.tiny_models", description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; else {' and '.join(STEPS)}")
    parser.add_argument("--folder", type=Path, default=ASSETS, help="where tiny_KIND goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training steps, for a quick try")
    options = parser.parse_args(arguments)
    kinds = list(dict.fromkeys(options.kinds or STEPS))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        parser.error(f"KIND: '{unknown[0]}' is unknown; allowed: {', '.join(KINDS)}")
    console = Console()
    from launch.tiny_models.make import model_card, total_steps

    steps = {kind: max(10, int(STEPS[kind] * options.scale)) for kind in kinds if kind in STEPS}
    folders = {kind: options.folder / f"tiny_{kind}" for kind in kinds}
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
                tasks[kind] = progress.add_task(kind, total=total_steps(steps[kind]), loss="")
            processes[kind] = context.Process(
                target=_train if kind in steps else _cut,
                args=(kind, options.seed, steps.get(kind), folders[kind], reports),
                daemon=True,
            )
            processes[kind].start()
        to_measure = {kind: f"measuring {kind}" for kind in kinds if kind in SOLVERS}
        while (
            len(processes) < len(kinds) + len(to_measure)
            or any(process.is_alive() for process in processes.values())
            or not reports.empty()
        ):
            for kind, measuring in to_measure.items():
                if processes[kind].exitcode == 0 and measuring not in processes:
                    processes[measuring] = context.Process(target=_measure, args=(kind, folders[kind], skills))
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
        model_card(kind, folders[kind], options.seed, steps.get(kind), measured.get(kind))
        if kind in measured:
            console.print(f"tiny_{kind}\n{measured[kind]}\n", highlight=False, soft_wrap=True, markup=False)
    minutes = (time.perf_counter() - started) / 60
    console.print(f"made in {minutes:.1f} minutes; models in {options.folder}", highlight=False, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
