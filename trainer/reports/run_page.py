"""The page of finished runs: one file with nothing outside it, made from the runs' folders alone; and what a run makes
of its own folder when it ends."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader

from conf.schema.rewards import LIKELIHOOD
from rewards.reward import MEASURES
from rollout.records import change
from trainer.reports.pictures import FinishedRun, Row, learning_curve, pictures, read_run
from trainer.reports.sweep_table import judged
from trainer.tracking.labels import label, missing_rows
from trainer.tracking.metrics_catalogue import (
    CATALOGUE,
    GPU_CATALOGUE,
    VERIFIER_CATALOGUE,
    mixture_catalogue,
    part_catalogue,
)
from trainer.workers.errors import first_line, whole

# Why a page or picture could not be made, in the run's folder.
LOG = "logs/pages.log"
# Kinds of evaluation whose episodes are shown side by side, in the order in which they came to be.
SHOWN = ("direct", "self_consistency", "least_to_most", "base", "sft", "policy", "ppo")
# Problems shown of each group; the rest is in episodes.jsonl.
PER_GROUP = 12
# What the last kind of evaluation did to a problem, in the order in which the groups are shown.
CHANGES = {-1: "changed to wrong", 1: "changed to right", 0: ""}


def write_pages(folder: Path, send: Callable[[str, Path], object], say: Callable[[str], object]) -> None:
    """Write the picture and the page of a run that ends, and ``send`` the picture under its name. One that cannot be
    made is said in a line, and the run's results are none the worse; raises OSError where it cannot be written."""

    def picture() -> None:
        send("learning_curve", learning_curve(folder))

    def page() -> None:
        write_report([folder])

    for name, make in (("learning_curve.png", picture), ("report.html", page)):
        try:
            make()
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the run did what it was to do
            with (folder / LOG).open("a", encoding="utf-8") as log:
                log.write(whole(error))
            said = f"{type(error).__name__}: {first_line(error)}, see {LOG}"
            say(f"{name} could not be made ({said}); what it would show is in the run's other files")


