"""The commands for GPUs that README and requirements/gpu-hint.sh give: each fits what it is for, and is refused in a
line on less."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from conf.schema.places import ROOT
from launch.compose import compose
from trainer.cluster.placement import Node, shortage

GPUS = {"gpu1": 1, "gpu2": 2, "gpu8": 8}


def printed(folder: Path, gpus: int) -> str:
    """What the hint prints on a machine with so many GPUs."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo 'GPU {i}: NVIDIA (UUID: GPU-{i})'\n" for i in range(gpus)))
    program.chmod(0o755)
    command = [ROOT / "requirements" / "gpu-hint.sh", "requirements/cpu.lock"]
    environment = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def overrides(text: str) -> list[list[str]]:
    """The overrides of the commands in a text, for the CUDA lock."""
    return [found.split() for found in re.findall(r'LOCK=requirements/cuda\.lock ARGS="([^"]*)"', text)]


@pytest.mark.parametrize(("gpus", "layout"), [(1, "gpu1"), (2, "gpu2"), (4, "gpu2"), (8, "gpu8"), (10, "gpu8")])
def test_the_hint_gives_a_command_that_fits_the_machine(tmp_path, gpus, layout):
    (given,) = overrides(printed(tmp_path, gpus))
    assert given == [f"cluster={layout}"]
    assert shortage(compose(given), [Node(16, gpus)]) is None


def test_without_a_gpu_there_is_no_hint(tmp_path):
    assert printed(tmp_path, 0) == ""


def test_readme_has_a_command_for_one_two_and_eight_gpus():
    given = overrides((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [f"cluster={layout}" for layout in GPUS] == [one[0] for one in given]


@pytest.mark.parametrize(("layout", "gpus"), GPUS.items())
def test_on_fewer_gpus_it_is_refused_in_a_line(layout, gpus):
    config = compose([f"cluster={layout}"])
    assert shortage(config, [Node(16, gpus)], "this machine") is None
    missing = shortage(config, [Node(16, gpus - 1)], "this machine")
    assert re.fullmatch(rf"GPU: .*this machine has {gpus - 1}", missing), missing


@pytest.mark.parametrize("layout", GPUS)
def test_engines_and_learner_compute_in_one_type(layout):
    config = compose([f"cluster={layout}"])
    assert (config.learner.dtype, config.policy_dtype, config.solver.dtype) == ("bfloat16",) * 3
    assert config.cluster.address is None
