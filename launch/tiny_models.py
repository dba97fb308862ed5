"""Make the two models that ship again: ``python -m launch.tiny_models [--folder DIR] [--seed 0]``.

Solver and decomposer base are trained side by side, one thread each. The solver is ready first; its skill is
measured while the base goes on, and written into its model card.
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

STEPS = {"solver": 5200, "decomposer": 6875}
LINE_EVERY = 500


def _train(kind: str, seed: int, steps: int, folder: Path, reports: Any) -> None:
    from trainer.tiny_models import make, total_steps

    recent: list[float] = []

    def report(step: int, loss: float, exact: float) -> None:
        recent.append(loss)
        if step % 10 == 0 or step == total_steps(steps):
            reports.put((kind, step, sum(recent) / len(recent)))
            recent.clear()

    make(kind, seed, steps, folder, report)


def _measure(folder: Path, tables: Any) -> None:
    from rollout.logs import actor_log
    from trainer.solver_skill import measure

    actor_log("runs/tiny_models", "measuring")
    tables.put(measure(folder))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.tiny_models", description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent.parent / "rollout" / "assets"
    parser.add_argument("--folder", type=Path, default=default, help="where tiny_solver and tiny_decomposer go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training steps, for a quick try")
    options = parser.parse_args(arguments)
    console = Console()
    from trainer.tiny_models import total_steps

    context = multiprocessing.get_context("spawn")
    reports, tables = context.Queue(), context.Queue()
    started = time.perf_counter()
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        tasks: dict[str, TaskID] = {}
        processes: dict[str, Any] = {}
        for kind, full in STEPS.items():
            steps = max(10, int(full * options.scale))
            tasks[kind] = progress.add_task(kind, total=total_steps(steps), loss="")
            processes[kind] = context.Process(
                target=_train, args=(kind, options.seed, steps, options.folder / f"tiny_{kind}", reports), daemon=True
            )
            processes[kind].start()
        while (
            "measuring" not in processes
            or any(process.is_alive() for process in processes.values())
            or not reports.empty()
        ):
            if processes["solver"].exitcode:
                break
            if processes["solver"].exitcode == 0 and "measuring" not in processes:
                processes["measuring"] = context.Process(target=_measure, args=(options.folder / "tiny_solver", tables))
                processes["measuring"].start()
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
    from trainer.tiny_models import model_card

    table = tables.get()
    model_card(options.folder, options.seed, table, {kind: int(full * options.scale) for kind, full in STEPS.items()})
    console.print(table)
    console.print(
        f"made in {(time.perf_counter() - started) / 60:.1f} minutes; models in {options.folder}", highlight=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
