"""The measure of the structure, on a checkout small enough to count by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.structure import Structure, cycles, layers, lines_of_code, measure, table

FILES = {
    "trainer/__init__.py": "import trainer.run\n",
    "trainer/run.py": '"""Runs."""\nfrom trainer import learner\nfrom trainer.losses import loss\nimport torch\n',
    "trainer/learner/__init__.py": "",
    "trainer/learner/step.py": "from trainer.losses import loss\nfrom trainer.learner import state\n",
    "trainer/learner/state.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import launch.train\n"
        "def state():\n    from trainer.learner.step import Step\n    return Step\n"
    ),
    "trainer/losses.py": "def loss():\n    from rollout.records import Record\n    return Record\n",
    "rollout/records.py": "import rewards.answers\n\n\nclass Record:\n    pass\n",
    "rewards/answers.py": "import json\n",
}


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Structure]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {one.name: one for one in measure(tmp_path)}


def test_a_package_is_measured_by_its_units(found):
    one = found["trainer"]
    assert (one.files, one.units, one.arrows, one.layers) == (6, 3, 3, 3)
    assert found["conf"] == Structure("conf", 0, 0, 0, 0, 0, [], [])


def test_upward_imports_and_cycles_are_named(found):
    assert found["rollout"].upward == found["all"].upward == ["rollout.records -> rewards.answers"]
    assert found["rewards"].upward == found["trainer"].upward == []
    assert found["all"].cycles == [["trainer.learner.state", "trainer.learner.step"]]


def test_all_packages_together_have_the_arrows_between_them(found):
    one = found["all"]
    assert (one.files, one.lines, one.units, one.arrows, one.layers) == (8, 19, 5, 5, 5)


def test_the_table_has_a_row_a_package_and_names_what_is_wrong(found):
    rows = table(list(found.values())).splitlines()
    assert [row.split()[0] for row in rows[:7]] == ["package", "launch", "trainer", "rewards", "rollout", "conf", "all"]
    assert rows[7:] == [
        "upward: rollout.records -> rewards.answers",
        "cycle: trainer.learner.state <-> trainer.learner.step",
    ]


def test_blank_lines_comments_and_docstrings_are_no_code():
    module = '"""A module.\n\nOf three lines."""\n\n# why\nX = """two\nlines"""\n'
    function = 'def f():\n    """Do."""\n\n    return 1  # one\n'
    assert lines_of_code(module + function) == 4


def test_a_cycle_counts_as_one_layer():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": set()}
    assert cycles(graph) == [["b", "c"]]
    assert layers(graph) == 3
