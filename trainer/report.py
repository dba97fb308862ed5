"""The picture and the page of a finished run, made from its folder alone."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

from rewards.modes import PARTS

NAMES = {
    "direct": "solver alone",
    "self_consistency": "solver alone, majority",
    "least_to_most": "solver's own sub-questions",
    "filler": "filler sub-questions",
    "sft": "SFT decomposer",
    "ppo": "PPO decomposer",
    "policy": "decomposer",
    "gold": "gold sub-questions",
}
COLOURS = {
    "direct": "#9aa0a6",
    "filler": "#c9b458",
    "sft": "#5b8def",
    "ppo": "#188038",
    "policy": "#188038",
    "gold": "#333333",
}


# Share of the accuracy axis that a line of text takes.
LABEL_HEIGHT = 0.045


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All objects of a JSON-lines file; none if it is not there."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _smooth(values: list[float], weight: float = 0.8) -> list[float]:
    smoothed: list[float] = []
    for value in values:
        smoothed.append(weight * smoothed[-1] + (1 - weight) * value if smoothed else value)
    return smoothed


def learning_curve(folder: Path) -> Path:
    """Write learning_curve.png: training accuracy with the held-out results beside it, the parts, KL."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = read_lines(folder / "metrics.jsonl")
    summary = json.loads((folder / "summary.json").read_text()) if (folder / "summary.json").is_file() else {}
    accuracy = summary.get("accuracy", {})
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), width_ratios=(1.3, 1, 1), layout="constrained")
    steps = [row["step"] for row in rows]

    def draw(axis: Any, name: str, label: str, colour: str | None = None) -> None:
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        if points:
            x, y = zip(*points, strict=True)
            (line,) = axis.plot(x, _smooth(list(y)), label=label, color=colour)
            axis.plot(x, y, color=line.get_color(), alpha=0.2, linewidth=1)

    draw(axes[0], "episode/accuracy_final", "training batches (sampled plans)", "#e8710a")
    scores = [row for row in rows if row.get("eval/accuracy") is not None]
    if scores:
        middle = [row["eval/accuracy"] for row in scores]
        errors = [[row["eval/accuracy"] - row["eval/low"] for row in scores],
                  [row["eval/high"] - row["eval/accuracy"] for row in scores]]  # fmt: skip
        axes[0].errorbar(
            [row["eval/version"] for row in scores], middle, errors, label="held-out subset (greedy plans)",
            color=COLOURS["ppo"], marker="o", markersize=4, linewidth=1, capsize=2,
        )  # fmt: skip
    beneath = -1.0
    for key, entry in sorted(accuracy.items(), key=lambda item: item[1]["mean"]):
        axes[0].axhline(entry["mean"], color=COLOURS.get(key), linestyle="--", linewidth=1.2)
        axes[0].axhspan(entry["low"], entry["high"], color=COLOURS.get(key), alpha=0.12, linewidth=0)
        # Right of the axes, each label clear of the one beneath it.
        beneath = max(entry["mean"], beneath + LABEL_HEIGHT)
        axes[0].annotate(
            f"{NAMES.get(key, key)} {entry['mean']:.2f}", (1, beneath), xycoords=axes[0].get_yaxis_transform(),
            xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=COLOURS.get(key),
        )  # fmt: skip
    axes[0].set(title="Solver's accuracy", xlabel="learner step", ylim=(0, 1.02))
    if steps:
        axes[0].legend(loc="upper left", bbox_to_anchor=(0, 0.93), fontsize=8, frameon=False)
    for part in PARTS[:4]:
        draw(axes[1], f"reward/{part}/mean", part.replace("_", " "))
    axes[1].set(title="Reward parts, before weights", xlabel="learner step")
    draw(axes[2], "policy/kl", "KL to the SFT policy")
    draw(axes[2], "policy/entropy", "entropy")
    draw(axes[2], "staleness/mean", "staleness (versions)")
    axes[2].set(title="Policy", xlabel="learner step")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2)
    for axis in axes[1:]:
        if axis.lines:
            axis.legend(fontsize=8, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    path = folder / "learning_curve.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def write_report(folder: Path) -> Path:
    """Write report.html: one file with the table, the picture, the counts and episodes to read."""
    picture = learning_curve(folder)
    summary = json.loads((folder / "summary.json").read_text())
    rows = read_lines(folder / "metrics.jsonl")
    episodes = [row for row in read_lines(folder / "episodes.jsonl") if row.get("split") in ("sft", "ppo")]
    image = base64.b64encode(picture.read_bytes()).decode()
    body = [
        f"<h1>{html.escape(folder.name)}</h1>",
        f"<p>Status {html.escape(summary['status'])}, seed {summary['seed']}, {summary['steps']} learner steps, "
        f"weight version {summary['weight_version']}, largest staleness {summary['max_staleness_seen']:g}. "
        f"Seconds: {', '.join(f'{name} {value:.0f}' for name, value in summary['seconds'].items())}.</p>",
        _accuracy_table(summary),
        f'<img alt="learning curve" src="data:image/png;base64,{image}">',
        _last_metrics(rows),
        "<h2>Held-out episodes before and after PPO</h2>",
        *_episode_pairs(episodes),
    ]
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#202124}"
        "table{border-collapse:collapse;margin:1em 0}td,th{padding:.25em .8em;"
        "border-bottom:1px solid #ddd;text-align:left}"
        "img{max-width:100%}.pair{display:grid;grid-template-columns:1fr 1fr;gap:1em}.pair>div{background:#f6f7f8;"
        "padding:.7em;border-radius:6px}pre{white-space:pre-wrap;margin:0;font-size:13px}"
        ".no{color:#b3261e}.yes{color:#188038}"
    )
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(folder.name)}</title>'
    path = folder / "report.html"
    path.write_text(f"{page}<style>{style}</style><body>{''.join(body)}</body></html>\n", encoding="utf-8")
    return path


