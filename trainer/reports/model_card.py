"""The model card of an exported decomposer, written from its run's folder alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from trainer.tracking.labels import LIKENESS, NAMES


def write_cards(run: Path) -> None:
    """Write README.md into every decomposer that a run exported under its own name (``sft``, ``ppo``)."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    for kind in ("sft", "ppo"):
        folder = run / "checkpoints" / kind
        if folder.is_dir():
            (folder / "README.md").write_text(model_card(kind, config, summary), encoding="utf-8")


def model_card(kind: str, config: dict[str, Any], summary: dict[str, Any]) -> str:
    """The card of a run's ``sft`` or ``ppo`` decomposer: data, solver, configuration, results, limits."""
    base = config["start_from"] or config["model"]["path"]
    trained = {"sft": "supervised fine-tuning on sub-questions", "ppo": "PPO against the solver's answers"}[kind]
    strategy, rewards = config["strategy"], config["rewards"]
    facts = {
        "base model": base,
        "trained by": trained + (f", {summary['steps']} learner steps" if kind == "ppo" else ""),
        "problems": _data(config["data"], summary.get("data") or {}),
        "examples": _examples(kind, summary),
        "frozen solver": _solver(config["solver"]),
        "strategy": strategy["name"],
        "reward": f"{rewards['mode']}, weights {_pairs(rewards['weights'])}" if kind == "ppo" else None,
        "seed": summary["seed"],
        "run": summary["status"],
    }
    prompt = strategy["decompose_template"]
    return "\n".join(
        [
            *_header(base),
            "# Decomposer",
            "",
            "Splits a question into sub-questions, one a line, so that a frozen solver answers the whole. "
            "An ordinary Hugging Face causal language model.",
            "",
            *(f"- {name}: {value}" for name, value in facts.items() if value is not None),
            "",
            "## Use",
            "",
            "It reads this prompt, filled in, and nothing else"
            + (" (with the worked examples of the configuration below before it):" if strategy["examples"] else ":"),
            "",
            "```text",
            prompt,
            "```",
            "",
            "`{attempt}` is the solver's own first attempt.",
            '`python -m launch.ask FOLDER "question"` runs a whole episode.',
            "",
            *_results(kind, summary),
            *_decompositions(kind, summary),
            "## Limits",
            "",
            "- It was trained for one solver and one kind of problems, named above; others were not measured here.",
            "- Its sub-questions are judged by the solver's final answers: they need not be those a person would ask, "
            "and needless ones cost tokens.",
            "- Results are of one seed; the intervals are of the held-out problems' number alone, not of training.",
            "- Terms of use of the base model and of the data apply to it.",
            "",
            "## Configuration",
            "",
            "```yaml",
            yaml.safe_dump(_portable(config), sort_keys=False).rstrip(),
            "```",
            "",
        ]
    )


def _header(base: str) -> list[str]:
    """The hub's header; ``base_model`` only where it is a name on the hub."""
    on_hub = base.count("/") == 1 and not base.startswith((".", "/", "~"))
    return [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [question-decomposition]",
        *([f"base_model: {base}"] if on_hub else []),
        "---",
        "",
    ]


def _data(data: dict[str, Any], report: dict[str, int]) -> str:
    if data["source"] == "chained":
        return f"generated word problems of chained quantities, weights by reasoning steps {_pairs(data['steps'])}"
    counts = f" ({_pairs(report)})" if report else ""
    return f"trained on {', '.join(data['train'])}; held out {', '.join(data['held_out']) or 'a share of them'}{counts}"


def _solver(solver: dict[str, Any]) -> str:
    name = solver.get("path") or solver.get("model")
    return f"{name} ({solver['backend']})" if name else solver["backend"]


def _pairs(values: dict[Any, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _results(kind: str, summary: dict[str, Any]) -> list[str]:
    accuracy = summary["accuracy"]
    if kind not in accuracy:
        return ["## Results", "", "Not evaluated in its run.", ""]
    rows = [
        f"| {NAMES.get(key, key)} | {entry['mean']:.3f} | {entry['low']:.3f} – {entry['high']:.3f} "
        f"| {entry.get('rescued', '')} | {entry.get('broken', '')} |"
        for key, entry in accuracy.items()
        if key == kind or key not in ("sft", "ppo")
    ]
    return [
        "## Results",
        "",
        f"Right final answers of the frozen solver on {summary['n_eval']} held-out problems, by who wrote the "
        "sub-questions; 95 % intervals (Wilson); rescued: wrong at first and right in the end; broken: the other way "
        "round.",
        "",
        "| sub-questions | accuracy | 95 % | rescued | broken |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _examples(kind: str, summary: dict[str, Any]) -> str | None:
    """What an SFT decomposer was trained on, by source."""
    sources = summary.get("sft", {}).get("sources") if kind == "sft" else None
    return _pairs({name: counts["examples"] for name, counts in sources.items()}) if sources else None


def _decompositions(kind: str, summary: dict[str, Any]) -> list[str]:
    """How an SFT decomposer's decompositions compare with the reference, where that was measured."""
    compared = summary.get("sft", {}).get("decompositions", {}) if kind == "sft" else {}
    if not compared:
        return []
    rows = [
        f"| {name.replace('_', ' ')} | {when} | {sets[name]['problems']} | "
        + " | ".join("" if sets[name][key] is None else f"{sets[name][key]:.3f}" for key in LIKENESS)
        + " |"
        for name in next(iter(compared.values()))
        for when, sets in compared.items()
    ]
    return [
        "## Decompositions",
        "",
        "Sub-questions beside the reference ones, before and after fine-tuning: how many are matched (asked in nearly "
        "the same words), their share of the reference (coverage) and of what was asked (precision), and the share of "
        "pairs of them that come in the reference's order.",
        "",
        f"| problems | | number | {' | '.join(LIKENESS)} |",
        "|---|---|---|" + "---|" * len(LIKENESS),
        *rows,
        "",
    ]


def _portable(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what belongs to one machine or one account."""
    return {name: value for name, value in config.items() if name not in ("run_dir", "cluster", "tracking")}
