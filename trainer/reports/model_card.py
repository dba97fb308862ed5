"""The model card of an exported decomposer, written from its run's folder alone."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from conf.schema.base import SECRET
from conf.schema.data import GENERATORS, is_hub_name
from conf.schema.keys import entries, marked
from conf.schema.strategy import ITERATIVE
from rewards.reward import MEASURES
from trainer.reports.tables import markdown
from trainer.tracking.labels import LIKENESS, result_label

TEMPLATE = str(Path(__file__).with_name("model_card.md.j2"))
TRAINED = {"sft": "supervised fine-tuning on sub-questions", "ppo": "PPO against the solver's answers"}
# Of each role that a stage teaches: what the model does, and the template of what it reads.
ROLES = {
    "decomposer": (
        "Splits a question into sub-questions, one a line, so that a frozen solver answers the whole.",
        "decompose_template",
    ),
    "solver": (
        "Answers sub-questions with the earlier ones in view, and then the whole question.",
        "subquestion_template",
    ),
    "verifier": (
        "Judges the reply to a sub-question: writes the right reply, then the kind of mistake or that there is none.",
        "verify_template",
    ),
    "monolith": (
        "Answers a question in one text with sub-questions, their answers and the final one.",
        "monolith_template",
    ),
    "decomposer and solver": (
        "Splits a question into sub-questions, answers them with the earlier ones in view, and then the whole.",
        "decompose_template",
    ),
}
# What a decomposer does that writes one sub-question at a time.
LINES = (
    "Splits a question into sub-questions, one at a time and with the replies to the earlier ones in view, so that a "
    "frozen solver answers the whole. Writes `{end}` when nothing is left to be asked."
)
# What of the configuration belongs to one machine or one account, beside the keys that may hold a password.
PRIVATE = ("run_dir", "cluster", "tracking")


def write_cards(run: Path, written: Collection[str] = tuple(TRAINED)) -> None:
    """Write README.md into every decomposer that a run exported under its own name (``sft``, ``ppo``), if it is among
    ``written``: the card of one that an earlier process made and judged says so already."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    for kind in TRAINED:
        folder = run / "checkpoints" / kind
        if kind in written and folder.is_dir():
            (folder / "README.md").write_text(model_card(kind, config, summary), encoding="utf-8")


def model_card(kind: str, config: dict[str, Any], summary: dict[str, Any]) -> str:
    """Return the card of a run's ``sft`` or ``ppo`` decomposer: data, solver, configuration, results, limits."""
    from huggingface_hub import ModelCard, ModelCardData

    base = config["start_from"] or config["model"]["path"]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["question-decomposition"],
        base_model=base if is_hub_name(base) else None,
    )
    strategy, rewards, ppo = config["strategy"], config["rewards"], kind == "ppo"
    plays = config.get("policy", {}).get("plays", "decomposer")
    role = config["sft"].get("role", "decomposer") if kind == "sft" else _trained_role(plays, strategy["name"])
    does, template = ROLES[role]
    prompts = [strategy[template]]
    if role.startswith("decomposer") and _writes_lines(strategy):
        does = LINES.format(end=strategy["end_mark"]) if role == "decomposer" else does
        concepts = strategy.get("concepts") and "{concepts}" in strategy["next_template"]
        prompts = [*([strategy["concepts_template"]] if concepts else []), strategy["next_template"]]
    trained = "PPO against its own answers" if ppo and plays != "decomposer" else TRAINED[kind]
    card = ModelCard.from_template(
        data,
        TEMPLATE,
        role=role,
        does=does,
        facts={
            "base model": base,
            "trained by": (trained if ppo or role == "decomposer" else f"supervised fine-tuning as {role}")
            + (f", {summary['steps']} learner steps" if ppo else ""),
            "problems": _data(config["data"], summary.get("data") or {}),
            "examples": _examples(kind, summary),
            "frozen solver": _solver(config["solver"]) if plays == "decomposer" else None,
            "strategy": strategy["name"],
            "reward": f"{rewards['mode']}, weights {_pairs(rewards['weights'])}" if ppo else None,
            "seed": summary["seed"],
            # Stage 1 is whole wherever its model is, however stage 2 went.
            "run": summary["status"] if ppo else None,
        },
        examples=strategy["examples"],
        prompts=prompts,
        of_frozen_solver=" of the frozen solver" if plays == "decomposer" else "",
        problems=summary["n_eval"],
        results=_results(kind, summary["accuracy"], summary["steps"]),
        decompositions=_decompositions(summary) if kind == "sft" else None,
        configuration=yaml.safe_dump(_public(config), sort_keys=False).rstrip(),
    )
    return f"{card.content}\n"