def _accuracy_table(summary: dict[str, Any]) -> str:
    cells = "".join(
        f"<tr><td>{NAMES.get(key, key)}</td><td>{entry['mean']:.3f}</td>"
        f"<td>{entry['low']:.3f} – {entry['high']:.3f}</td><td>{entry.get('rescued', '')}</td>"
        f"<td>{entry.get('broken', '')}</td>"
        f"<td>{format(entry['plans']['right'], '.2f') if entry.get('plans') else ''}</td></tr>"
        for key, entry in summary.get("accuracy", {}).items()
    )
    columns = ("sub-questions from", "accuracy", "95 %", "rescued", "broken", "plans right")
    head = f"<tr>{''.join(f'<th>{column}</th>' for column in columns)}</tr>"
    return f"<h2>Held-out accuracy, {summary['n_eval']} problems</h2><table>{head}{cells}</table>"


def _last_metrics(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    from trainer.metrics import CATALOGUE

    cells = "".join(
        f"<tr><td>{name}</td><td>{rows[-1][name]:.4g} {unit}</td><td>{html.escape(meaning)}</td></tr>"
        for name, (unit, meaning) in CATALOGUE.items()
        if isinstance(rows[-1].get(name), (int, float))
    )
    return f"<details><summary>All metrics of the last step</summary><table>{cells}</table></details>"


def _episode_pairs(episodes: list[dict[str, Any]]) -> list[str]:
    by_problem: dict[str, dict[str, dict[str, Any]]] = {}
    for row in episodes:
        by_problem.setdefault(row["problem"]["id"], {})[row["split"]] = row
    blocks = []
    for pair in by_problem.values():
        question = next(iter(pair.values()))["problem"]["question"]
        sides = "".join(
            f"<div><b>{NAMES[split]}</b>{_episode(pair[split])}</div>" for split in ("sft", "ppo") if split in pair
        )
        blocks.append(f'<p>{html.escape(question)}</p><div class="pair">{sides}</div>')
    return blocks


def _episode(row: dict[str, Any]) -> str:
    turns = "\n".join(f"Q: {turn['question']}\nA: {turn['text']}" for turn in row["turns"])
    mark = '<span class="yes">right</span>' if row["correct"] >= 1 else '<span class="no">wrong</span>'
    text = html.escape(f"{turns}\n\n{row['final']['text']}")
    found, gold = html.escape(str(row["final"]["answer"])), html.escape(row["problem"]["answer"])
    return f"<pre>{text}</pre>answer {found}, gold {gold}: {mark}"
