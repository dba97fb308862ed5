"""The same matrix with several seeds, from made-up result files: what is counted, written, drawn and refused."""

from __future__ import annotations

import csv
import subprocess
import sys

import pytest
import yaml
from matplotlib.figure import Figure
from scipy import stats

from conf.schema.places import ROOT
from launch.evaluate.replicates import main
from trainer.run_folder.files import write_json
from trainer.tracking.statistics import wilson

# Right answers of ten problems with seeds 1, 2 and 3.
RIGHT = {
    ("tiny", "direct", "none"): (2, 2, 2),
    ("tiny", "daslam", "ppo"): (5, 7, 6),
    ("tiny", "daslam", "gold"): (10, 10, 9),
    ("second", "direct", "none"): (1, 1, 1),
}


def cell_rows(right, seed, decomposer, samples=1):
    """A cell's episodes as MatrixRun writes them."""
    asked = decomposer != "none"
    return [
        {"problem": f"p{index}", "sample": sample, "correct": float(index < right), "error": None, "outcome": "ok",
         "answer": "4", "subquestions": seed if asked else None, "given": 0.0 if asked else None,
         "gives_answer": 0.0 if asked else None, "solver_tokens": 10 * seed, "solver_prompt_tokens": 50,
         "policy_tokens": 3, "verifier_tokens": 2, "verifier_prompt_tokens": 20, "tokens": 5 + 10 * seed, "cost": 0.0,
         "rewritten": index % 2 if asked else None, "verdicts": [] if asked else None}
        for sample in range(samples) for index in range(10)
    ]  # fmt: skip


@pytest.fixture
def folders(tmp_path):
    """Three matrices' folders, one a seed."""
    found = [tmp_path / f"seed_{seed}" for seed in (1, 2, 3)]
    axes = {"data": ["chained"], "solvers": ["tiny", "second"], "strategies": ["direct", "daslam"]}
    matrix = {key: dict.fromkeys(names) for key, names in axes.items()}
    matrix["decomposers"] = dict.fromkeys(["none", "ppo", "gold"])
    for seed, folder in enumerate(found, 1):
        (folder / "cells").mkdir(parents=True)
        for (solver, strategy, decomposer), right in RIGHT.items():
            names = {"data": "chained", "solver": solver, "strategy": strategy, "decomposer": decomposer}
            rows = cell_rows(right[seed - 1], seed, decomposer)
            file = folder / "cells" / f"{'.'.join(names.values())}.json"
            write_json(file, {"fingerprint": f"of seed {seed}", **names, "rows": rows})
        (folder / "matrix.yaml").write_text(yaml.safe_dump({"matrix": matrix}, sort_keys=False))
    return found


def read(file):
    with file.open() as lines:
        return list(csv.DictReader(lines))