def _public(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration without what is private."""
    hidden = {name for key in marked(SECRET) for name, _ in entries(config, key.name)}

    def shown(values: Any, at: str = "") -> Any:
        if not isinstance(values, dict):
            return values
        return {name: shown(value, f"{at}{name}.") for name, value in values.items() if f"{at}{name}" not in hidden}

    public: dict[str, Any] = shown({name: value for name, value in config.items() if name not in PRIVATE})
    return public


def _writes_lines(strategy: dict[str, Any]) -> bool:
    """Return whether the decomposer of a run's strategy writes one sub-question at a time."""
    said = strategy.get("line_by_line")
    return bool(strategy["name"] in ITERATIVE if said is None else said)


def _trained_role(plays: str, strategy: str) -> str:
    """Return which of ROLES a policy has that was trained as it ``plays`` them."""
    if plays != "both":
        return plays
    return "monolith" if strategy == "monolith" else "decomposer and solver"


def _data(data: dict[str, Any], report: dict[str, int]) -> str:
    if data["source"] in GENERATORS:
        weights = _pairs(data["steps"])
        return f"generated word problems of {data['source']} quantities, weights by reasoning steps {weights}"
    counts = f" ({_pairs(report)})" if report else ""
    if data["source"] != "files":
        return f"problems of {data['source']}{counts}"
    share = data.get("held_out_share", 0)
    held_out = ", ".join(data["held_out"]) or (f"{share:g} of them" if share else "none")
    return f"trained on {', '.join(data['train'])}; held out {held_out}{counts}"


def _solver(solver: dict[str, Any]) -> str:
    if solver.get("mixture"):
        return "; ".join(f"{name}: {_solver(one)}, weight {one['weight']:g}" for name, one in solver["mixture"].items())
    name = solver.get("path") or solver.get("model")
    return f"{name} ({solver['backend']})" if name else solver["backend"]


def _pairs(values: dict[Any, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _examples(kind: str, summary: dict[str, Any]) -> str | None:
    """Return how many examples of each source an SFT decomposer was trained on."""
    sources = summary.get("sft", {}).get("sources") if kind == "sft" else None
    return _pairs({name: counts["examples"] for name, counts in sources.items()}) if sources else None


def _results(kind: str, accuracy: dict[str, Any], steps: int) -> str | None:
    """Return the table of held-out results beside those of the solver; None if the decomposer was not evaluated, or
    only as it was before the last of its ``steps``."""
    if kind == "ppo" and accuracy.get(kind, {}).get("step", steps) != steps:
        return None
    rows = [
        {"sub-questions": result_label(key, entry, steps), "accuracy": entry["mean"]}
        | {"95 %": f"{entry['low']:.3f} – {entry['high']:.3f}"}
        | {"rescued": entry.get("rescued"), "broken": entry.get("broken")}
        | {name.replace("_", " "): f"{entry[name]:.3f}" if name in entry else None for name in MEASURES}
        for key, entry in accuracy.items()
        if key == kind or key not in TRAINED
    ]
    return markdown(list(rows[0]), rows) if kind in accuracy else None


def _decompositions(summary: dict[str, Any]) -> str | None:
    """Return the table of an SFT decomposer's decompositions beside the reference, where that was measured."""
    compared = summary.get("sft", {}).get("decompositions", {})
    rows = [
        {"problems": name.replace("_", " "), "": when, "number": sets[name]["problems"]}
        | {key: sets[name][key] for key in LIKENESS}
        for name in next(iter(compared.values()), {})
        for when, sets in compared.items()
    ]
    return markdown(["problems", "", "number", *LIKENESS], rows) if rows else None
