"""The page of finished runs: one file with nothing outside it, made from the runs' folders alone."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from trainer.reports.pictures import FinishedRun, Row, pictures, read_run
from trainer.reports.sweep_table import judged
from trainer.tracking.labels import NAMES

# Kinds of evaluation whose episodes are shown side by side, in the order in which they came to be.
SHOWN = ("direct", "self_consistency", "least_to_most", "sft", "policy", "ppo")
# Problems shown of each group; the rest is in episodes.jsonl.
PER_GROUP = 12
# Nothing may be fetched and nothing run, whatever a model wrote.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1320px;margin:0 auto;padding:1em;color:#202124;background:#fff}
h1,h2,h3{line-height:1.25;overflow-wrap:anywhere}h2{margin-top:1.6em;border-bottom:1px solid #ddd}
table{border-collapse:collapse}td,th{padding:.25em .8em .25em 0;border-bottom:1px solid #ddd;text-align:left;
vertical-align:top;white-space:nowrap}.scroll{overflow-x:auto;margin:1em 0}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:1em;align-items:start}
.grid img{width:100%;max-width:620px}
.facts{display:flex;flex-wrap:wrap;gap:.3em 1.6em;margin:1em 0}.facts b{font-weight:600}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,280px),1fr));gap:.8em;margin:.5em 0 1.6em}
.sides>div{background:#f6f7f8;border-top:3px solid #9aa0a6;border-radius:4px;padding:.6em .8em;font-size:14px;
overflow-wrap:anywhere}.sides .right{border-color:#188038}.sides .wrong{border-color:#b3261e}
.sides ol{padding-left:1.4em;margin:.4em 0}.said{white-space:pre-line}p{overflow-wrap:anywhere}
summary{cursor:pointer;padding:.4em 0;overflow-wrap:anywhere}summary:hover{background:#f6f7f8}
details details{margin-left:.6em}.yes{color:#188038;font-weight:600}.no{color:#b3261e;font-weight:600}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px;background:#f6f7f8;padding:.8em;border-radius:4px;
columns:3 300px}
"""


