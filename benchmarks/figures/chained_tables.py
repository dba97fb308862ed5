"""The tables of docs/results_chained.md, of runs of the chained task. Each function takes the folder of the
CSV files and returns rows, each with the text of its cells by column."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures.kept import SEEDS, Row, by_seed, find, interval, mean_interval, over_seeds, read

MATRIX = "`python -m launch.evaluate matrix=chained matrix.run=RUN_DIR`"
SCREENED = "`python -m launch.train -m data=chained seed=0,1,2 sft.sources.data.screen=true`"
ANY_SEED, EACH_SEED = '`make train ARGS="data=chained"`', '`make train ARGS="data=chained seed=0"`, 1, 2'
EQUAL_TOKENS = "no decomposer, the majority of several draws with the solver's tokens of the PPO row (self-consistency)"


def default_runs(studies: Path) -> list[Row]:
    """Return the results of the chained task's three runs, and of the three with screened examples."""
    return read(studies / "default_from_page.csv")


def with_tiny(studies: Path, strategy: str, decomposer: str) -> float:
    """Return the accuracy of a cell of seed 0's matrix, with the solver that its decomposers were trained against."""
    row = find(read(studies / "matrix.csv"), solver="tiny", strategy=strategy, decomposer=decomposer)
    return float(row["accuracy"])


def _like(name: str, text: str) -> str:
    """Return a text in bold where the name of its row is."""
    return f"**{text}**" if name.startswith("**") else text


def summary(studies: Path) -> list[Row]:
    """Return the first table: what was measured once, and means over seeds."""
    runs = default_runs(studies)

    def row(name: str, accuracy: str, command: str, seeds: str = "") -> Row:
        return {"the frozen solver, with": name, "accuracy": accuracy, "over seeds": seeds, "command": command}

    def once(name: str, accuracy: float, command: str = ANY_SEED) -> Row:
        return row(name, interval(accuracy), command)

    def trained(name: str, kind: str, command: str = EACH_SEED, screened: str = "no") -> Row:
        values = by_seed(runs, {"screened": screened, "kind": kind})
        return row(name, _like(name, mean_interval(values)), command, over_seeds(values))

    same = {kind: by_seed(runs, {"screened": "no", "kind": kind})["0"] for kind in ("direct", "filler", "gold")}
    return [
        once("nothing", same["direct"]),
        once(EQUAL_TOKENS, with_tiny(studies, "self_consistency", "none"), MATRIX),
        once("filler", same["filler"]),
        once(
            "the base as decomposer, prompted, untrained",
            with_tiny(studies, "daslam", "base"),
            "the matrix above, or `python -m launch.evaluate data=chained`",
        ),
        trained("the SFT decomposer", "sft"),
        trained("the SFT decomposer, its examples screened by the answer", "sft", SCREENED, "yes"),
        trained("**the PPO decomposer**", "ppo"),
        once("gold sub-questions", same["gold"]),
    ]


def seed_by_seed(studies: Path) -> list[Row]:
    """Return the accuracies of each seed."""
    runs = default_runs(studies)
    rows = []
    for seed in SEEDS:
        found = {row["kind"]: float(row["accuracy"]) for row in runs if (row["screened"], row["seed"]) == ("no", seed)}
        rows.append(
            {"seed": seed, "solver alone": interval(found["direct"]), "filler": interval(found["filler"])}
            | {"gold": interval(found["gold"]), "with SFT decomposer": interval(found["sft"])}
            | {"with PPO decomposer": interval(found["ppo"]), "PPO − SFT": f"{found['ppo'] - found['sft']:+.3f}"}
            | {"PPO / gold": f"{found['ppo'] / found['gold']:.2f}"}
        )
    return rows


def changes(studies: Path) -> list[Row]:
    """Return what PPO changed in the decompositions and in the accuracy by steps."""
    columns = {
        "decompositions right, SFT → PPO": "right",
        "with a repeat": "repeat",
        "something needless": "needless",
        "accuracy, 2 steps": "steps_2",
        "3 steps": "steps_3",
        "4 steps": "steps_4",
    }
    rows = []
    for seed in SEEDS:
        sft, ppo = pair_of_runs(default_runs(studies), "no", seed)
        changed = {name: f"{sft[key]} → {ppo[key]}" for name, key in columns.items()}
        rows.append({"seed": seed} | changed | {"rescued": ppo["rescued"], "broken": ppo["broken"]})
    return rows


def pair_of_runs(runs: list[Row], screened: str, seed: str) -> tuple[Row, Row]:
    """Return a run's results after fine-tuning and after PPO."""
    sft, ppo = (find(runs, screened=screened, seed=seed, kind=kind) for kind in ("sft", "ppo"))
    return sft, ppo


def times(studies: Path) -> list[Row]:
    """Return what each run took."""
    return [
        {"seed": row["seed"], "minutes": row["minutes"], "start": f"{row['start_s']} s", "SFT": f"{row['sft_s']} s"}
        | {"PPO": f"{row['ppo_s']} s", "evaluation": f"{row['evaluation_s']} s", "GiB resident": row["resident_gib"]}
        | {"staleness, largest": f"{row['staleness']} of {row['max_staleness']}"}
        | {"log-probability gap, largest": row["engine_gap"]}
        for row in read(studies / "default_times_from_page.csv")
    ]
