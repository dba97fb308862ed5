"""A wheel of the project works away from the checkout."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from conf.schema.places import PACKAGES, ROOT
from launch.compose import compose
from trainer.cluster import ray_cluster


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the project's wheel and, from the lock's environment, everything else."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in names.stdout.decode().splitlines():
        # Built from a copy: setuptools leaves a folder behind, and takes what an earlier one holds.
        if name.startswith(PACKAGES) or name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), "./source"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    site = folder / "venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (site / "lock.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = folder.glob("*.whl")
    install = [*pip, "--python", str(python), "install", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    return python


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an interpreter in a folder that is not the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([python, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_an_installed_package_has_its_modules_and_files(installed, tmp_path):
    code = """
import argparse, json
import launch.train, rewards.total, rollout.worker, trainer.run
from conf.schema.places import ASSETS, CHECKOUT, CONF, ROOT
from launch.submit.job_request import runtime_env
from trainer.run_folder.code_version import code_version

packed = runtime_env(argparse.Namespace(env=[], image=None, runtime_env=None))
files = [path for folder in (CONF, ASSETS) for path in folder.rglob("*") if path.is_file()]
print(json.dumps({
    "root": packed["working_dir"],
    "checkout": CHECKOUT,
    "packed": sorted(path.name for path in ROOT.iterdir() if f"/{path.name}" not in packed["excludes"]),
    "files": sorted(str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"),
    "code": code_version(),
}))
"""
    done = run(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    site = Path(found["root"])
    assert (site.name, site.is_relative_to(installed.parents[1]), found["checkout"]) == ("site-packages", True, False)
    assert set(found["packed"]) - {"__pycache__"} == set(PACKAGES)
    ours = [path for folder in ("conf", "rollout/assets") for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert found["files"] == sorted(str(path.relative_to(ROOT)) for path in ours if path.suffix != ".pyc")
    assert found["code"] == importlib_version(site)


def importlib_version(site: Path) -> str:
    """The version that a distribution in this folder says it has."""
    (found,) = importlib.metadata.distributions(name="decomposer-rl", path=[str(site)])
    return found.version


def test_the_commands_of_an_installed_package_find_their_configuration(installed, tmp_path):
    composed = run(installed, tmp_path, "-m", "launch.train", "--cfg", "job", "strategy=independent")
    assert composed.returncode == 0, composed.stderr
    assert "solver: package:tiny_branched_solver" in composed.stdout
    planned = run(installed, tmp_path, "-m", "launch.plan")
    assert planned.returncode == 0, planned.stderr
    assert "reserved" in planned.stdout
    page = run(installed, tmp_path, "-m", "launch.configuration")
    assert (page.returncode, page.stdout) == (2, "")
    assert page.stderr.splitlines() == ["docs/configuration.md is in a checkout alone; this project is installed"]


@pytest.mark.parametrize("checkout", [True, False])
def test_workers_search_the_checkout_and_the_users_folders_and_find_what_is_installed_themselves(
    monkeypatch, checkout, tmp_path
):
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(ray_cluster, "CHECKOUT", checkout)
    monkeypatch.setattr(
        "sys.path", [str(tmp_path), str(tmp_path / "absent"), *map(sysconfig.get_path, ("stdlib", "purelib"))]
    )
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **given: started.append(given))
    monkeypatch.setattr(ray_cluster, "note_processes", lambda config: None)
    ray_cluster.start_ray(compose([]))
    searched = started[0]["runtime_env"]["env_vars"]["PYTHONPATH"].split(os.pathsep)
    assert searched == [*([str(ROOT)] if checkout else []), str(tmp_path)]