def write_report(folders: Sequence[Path], path: Path | None = None) -> Path:
    """Write the page of one run, or of several compared, and its pictures into a folder of the page's name beside it.

    ``path`` is report.html in the run's folder where it is not given, comparison.html in the first of several.
    """
    runs = [read_run(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    path = path or folders[0] / ("report.html" if len(runs) == 1 else "comparison.html")
    if len(runs) == 1:
        title, body = f"Run {runs[0].name}", _run(runs[0], path.with_suffix(""))
    else:
        title, body = f"{len(runs)} runs compared", _comparison(runs, path.with_suffix(""))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body><h1>{_text(title)}</h1>{body}</body></html>\n"
    )
    # A server's reply may hold half of a surrogate pair, which has no UTF-8.
    path.write_text(page, encoding="utf-8", errors="replace")
    return path


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with as many of those above them as tell them apart."""
    paths = [folder.resolve().parts[1:] for folder in folders]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            break
    return names


def _run(run: FinishedRun, folder: Path) -> str:
    """A run's sections; its pictures go into ``folder``."""
    return "".join(
        [
            _facts(run.summary),
            _accuracy_table(run.summary),
            _pictures([run], folder),
            _steps_table(run.summary),
            _episodes(run),
            _last_metrics(run.metrics),
            f"<h2>Configuration</h2><details><summary>config.yaml</summary>"
            f"<pre>{_text(yaml.safe_dump(run.config, sort_keys=False))}</pre></details>",
        ]
    )


def _comparison(runs: Sequence[FinishedRun], folder: Path) -> str:
    """What the runs reached and what told them apart, then each alone."""
    kinds = list(dict.fromkeys(kind for run in runs for kind in run.summary.get("accuracy", {})))
    table = [
        [run.name, run.summary["status"], run.summary["seed"], run.summary["steps"], _minutes(run.summary)]
        + [_interval(run.summary["accuracy"].get(kind)) for kind in kinds]
        for run in runs
    ]
    head = ["run", "status", "seed", "steps", "minutes", *(NAMES.get(kind, kind) for kind in kinds)]
    flat = [_flat(run.config) for run in runs]
    keys = [key for key in dict.fromkeys(key for one in flat for key in one) if key != "run_dir"]
    unlike = [[key, *(one.get(key, "–") for one in flat)] for key in keys if len({one.get(key) for one in flat}) > 1]
    differ = _table(["key", *(run.name for run in runs)], unlike) if unlike else "<p>In nothing but their folders.</p>"
    alone = "".join(
        f"<details><summary><b>{_text(run.name)}</b></summary>{_run(run, folder / str(number))}</details>"
        for number, run in enumerate(runs, 1)
    )
    return (
        f"<h2>Held-out accuracy</h2>{_table(head, table)}{_pictures(runs, folder)}"
        f"<h2>In what they differ</h2>{differ}<h2>Each run</h2>{alone}"
    )


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """A configuration as dotted keys and values to be shown."""
    if not isinstance(value, dict) or not value:
        return {name: value if isinstance(value, str) else json.dumps(value)}
    return {
        key: shown
        for inner, item in value.items()
        for key, shown in _flat(item, f"{name}.{inner}" if name else str(inner)).items()
    }


def _text(value: Any) -> str:
    return html.escape(str(value))


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    names = "".join(f"<th>{_text(name)}</th>" for name in head)
    return f'<div class="scroll"><table><tr>{names}</tr>{cells}</table></div>'


def _minutes(summary: dict[str, Any]) -> str:
    return f"{sum(summary['seconds'].values()) / 60:.1f}"


def _interval(entry: dict[str, Any] | None) -> str:
    return "" if entry is None else f"{entry['mean']:.3f} ({entry['low']:.3f} – {entry['high']:.3f})"


def _facts(summary: dict[str, Any]) -> str:
    facts = {
        "status": summary["status"],
        "seed": summary["seed"],
        "learner steps": summary["steps"],
        "weight version": summary["weight_version"],
        "largest staleness": f"{summary['max_staleness_seen']:g}",
        "minutes": _minutes(summary) + f" ({', '.join(f'{k} {v:.0f} s' for k, v in summary['seconds'].items())})",
        "memory": f"{summary['resident_gib']:.1f} GiB" if "resident_gib" in summary else None,
        "error": summary.get("error"),
    }
    shown = "".join(f"<span>{name} <b>{_text(value)}</b></span>" for name, value in facts.items() if value is not None)
    return f'<div class="facts">{shown}</div>'


def _pictures(runs: Sequence[FinishedRun], folder: Path) -> str:
    images = (
        f'<img alt="{_text(title)}" src="data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}">'
        for title, file in pictures(runs, folder).items()
    )
    return f'<h2>Curves</h2><div class="grid">{"".join(images)}</div>'


def _accuracy_table(summary: dict[str, Any]) -> str:
    rows = [
        [
            NAMES.get(kind, kind),
            _interval(entry),
            entry.get("rescued", ""),
            entry.get("broken", ""),
            f"{entry['plans']['right']:.2f}" if entry.get("plans") else "",
            f"{entry['solver_tokens']:.0f}" if "solver_tokens" in entry else "",
        ]
        for kind, entry in summary["accuracy"].items()
    ]
    head = ["sub-questions from", "accuracy, 95 %", "rescued", "broken", "plans right", "solver tokens"]
    return (
        f"<h2>Held-out accuracy, {summary['n_eval']} problems</h2>{_table(head, rows)}<p>Rescued: wrong at the "
        "solver's first attempt and right in the end; broken: the other way round.</p>"
    )


def _steps_table(summary: dict[str, Any]) -> str:
    by_kind = {kind: entry["by_steps"] for kind, entry in summary["accuracy"].items() if entry.get("by_steps")}
    steps = sorted({step for found in by_kind.values() for step in found}, key=int)
    if not steps:
        return ""
    rows = [
        [NAMES.get(kind, kind), *(f"{found[step]:.2f}" if step in found else "" for step in steps)]
        for kind, found in by_kind.items()
    ]
    return f"<h2>By number of reasoning steps</h2>{_table(['sub-questions from', *steps], rows)}"


def _last_metrics(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    from trainer.tracking.metrics_catalogue import CATALOGUE

    cells = [
        [name, f"{rows[-1][name]:.4g} {unit}", meaning]
        for name, (unit, meaning) in CATALOGUE.items()
        if isinstance(rows[-1].get(name), (int, float))
    ]
    table = _table(["metric", "value", "meaning"], cells)
    return f"<h2>Metrics</h2><details><summary>all of step {rows[-1]['step']}</summary>{table}</details>"


# -- episodes ----------------------------------------------------------------------------------------------------


def _episodes(run: FinishedRun) -> str:
    """Problems side by side as they went in each kind of evaluation, what the decomposer broke and rescued first."""
    by_problem: dict[str, dict[str, Row]] = {}
    for row in run.episodes:
        if row["split"] in SHOWN:
            by_problem.setdefault(row["problem"]["id"], {})[row["split"]] = row
    last = judged(run.summary)
    groups: dict[tuple[tuple[str, bool], ...], list[dict[str, Row]]] = {}
    for problem in by_problem.values():
        if last in problem:
            went = tuple((kind, problem[kind]["correct"] >= 1) for kind in SHOWN if kind in problem)
            groups.setdefault(went, []).append(problem)
    if not groups:
        return ""
    order = {"broken": 0, "rescued": 1, "": 2}
    sequence = sorted(groups, key=lambda went: (order[turned(went)], -len(groups[went])))
    blocks = [_group(went, groups[went], opened=went == sequence[0]) for went in sequence]
    return (
        f"<h2>Rescued and broken</h2><p>The {sum(map(len, groups.values()))} held-out problems whose episodes the run "
        f"kept, by how they went; all of them are in episodes.jsonl.</p>{''.join(blocks)}"
    )


def turned(went: Sequence[tuple[str, bool]]) -> str:
    """What the last of several kinds of evaluation did to a problem, compared with the one before it."""
    before, after = ([False, *(right for _, right in went)])[-2:]
    return "" if len(went) < 2 or before == after else "rescued" if after else "broken"


def _group(went: Sequence[tuple[str, bool]], problems: Sequence[dict[str, Row]], *, opened: bool) -> str:
    said = " → ".join(f"{NAMES[kind]} {_mark(right)}" for kind, right in went)
    shown = [_problem(problem) for problem in problems[:PER_GROUP]]
    rest = f"<p>and {len(problems) - PER_GROUP} more</p>" if len(problems) > PER_GROUP else ""
    change = turned(went)
    return (
        f"<details{' open' if opened else ''}><summary>{f'<b>{change}</b>: ' if change else ''}"
        f"{len(problems)} × {said}</summary>{''.join(shown)}{rest}</details>"
    )


def _mark(right: bool) -> str:
    return '<span class="yes">right</span>' if right else '<span class="no">wrong</span>'


def _problem(episodes: dict[str, Row]) -> str:
    problem = next(iter(episodes.values()))["problem"]
    sides = "".join(_episode(NAMES[kind], episodes[kind]) for kind in SHOWN if kind in episodes)
    return (
        f'<p>{_text(problem["question"])} <b>Gold: {_text(problem["answer"])}</b></p><div class="sides">{sides}</div>'
    )


def _episode(name: str, row: Row) -> str:
    right = row["correct"] >= 1
    turns = "".join(
        f'<li><b>{_text(turn["question"])}</b><br><span class="said">{_text(turn["text"])}</span></li>'
        for turn in row["turns"]
    )
    return (
        f'<div class="{"right" if right else "wrong"}"><b>{_text(name)}</b> {_mark(right)}'
        f'{f"<ol>{turns}</ol>" if turns else ""}<div class="said">{_text(row["final"]["text"])}</div>'
        f"answer {_text(row['final']['answer'] or 'none')}</div>"
    )