def test_the_command_puts_seeds_side_by_side(folders, tmp_path):
    command = [sys.executable, "-m", "launch.evaluate.replicates", *map(str, folders), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/out/replicates.md\n"
    rows = {(row["solver"], row["strategy"], row["decomposer"]): row for row in read(tmp_path / "out/replicates.csv")}
    assert list(rows) == list(RIGHT), "in the order of the matrix"
    ppo = rows["tiny", "daslam", "ppo"]
    # Worked by hand: 0.5, 0.7, 0.6; standard error 0.1 / sqrt(3), t of 2 degrees of freedom 4.302653.
    assert [float(ppo[name]) for name in ("accuracy", "seed_low", "seed_high", "lowest", "highest")] == pytest.approx(
        [0.6, 0.6 - 0.248414, 0.6 + 0.248414, 0.5, 0.7], abs=1e-6
    )
    # Ten problems, not thirty.
    assert (float(ppo["low"]), float(ppo["high"])) == pytest.approx((0.312674, 0.831820), abs=1e-5)
    assert (ppo["problems"], ppo["seeds"]) == ("10", "3")
    figures = ("policy_tokens", "solver_tokens", "verifier_tokens", "tokens", "subquestions", "rewritten")
    assert [float(ppo[name]) for name in figures] == [3, 20, 2, 25, 2, 0.5]
    text = (tmp_path / "out" / "replicates.md").read_text()
    assert "| chained | tiny | daslam | ppo | 0.600 | 0.352 – 0.848 | 0.313 – 0.832 | 0.500 – 0.700 | 3 |" in text
    assert all(f"- {folder}\n" in text for folder in folders)
    assert (tmp_path / "out" / "replicates.png").stat().st_size > 0


def test_a_cell_that_is_alike_in_all_folders_has_no_interval_over_seeds(folders, tmp_path):
    assert main([str(folder) for folder in folders]) == 0
    rows = {(row["solver"], row["decomposer"]): row for row in read(tmp_path / "replicates.csv")}
    assert (rows["tiny", "none"]["seed_low"], rows["tiny", "none"]["seed_high"]) == ("", "")
    found = {name: float(rows["tiny", "none"][name]) for name in ("accuracy", "low", "high")}
    assert list(found.values()) == pytest.approx(list(wilson(2, 10).values()))
    assert float(rows["tiny", "gold"]["seed_high"]) == 1, "clipped"


def test_cells_of_one_solver_are_paired_by_seed(folders, tmp_path):
    assert main([str(folder) for folder in folders]) == 0
    pairs = read(tmp_path / "replicates_pairs.csv")
    assert [(row["solver"], row["first"], row["second"]) for row in pairs] == [
        ("tiny", "direct · none", "daslam · ppo"),
        ("tiny", "direct · none", "daslam · gold"),
        ("tiny", "daslam · ppo", "daslam · gold"),
    ]
    interval = stats.ttest_rel([1.0, 1.0, 0.9], [0.5, 0.7, 0.6]).confidence_interval(0.95)
    found = [float(pairs[2][name]) for name in ("difference", "seed_low", "seed_high")]
    assert found == pytest.approx([(0.5 + 0.3 + 0.3) / 3, interval.low, interval.high])
    assert {row["seeds"] for row in pairs} == {"3"}


def test_several_samples_of_a_problem_are_one_mark(folders, tmp_path):
    file = "cells/chained.second.direct.none.json"
    for folder in folders:
        rows = cell_rows(4, 1, "none") + [row | {"sample": 1} for row in cell_rows(2, 1, "none")]
        names = {"data": "chained", "solver": "second", "strategy": "direct", "decomposer": "none"}
        write_json(folder / file, {"fingerprint": "", **names, "rows": rows})
    assert main([str(folder) for folder in folders]) == 0
    (row,) = (row for row in read(tmp_path / "replicates.csv") if row["solver"] == "second")
    assert (row["problems"], float(row["accuracy"])) == ("10", pytest.approx(0.3))


def test_one_seed_has_no_interval_over_seeds(folders, tmp_path):
    assert main([str(folders[0])]) == 0
    rows = read(tmp_path / "replicates.csv")
    assert {(row["seeds"], row["seed_low"], row["seed_high"]) for row in rows} == {("1", "", "")}
    assert all(row["low"] < row["accuracy"] < row["high"] or row["accuracy"] == "1.0" for row in rows)


def test_the_picture_has_a_row_a_cell_and_both_intervals(folders, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.extend(figure.axes))
    assert main([str(folder) for folder in folders]) == 0
    (axis,) = drawn
    assert [text.get_text() for text in axis.get_yticklabels()] == [
        "tiny, direct · none", "tiny, daslam · ppo", "tiny, daslam · gold", "second, direct · none",
    ]  # fmt: skip
    lines = axis.get_lines()
    assert sum(line.get_alpha() is not None for line in lines) == 4, "over problems"
    assert sum(line.get_marker() == "|" for line in lines) == 2, "over seeds, where they differ"


def test_what_cannot_be_compared_is_refused_in_one_line(folders, tmp_path, capsys):
    def refused(*arguments):
        assert main([str(argument) for argument in arguments]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert f"'{tmp_path}/empty' has no cells/*.json" in refused(folders[0], tmp_path / "empty")
    assert f"'{folders[0]}' is given twice" in refused(folders[0], folders[1], folders[0])
    assert "is a file" in refused(folders[0], "--out", tmp_path / "file")
    cell = folders[1] / "cells" / "chained.tiny.daslam.ppo.json"
    names = {"data": "chained", "solver": "tiny", "strategy": "daslam", "decomposer": "ppo"}
    write_json(cell, {"fingerprint": "", **names, "rows": cell_rows(5, 2, "ppo")[:9]})
    assert f"'{folders[1]}' has other problems in the cell chained.tiny.daslam.ppo" in refused(*folders)
    cell.unlink()
    assert f"'{folders[1]}' lacks the cell chained.tiny.daslam.ppo, which another has" in refused(*folders)
    assert "lacks the cell" in refused(folders[1], folders[0]), "whichever comes first"
    assert not list(tmp_path.glob("replicates*"))
