"""The project declares what it imports, no more and no less, and the locks are made from that."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from functools import cache

import pytest

from conf.schema.places import PACKAGES, ROOT
from launch.required_packages import MODULES

OURS = {*PACKAGES, "benchmarks", "tests"}
# Packages that the code does not import; why they are declared.
LOADED_BY_OTHERS = {
    "accelerate": "peft",
    "gguf": "transformers, to read the file that launch.get_gemma fetches",
    "hydra-optuna-sweeper": "Hydra, for sweep=search",
    "jinja2": "transformers, for chat templates",
    "spacy": "the English model, which is made for this version",
}
COMMANDS = {"import-linter", "mypy", "pandas-stubs", "pytest-timeout", "ruff"}


@cache
def imported(folders: tuple[str, ...]) -> set[str]:
    """The distributions whose modules the Python files below these folders import, anywhere in a file."""
    found: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    known = importlib.metadata.packages_distributions()
    # A package that is not installed is called like its distribution.
    return {plain(known.get(name, [name])[0]) for name in found - set(sys.stdlib_module_names) - OURS}


def plain(requirement: str) -> str:
    """The name in a requirement, as registries compare names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


@pytest.fixture(scope="module")
def declared() -> dict[str, set[str]]:
    """The names in setup.cfg: what is always installed under "", then each extra's."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    extras = dict(parser["options.extras_require"]) | {"": parser["options"]["install_requires"]}
    return {name: {plain(line) for line in text.strip().splitlines()} for name, text in extras.items()}


def test_what_the_code_imports_is_declared_and_nothing_else(declared):
    optional = declared["cpu"] | declared["cuda"] | declared["hub"] | declared["sentences"]
    code = imported(PACKAGES)
    assert code - declared[""] <= optional
    assert declared[""] - code == LOADED_BY_OTHERS.keys() - code


def test_what_is_looked_for_before_a_run_is_what_is_declared(declared):
    known = importlib.metadata.packages_distributions()
    # A search alone needs the sweeper, and Hydra says so.
    assert {plain(known[name][0]) for name in MODULES if name != "vllm"} == declared[""] - {"hydra-optuna-sweeper"}


def test_the_tests_declare_what_they_alone_import(declared):
    assert declared["test"] == (imported(("tests", "benchmarks")) - imported(PACKAGES)) | COMMANDS


def test_the_locks_are_made_from_what_is_declared(declared):
    files = {
        name: [line for line in (ROOT / "requirements" / f"{name}.in").read_text().splitlines() if line.strip()]
        for name in ("base", "cpu", "cuda")
    }
    tests = files["base"].index("# tests and checks")
    sections = files["base"][:tests], files["base"][tests:]
    base, test = ({plain(line) for line in lines if not line.startswith("#")} for lines in sections)
    assert test == declared["test"]
    for device in ("cpu", "cuda"):
        own = {plain(line) for line in files[device] if not line.startswith("-r")}
        assert base | own == declared[""] | declared[device]


def test_setting_up_has_vllm_keep_what_each_shipped_model_can_do():
    shipped = {
        name
        for file in (ROOT / "rollout" / "assets").glob("*/config.json")
        for name in json.loads(file.read_text(encoding="utf-8")).get("architectures", [])
    }
    assert shipped == set(runpy.run_path(str(ROOT / "requirements" / "warm.py"))["ARCHITECTURES"])


@pytest.mark.parametrize(
    ("installed", "given", "lock"),
    [
        (None, [], "cpu"),
        ("cuda", [], "cuda"),
        ("cuda", ["LOCK=requirements/cpu.lock"], "cpu"),
        ("of_a_checkout_before", [], "cpu"),
    ],
)
def test_an_environment_keeps_its_lock(tmp_path, installed, given, lock):
    """A plain make after ``make LOCK=requirements/cuda.lock`` must not install the CPU's packages over CUDA's."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for file in ("requirements/cpu.lock", "requirements/cuda.lock", f".venv/installed-{installed}.lock"):
        if "None" not in file:
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
    command = ["make", "--eval", "show: ; @echo $(LOCK)", "show", *given]
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCK", "MAKEFLAGS", "MAKELEVEL")}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == f"requirements/{lock}.lock\n"
