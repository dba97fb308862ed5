"""The page on GPUs: its commands fit what they are for, and are refused in a line where they do not."""

from __future__ import annotations

import re
import shlex

import pytest

from benchmarks.gpu.__main__ import PARTS
from conf.schema.places import ROOT
from launch import plan

PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
PLANS = [shlex.split(line)[3:] for line in re.findall(r"^python -m launch\.plan .*", PAGE, re.MULTILINE)]
LAYOUTS = dict(re.findall(r'^\| (\d) \| `make .* ARGS="cluster=(\w+)"` \|', PAGE, re.MULTILINE))


def texts() -> dict[str, str]:
    """The pages that give a command for machines with GPUs."""
    files = {"README.md": ROOT / "README.md", "launching.md": ROOT / "docs" / "launching.md"}
    return {name: file.read_text(encoding="utf-8") for name, file in files.items()} | {"gpu.md": PAGE}


def test_all_pages_give_the_same_layouts():
    assert LAYOUTS == {"1": "gpu1", "2": "gpu2", "8": "gpu8"}
    for name, text in texts().items():
        assert all(layout in text for layout in LAYOUTS.values()), name


@pytest.mark.parametrize("arguments", PLANS, ids=" ".join)
def test_the_plans_of_the_page_fit(arguments, capsys):
    assert plan.main(arguments) == 0, capsys.readouterr().err


@pytest.mark.parametrize(("gpus", "layout"), LAYOUTS.items())
def test_on_fewer_gpus_each_command_is_refused_in_a_line(gpus, layout, capsys):
    assert plan.main([f"cluster={layout}", "cluster.gpu_gib=80"]) == 0
    capsys.readouterr()
    assert plan.main([f"cluster={layout}", f"cluster.gpus_per_node={int(gpus) - 1}"]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(
        rf"GPU: the configuration wants {gpus} \(.*\), the described cluster has {int(gpus) - 1}\n", said
    )


def test_on_gpus_that_are_too_small_it_is_refused_in_a_line(capsys):
    for layout in LAYOUTS.values():
        assert plan.main(["--model", "7b", "--solver", "14b", f"cluster={layout}", "cluster.gpu_gib=24"]) == 2
        said = capsys.readouterr().err
        assert re.fullmatch(r"GPU memory: .*\n", said), said


def test_the_refusals_that_the_page_shows_are_the_plans(capsys):
    shown = re.findall(r"^GPU.*: .*$", PAGE, re.MULTILINE)
    assert len(shown) == 2
    assert plan.main(["cluster=gpu2", "cluster.gpus_per_node=1"]) == 2
    assert plan.main(["cluster=gpu1", "--model", "7b", "--solver", "7b", "cluster.gpu_gib=24"]) == 2
    assert capsys.readouterr().err.splitlines() == shown


def test_the_page_names_every_part_of_the_kit():
    assert re.findall(r"^\| `(\w+)` \| ", PAGE, re.MULTILINE)[: len(PARTS)] == [part.name for part in PARTS]
