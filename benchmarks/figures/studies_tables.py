"""The tables of docs/studies.md. Each function takes the folder of the CSV files and returns rows, each with the text
of its cells by column."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from benchmarks.figures.chained_tables import default_runs, pair_of_runs, with_tiny
from benchmarks.figures.kept import (
    SEEDS,
    Row,
    by_seed,
    cell_over_seeds,
    difference,
    find,
    interval,
    mean_interval,
    over_seeds,
    read,
)
from trainer.tracking.statistics import holm, mcnemar

START = "SFT, the starting point"
# Strategy and decomposer of each row of the comparison of forms, with what it is.
FORMS = {
    ("direct", "none"): "the solver alone",
    ("self_consistency", "none"): "with as many tokens as `lm2`",
    ("daslam", "whole"): "all sub-questions first",
    ("daslam", "gold"): "gold sub-questions",
    ("interleaved", "lines"): "one after another, answers in view",
    ("lm2_no_concepts", "no_concepts"): "the same, with the tiny verifier",
    ("lm2_no_verifier", "concepts"): "concepts first",
    ("lm2", "concepts"): "concepts and the tiny verifier",
    ("lm2_any_mistake", "concepts"): "wrong arithmetic is asked again, too",
    ("lm2_exact_verifier", "concepts"): "`lm2` with the verifier `program`",
    ("lm2_exact_any_mistake", "concepts"): "both",
}
SOLVERS = ("tiny", "second", "program")
# Strategy and decomposer of each row of the matrix, with what the page calls the decomposer.
CELLS = {
    ("direct", "none"): "–",
    ("self_consistency", "none"): "–",
    ("least_to_most", "none"): "–",
    ("daslam", "prompted"): "Gemma 3 270M, prompted",
    **{
        (strategy, decomposer): name
        for strategy in ("daslam", "daslam_no_feedback", "dependency_graph")
        for decomposer, name in (
            ("base", "base, prompted"),
            ("sft", "SFT"),
            ("ppo", "PPO"),
            ("gold", "gold decompositions"),
        )
        if (strategy, decomposer) != ("daslam_no_feedback", "gold")
    },
}


def staleness(studies: Path) -> list[Row]:
    """Return accuracy by bound of staleness, with and without the correction, beside what was sampled on the way."""
    trials, rows = read(studies / "staleness.csv"), []
    for more in read(studies / "staleness_from_page.csv"):
        setting = {key: more[key] for key in ("controller.max_staleness", "algorithm.decoupled")}
        values = by_seed(trials, setting)
        rows.append(
            {"bound": setting["controller.max_staleness"]}
            | {"decoupled": "yes" if setting["algorithm.decoupled"] == "True" else "no"}
            | {"accuracy, mean of seeds": mean_interval(values), "over seeds": over_seeds(values)}
            | {f"seed {seed}": f"{values[seed]:.3f}" for seed in SEEDS}
            | {"sampled, 6–10": more["sampled_6_10"], "sampled, 46–50": more["sampled_46_50"], "KL, nats": more["kl"]}
        )
    return rows


def algorithms(studies: Path) -> list[Row]:
    """Return accuracy by estimator and by credit, and how each differs from the first one."""
    trials, rows = read(studies / "algorithms.csv"), []
    first = by_seed(trials, {"algorithm": "ppo", "algorithm.credit": "terminal"})
    for more in read(studies / "algorithms_from_page.csv"):
        setting = {key: more[key] for key in ("algorithm", "algorithm.credit")}
        values = by_seed(trials, setting)
        rows.append(
            {"`algorithm=`": "`ppo` (GAE)" if more["algorithm"] == "ppo" else f"`{more['algorithm']}`"}
            | {"credit": more["algorithm.credit"]}
            | {"accuracy, mean of seeds": mean_interval(values), "over seeds": over_seeds(values)}
            | {"less the first row, by seed": "" if values == first else difference(first, values)}
            | {f"seed {seed}": f"{values[seed]:.3f}" for seed in SEEDS}
            | {"decompositions right": more["right"], "something needless": more["needless"]}
            | {"4 steps": more["steps_4"], "sampled, 46–50": more["sampled_46_50"]}
        )
    start, _ = pair_of_runs(default_runs(studies), "no", "0")
    return [
        *rows,
        {"`algorithm=`": START, "accuracy, mean of seeds": interval(float(start["accuracy"]))}
        | {
            "decompositions right": start["right"],
            "something needless": start["needless"],
            "4 steps": start["steps_4"],
        },
    ]


def screening(studies: Path) -> list[Row]:
    """Return what screening the examples of fine-tuning changes, seed by seed and in the mean."""
    runs, rows = default_runs(studies), []
    columns = {
        "decompositions right, SFT → PPO": "right",
        "with a repeat": "repeat",
        "something needless": "needless",
        "3 steps": "steps_3",
        "4 steps": "steps_4",
    }
    for screened in ("no", "yes"):
        for seed in SEEDS:
            sft, ppo = pair_of_runs(runs, screened, seed)
            accuracies = {"SFT": interval(float(sft["accuracy"])), "PPO": interval(float(ppo["accuracy"]))}
            changed = {name: f"{sft[key]} → {ppo[key]}" for name, key in columns.items()}
            rows.append({"seed": seed, "screened": screened} | accuracies | changed)
        both = {name: by_seed(runs, {"screened": screened, "kind": name.lower()}) for name in ("SFT", "PPO")}
        rows.append({"seed": "mean", "screened": screened} | {name: mean_interval(own) for name, own in both.items()})
        rows.append(
            {"seed": "over seeds", "screened": screened} | {name: over_seeds(own) for name, own in both.items()}
        )
    base = interval(with_tiny(studies, "daslam", "base"))
    return [*rows, {"seed": "any", "screened": "base, prompted, not fine-tuned", "SFT": base, "PPO": "not run"}]


def matrix(studies: Path) -> list[Row]:
    """Return the matrix of strategy and decomposer with three solvers; a cell that was left out is empty."""
    cells, rows, above = read(studies / "matrix.csv"), [], ""
    for (strategy, decomposer), name in CELLS.items():
        own = {row["solver"]: row for row in cells if (row["strategy"], row["decomposer"]) == (strategy, decomposer)}
        said = f"`{strategy}`"
        if strategy == "self_consistency":
            said += ", as many tokens as the solver writes in `daslam` with PPO"
        found = {f"`{s}`": interval(float(own[s]["accuracy"])) if s in own else "" for s in SOLVERS}
        rows.append({"strategy": "" if strategy == above else said, "decomposer": name} | found)
        above = strategy
    return rows


def over_the_base(studies: Path) -> list[Row]:
    """Return PPO beside the prompted base with each solver: shares of gold's accuracy, and McNemar's test."""
    cells, pairs = read(studies / "matrix.csv"), read(studies / "matrix_pairs_from_page.csv")
    counts = [(int(pair["only_second"]), int(pair["only_first"])) for pair in pairs]
    tests = [mcnemar(*found) for found in counts]
    rows = []
    for pair, (ppo, base), p, adjusted in zip(pairs, counts, tests, holm(tests), strict=True):
        solver = pair["solver"]
        named = {decomposer: _of_gold(cells, solver, decomposer) for decomposer in ("base", "ppo")}
        rows.append(
            {"solver": f"`{solver}`{', trained with' if solver == 'tiny' else ''}"}
            | {"base / gold": named["base"], "PPO / gold": named["ppo"]}
            | {"only PPO right": str(ppo), "only base right": str(base), "p": _p(p)}
            | {"p, these three (Holm)": _p(adjusted), "p, all pairs (Holm)": pair["p_all_pairs"]}
        )
    return rows


def _of_gold(cells: list[Row], solver: str, decomposer: str) -> str:
    own, gold = (
        float(find(cells, solver=solver, strategy="daslam", decomposer=name)["accuracy"])
        for name in (decomposer, "gold")
    )
    return f"{own / gold:.2f}"


def _p(value: float) -> str:
    return f"{value:.2g}".replace("e-0", "e-")


def leak(studies: Path) -> list[Row]:
    """Return what PPO makes of a decomposer that can compute, with two rewards, the penalty for given values off and
    on."""
    trials, cells, rows = read(studies / "leak.csv"), read(studies / "leak_program.csv"), []
    start = find(cells, strategy="daslam", decomposer="sft")
    for more in read(studies / "leak_from_page.csv"):
        asks = {"asks all that is needed": more["asks_all"]}
        if more["rewards"] == "start":
            rows.append(
                {
                    "reward": "the start",
                    "penalty": "",
                    "accuracy": f"{float(trials[0]['before']):.3f}",
                    "over seeds": "",
                }
                | asks
                | {f"`{name}`": _small(float(start[name])) for name in ("given", "gives_answer")}
                | {"with `program`": f"{float(start['accuracy']):.3f}", "with `program`, over seeds": ""}
                | {"sampled `given`, 1–5 → 26–30": ""}
            )
            continue
        setting = {key: more[key] for key in ("rewards", "rewards.penalty.given")}
        on = setting["rewards.penalty.given"] == "1.0"
        names = {seed: f"{setting['rewards']}_{int(on)}_{seed}" for seed in SEEDS}
        own = {seed: find(cells, strategy="daslam", decomposer=name) for seed, name in names.items()}
        accuracy, other = by_seed(trials, setting), {seed: float(cell["accuracy"]) for seed, cell in own.items()}
        rows.append(
            {"reward": f"`{setting['rewards']}`", "penalty": "on" if on else "off"}
            | {"accuracy": _with_seeds(accuracy), "over seeds": over_seeds(accuracy)}
            | asks
            | {f"`{name}`": _small(fmean(float(c[name]) for c in own.values())) for name in ("given", "gives_answer")}
            | {"with `program`": _with_seeds(other), "with `program`, over seeds": over_seeds(other)}
            | {"sampled `given`, 1–5 → 26–30": f"{more['sampled_given_1_5']} → {more['sampled_given_26_30']}"}
        )
    return rows


def _with_seeds(values: dict[str, float]) -> str:
    return f"{fmean(values.values()):.3f} ({', '.join(f'{value:.3f}' for value in values.values())})"


def _small(share: float) -> str:
    """Return a share with three digits, or with four where three would hide that there is something."""
    return f"{share:.4f}" if 0 < share < 0.0005 else f"{share:.3f}"


def reward_ablation(studies: Path) -> list[Row]:
    """Return the whole reward, the reward without each part, and each part alone."""
    trials = read(studies / "reward_ablation.csv")
    start, _ = pair_of_runs(default_runs(studies), "no", "0")
    found = [(f"`{more['rewards']}`", find(trials, rewards=more["rewards"])["accuracy"], more)
             for more in read(studies / "reward_ablation_from_page.csv")]  # fmt: skip
    return [
        {"`rewards=`": name, "accuracy": interval(float(accuracy)), "decompositions right": more["right"]}
        | {"with a repeat": more["repeat"], "something needless": more["needless"]}
        | {f"{steps} steps": more[f"steps_{steps}"] for steps in (2, 3, 4)}
        for name, accuracy, more in [*found, (START, start["accuracy"], start)]
    ]


def forms(studies: Path) -> list[Row]:
    """Return each form of decomposition after fine-tuning, in the mean over seeds, with the share of episodes in which
    every gold sub-question was asked and the accuracy among these."""
    cells, episodes, rows = read(studies / "forms.csv"), read(studies / "forms_episodes.csv"), []
    for (strategy, decomposer), name in FORMS.items():
        cell = find(cells, strategy=strategy, decomposer=decomposer)
        own = [one for one in episodes if (one["strategy"], one["decomposer"]) == (strategy, decomposer)]
        whole = {
            column: f"{fmean(float(one[key]) for one in own):.2f}" if own else ""
            for column, key in (("whole list", "whole_list"), ("accuracy then", "accuracy_whole_list"))
        }
        again = f"{float(cell['rewritten']):.2f}" if cell["rewritten"] else ""
        rows.append(
            {"strategy": f"`{strategy}`", "what it is": name}
            | {"accuracy": interval(float(cell["accuracy"])), "over seeds": cell_over_seeds(cell)}
            | whole
            | {"written again": again, "all tokens": f"{float(cell['tokens']):.0f}"}
        )
    return rows


def forms_ppo(studies: Path) -> list[Row]:
    """Return each form before and after PPO, in the mean over seeds: accuracy, and what the decompositions are like."""
    kept = _before_and_after(read(studies / "forms_ppo.csv"), {"sft": "SFT", "ppo": "PPO"})
    return [{"strategy": f"`{strategy}`"} | row for strategy, row in kept]


def one_or_two(studies: Path) -> list[Row]:
    """Return the same of a decomposer before a frozen solver, and of one model that does both: fine-tuned first, and
    trained by PPO as they were made."""
    models = {"daslam": "two: `daslam`", "monolith": "one: `monolith`"}
    starts = {"sft": {"sft": "SFT", "ppo": "SFT and PPO"}, "base": {"base": "nothing", "ppo": "PPO alone"}}
    kept = read(studies / "one_model_or_two.csv")
    return [
        {"models": models[strategy]} | row
        for start, stages in starts.items()
        for strategy, row in _before_and_after([row for row in kept if row["start"] == start], stages)
    ]


def _before_and_after(kept: list[Row], stages: Mapping[str, str]) -> list[tuple[str, Row]]:
    """Return (strategy, row) of each strategy before and after PPO, which is the second of the ``stages``; their values
    are how the rows name them. What was not trained is the same for every seed."""
    rows, (before, _) = [], stages
    for strategy in dict.fromkeys(row["strategy"] for row in kept):
        runs = {
            stage: [row for row in kept if (row["strategy"], row["stage"]) == (strategy, stage)] for stage in stages
        }
        accuracy = {stage: {row["seed"]: float(row["accuracy"]) for row in own} for stage, own in runs.items()}
        for stage, own in runs.items():
            gain = "" if stage == before else difference(accuracy[before], accuracy[stage])
            shares = {
                name: f"{fmean(float(row[column]) for row in own):.2f}"
                for name, column in (
                    *((f"{steps} steps", f"steps_{steps}") for steps in (2, 3, 4)),
                    ("all that is needed", "solves"), ("in order", "ordered"), ("with a repeat", "repeats"),
                    ("something needless", "needless"),
                )
            }  # fmt: skip
            row = (
                {"after": stages[stage], "accuracy": mean_interval(accuracy[stage])}
                | {"over seeds": "" if stage == "base" else over_seeds(accuracy[stage]), "PPO brings": gain}
                | shares
                | {"solver tokens": f"{fmean(float(row['solver_tokens']) for row in own):.0f}"}
                | {"trained tokens": _trained(own)}
            )
            rows.append((strategy, row))
    return rows


def _trained(runs: list[Row]) -> str:
    """Return the mean number of the decomposer's tokens that runs of PPO trained on; nothing after fine-tuning."""
    return f"{fmean(float(row['trained_tokens']) for row in runs):,.0f}" if runs[0]["trained_tokens"] else ""


