"""The pictures and tables of results, made again from what is kept."""

from __future__ import annotations

import re
import shutil

import pytest

from benchmarks.figures.__main__ import TABLES, main, put
from benchmarks.figures.pictures import PICTURES, draw
from conf.schema.places import ROOT

STUDIES = ROOT / "docs" / "studies"


@pytest.fixture
def copy(tmp_path):
    """A copy of the pages and of the tables, without the pictures."""
    shutil.copytree(STUDIES, tmp_path / "docs" / "studies", ignore=shutil.ignore_patterns("*.png"))
    for name in TABLES:
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_command_writes_all_pictures_and_leaves_the_tables_as_they_are(copy):
    from matplotlib.image import imread

    assert main(["--root", str(copy)]) == 0
    for name in TABLES:
        assert (copy / name).read_text() == (ROOT / name).read_text(), f"{name}: run make figures"
    for table in STUDIES.glob("*.csv"):
        assert (copy / "docs" / "studies" / table.name).read_bytes() == table.read_bytes()
    shown = set(re.findall(r"\(studies/(\w+\.png)\)", (ROOT / "docs" / "studies.md").read_text()))
    assert shown == {file.name for file in STUDIES.glob("*.png")} == set(PICTURES)
    for name in shown:
        made, kept = imread(copy / "docs" / "studies" / name), imread(STUDIES / name)
        assert made.shape == kept.shape, f"{name}: run make figures"
        # The renderer may round a pixel otherwise on another machine; a dot that moves changes about a hundred.
        assert (abs(made - kept) > 0.25).any(axis=2).sum() < 20, f"{name}: run make figures"


def test_a_figure_that_was_changed_by_hand_is_put_right(copy):
    page = copy / "docs" / "studies.md"
    right = page.read_text()
    page.write_text(
        right.replace("| 0.840 [0.805, 0.870] | 0.817 – 0.863 |", "| 0.890 [0.805, 0.870] | 0.817 – 0.863 |")
    )
    assert page.read_text() != right
    for rows in TABLES["docs/studies.md"]:
        page.write_text(put(page.read_text(), rows(copy / "docs" / "studies")))
    assert page.read_text() == right


def test_a_page_must_hold_exactly_one_table_of_these_columns():
    rows = [{"seed": "0", "accuracy": "0.5"}, {"seed": "1", "accuracy": ""}]
    table = "| seed | accuracy |\n|---|---|\n| 0 | 0.4 |\n"
    assert put(f"Text.\n\n{table}\nMore.\n", rows) == (
        "Text.\n\n| seed | accuracy |\n|---|---|\n| 0 | 0.5 |\n| 1 | |\n\nMore.\n"
    )
    for text, count in (("Text.\n", 0), (f"{table}\n{table}", 2)):
        with pytest.raises(ValueError, match=f"found {count}: "):
            put(text, rows)


def test_a_table_of_several_seeds_is_drawn_as_its_command_draws_it(tmp_path):
    head = "data,solver,strategy,decomposer,problems,accuracy,low,high,seed_low,seed_high,lowest,highest,seeds"
    lines = ["chained,second,direct,none,500,0.0,0.0,0.01,,,0.0,0.0,3",
             "chained,second,daslam,whole,500,0.42,0.38,0.46,0.40,0.44,0.41,0.43,3"]  # fmt: skip
    (tmp_path / "replicates.csv").write_text("\n".join([head, *lines, ""]))
    draw(tmp_path / "replicates.csv", tmp_path / "forms.png")
    assert (tmp_path / "forms.png").stat().st_size > 1000