def write_report(folders: Sequence[Path], path: Path | None = None) -> Path:
    """Write the page of one run, or of several compared, and its pictures into a folder of the page's name beside it.

    ``path`` is report.html in the run's folder where it is not given, comparison.html in the first of several.
    """
    runs = [read_run(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    alone, plays = len(runs) == 1, {_plays(run) for run in runs}
    path = path or folders[0] / ("report.html" if alone else "comparison.html")
    folder = path.with_suffix("")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("run_page.html.j2").render(
        label=label,
        missing_rows=missing_rows,
        measures=MEASURES,
        title=f"Run {runs[0].name}" if alone else f"{len(runs)} runs compared",
        kinds=list(dict.fromkeys(kind for run in runs for kind in run.accuracy)),
        plays=plays.pop() if len(plays) == 1 else "decomposer",
        images={} if alone else _images(runs, folder),
        differences=_differences(runs),
        runs=[_sections(run, folder if alone else folder / str(number)) for number, run in enumerate(runs, 1)],
    )
    # A server's reply may hold half of a surrogate pair, which has no UTF-8.
    path.write_text(page, encoding="utf-8", errors="replace")
    return path


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, with as many of those above them as tell them apart."""
    paths = [folder.resolve().parts[1:] for folder in folders]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            break
    return names


def _plays(run: FinishedRun) -> str:
    """Return which roles the policy of a run plays."""
    return str((run.config.get("policy") or {}).get("plays", "decomposer"))


def _sections(run: FinishedRun, folder: Path) -> dict[str, Any]:
    """Return what the page shows of a run; its pictures go into ``folder``."""
    by_steps = {kind: entry["by_steps"] for kind, entry in run.accuracy.items() if entry.get("by_steps")}
    steps = sorted({step for found in by_steps.values() for step in found}, key=int)
    last = run.metrics[-1] if run.metrics else {}
    solvers = list((run.config.get("solver") or {}).get("mixture") or {})
    parts = [LIKELIHOOD, *(run.config.get("rewards") or {}).get("parts", {})]
    catalogue = part_catalogue(parts) | CATALOGUE | GPU_CATALOGUE | VERIFIER_CATALOGUE | mixture_catalogue(solvers)
    return {
        "name": run.name,
        "summary": run.summary,
        "plays": _plays(run),
        "labels": {kind: run.label(kind) for kind in run.accuracy},
        "images": _images([run], folder),
        "steps": steps,
        "by_steps": [
            [run.label(kind), *(f"{found[step]:.2f}" if step in found else "" for step in steps)]
            for kind, found in by_steps.items()
        ],
        "solvers": solvers,
        "by_solver": [
            [run.label(kind), *(_interval(entry["by_solver"].get(name)) for name in solvers)]
            for kind, entry in run.accuracy.items()
            if entry.get("by_solver")
        ],
        "accounts": [[name, *_account(usage)] for name, usage in (run.summary.get("solvers") or {}).items()],
        "groups": _groups(run),
        "step": last.get("step"),
        "alarms": _alarms(run),
        "metrics": [
            [name, f"{last[name]:.4g} {unit}", meaning]
            for name, (unit, meaning) in catalogue.items()
            if isinstance(last.get(name), (int, float))
        ],
        "config": yaml.safe_dump(run.config, sort_keys=False),
    }


def _interval(entry: dict[str, Any] | None) -> str:
    """Return an accuracy with its interval and its number of problems; nothing where there is none."""
    return "" if entry is None else "{mean:.3f} ({low:.3f} – {high:.3f}), {problems} problems".format(**entry)


def _account(usage: dict[str, Any]) -> list[str]:
    """Return a solver's requests, tokens and cost."""
    counts = (usage[key] for key in ("requests", "prompt_tokens", "completion_tokens"))
    return [*(f"{count:,}" for count in counts), f"{usage['cost']:.4g}"]


def _alarms(run: FinishedRun) -> str | None:
    """Say in how many steps engine and learner differed too much, and in which first; None if in none."""
    steps = [row["step"] for row in run.metrics if row.get("policy/engine_gap_alarm")]
    return f"{len(steps)} of {len(run.metrics)} steps, first in step {steps[0]}" if steps else None


def _images(runs: Sequence[FinishedRun], folder: Path) -> dict[str, str]:
    return {title: base64.b64encode(file.read_bytes()).decode() for title, file in pictures(runs, folder).items()}


def _differences(runs: Sequence[FinishedRun]) -> list[list[str]]:
    """Return the keys in which the runs' configurations differ, each with its value in every run."""
    flat = [_flat(run.config) for run in runs]
    keys = [key for key in dict.fromkeys(key for one in flat for key in one) if key != "run_dir"]
    return [[key, *(one.get(key, "–") for one in flat)] for key in keys if len({one.get(key) for one in flat}) > 1]


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Return a configuration as dotted keys and values to be shown."""
    if not isinstance(value, dict) or not value:
        return {name: value if isinstance(value, str) else json.dumps(value)}
    return {
        key: shown
        for inner, item in value.items()
        for key, shown in _flat(item, f"{name}.{inner}" if name else str(inner)).items()
    }


def _groups(run: FinishedRun) -> list[dict[str, Any]]:
    """Group the problems by how they went in each kind of evaluation, those first that the last kind changed."""
    by_problem: dict[str, dict[str, Row]] = {}
    for row in run.episodes:
        by_problem.setdefault(row["problem"]["id"], {})[row["split"]] = row
    last = judged(run.summary)
    groups: dict[tuple[tuple[str, bool], ...], list[dict[str, Row]]] = {}
    for found in by_problem.values():
        problem = {kind: found[kind] for kind in SHOWN if kind in found}
        if last in problem:
            went = tuple((kind, row["correct"] >= 1) for kind, row in problem.items())
            groups.setdefault(went, []).append(problem)
    order = list(CHANGES.values())
    return [
        {"went": went, "change": changed(went), "count": len(problems), "problems": problems[:PER_GROUP]}
        for went, problems in sorted(groups.items(), key=lambda item: (order.index(changed(item[0])), -len(item[1])))
    ]


def changed(went: Sequence[tuple[str, bool]]) -> str:
    """Return how the last of several kinds of evaluation changed a problem's answer from the one before it."""
    marks = [right for _, right in went[-2:]]
    return CHANGES[change(*marks)] if len(marks) == 2 else ""