def lm2_rewards(studies: Path) -> list[Row]:
    """Return what each reward made of sampled episodes with the solver ``second``: a run's first three steps and its
    last three."""
    runs: dict[tuple[str, ...], list[Row]] = {}
    for row in read(studies / "lm2_rewards.csv"):
        runs.setdefault(tuple(row[name] for name in ("strategy", "paid", "algorithm", "lr", "seed")), []).append(row)

    def change(own: list[Row], column: str) -> str:
        if not own[0][column]:
            return ""
        means = [fmean(float(row[column]) for row in part) for part in (own[:3], own[-3:])]
        return " → ".join(f"{round(mean, 2) + 0.0:.2f}" for mean in means).replace("-", "−")

    what = {"": "verdicts not paid", "0": "0, mistakes are charged"}
    return [
        {"strategy": f"`{strategy}`", "paid for a right reply": what.get(paid, paid)}
        | {"`algorithm=`": f"`{algorithm}`", "`learner.lr`": lr, "seed": seed, "steps": str(len(own))}
        | {"reward": change(own, "reward"), "sampled accuracy": change(own, "sampled_accuracy")}
        | {"kept": change(own, "subquestions"), "refused": change(own, "rewritten"), "KL": change(own, "kl")}
        for (strategy, paid, algorithm, lr, seed), own in runs.items()
    ]


# What the gate measures, as the page calls it, and what it asks for.
GATE = {
    "steps": ("a sub-question, the right replies to those before it in view", "at least 0.6"),
    "direct": ("the solver alone", ""),
    "direct_ended": ("its answers that ended by themselves", "at least 0.95"),
    "gold": ("with gold sub-questions", "0.1 above the solver alone, intervals apart"),
}


def people_gate(studies: Path) -> list[Row]:
    """Return the gate's figures of the solver of people's problems, a column for each epoch of its fine-tuning."""
    rows = read(studies / "people_gate.csv")
    return [
        {
            "measured": words,
            "of": find(rows, epochs="1", measured=name)["count"],
            **{
                f"after epoch {row['epochs']}": interval(float(row["mean"]), int(row["count"]))
                for row in rows
                if row["measured"] == name
            },
            "demanded": demanded,
        }
        for name, (words, demanded) in GATE.items()
    ]
