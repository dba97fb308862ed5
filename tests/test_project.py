"""The project's frame: what commands call, what its pages name, and what must not be in its files."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import yaml

from conf.schema.config import Config
from conf.schema.places import CONF, PACKAGES, ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*PAGES, ROOT / "Makefile", ROOT / "setup.cfg", *sorted(CONF.rglob("*.yaml"))]
CODE = [path for folder in (*PACKAGES, "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
PATH = re.compile(
    rf"(?<![\w./-])(?:{'|'.join((*PACKAGES, 'benchmarks', 'docs', 'requirements', 'tests'))})/[\w./*-]*\w"
)
DOTTED = r"(?:conf|launch|rewards|rollout|trainer|benchmarks|tests)(?:\.\w+)+"


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def text_of(path: Path) -> str:
    """A file's text; of the changelog's tables, the column of new names."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^\|[^|]*\|", "|", text, flags=re.MULTILINE) if path.name == "CHANGELOG.md" else text


def is_module(name: str) -> bool:
    """Whether a dotted name is a module, or a name that stands in one."""
    for parts in (name.split("."), name.split(".")[:-1]):
        path = ROOT.joinpath(*parts)
        if path.is_dir() and parts == name.split("."):
            return True
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.is_file():
            attribute = name.removeprefix(".".join(parts)).lstrip(".")
            return re.search(rf"\b{attribute}\b", file.read_text(encoding="utf-8")) is not None
    return False


def is_key(name: str) -> bool:
    """Whether a dotted name begins with a key of a group; groups and packages share names."""
    group, key, *_ = name.split(".")
    return group in Config.model_fields and key in getattr(Config.model_fields[group].annotation, "model_fields", {})


def anchors(path: Path) -> set[str]:
    """What a page's headings are linked by."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_page_of_the_architecture_shows_the_layers_that_the_imports_are_held_to():
    rules = configparser.ConfigParser(interpolation=None)
    rules.read(ROOT / "setup.cfg", encoding="utf-8")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown: dict[str, list[str]] = {}
    package = ""
    for line in page.split("```")[1].splitlines():
        package = line[:11].strip() or package
        # Names have up to three spaces between them; more come before the words about them.
        shown.setdefault(package, []).extend(re.split(r" {4,}", line[11:])[0].split())
    for name in ("launch", "trainer", "rewards", "rollout"):
        layers = rules[f"importlinter:contract:{name}"]["layers"].strip().splitlines()
        layer = {module: place for place, line in enumerate(layers) for module in re.findall(r"\w+", line)}
        assert sorted(shown[name]) == sorted(layer), name
        assert shown[name] == sorted(shown[name], key=layer.__getitem__), name


def test_continuous_integration_runs_the_readmes_test_command():
    assert "make test" in (ROOT / "README.md").read_text()
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_the_hooks_before_a_commit_are_the_checks_of_make():
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    checks = re.findall(r"\$\(BIN\)/(.*)", recipe)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [check.split()[0] for check in checks] == [hook["entry"].split()[0].split("/")[-1] for hook in hooks]


def test_locks_are_pinned_and_leave_out_what_breaks_a_cpu_torch():
    for name in ("cpu", "cuda"):
        lines = [
            line
            for line in (ROOT / "requirements" / f"{name}.lock").read_text().splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        ]
        assert all(re.match(r"^[a-z0-9_.-]+==[^ ]+", line) for line in lines)
        names = {line.split("==")[0] for line in lines}
        assert names.isdisjoint({"torchvision", "torchaudio", "torchcodec"})
        assert {"ray", "torch", "deepspeed", "transformers", "wandb", "hydra-core"} <= names


def test_the_paths_that_texts_name_are_there():
    found = [(path, name) for path in (*TEXTS, *CODE) for name in PATH.findall(text_of(path))]
    # A word in capitals stands for a name.
    named = [(path, name) for path, name in found if not re.search(r"/[A-Z]+(\.|/|$)", name)]
    assert [f"{path.relative_to(ROOT)}: {name}" for path, name in named if not any(ROOT.glob(name))] == []


def test_the_modules_that_texts_name_are_there():
    # In code, the names between double backticks: the interpreter and mypy look up the others.
    patterns = {".py": f"``({DOTTED})``"}
    found = [
        (path, name)
        for path in (*TEXTS, *CODE)
        for name in re.findall(patterns.get(path.suffix, rf"(?<![\w./-])({DOTTED})"), text_of(path))
    ]
    assert len(found) > 100
    assert [f"{path.relative_to(ROOT)}: {name}" for path, name in found if not (is_module(name) or is_key(name))] == []


def test_programs_in_strings_import_what_is_there():
    tests = sorted(set((ROOT / "tests").rglob("*.py")) - {ROOT / "tests" / "benchmarks" / "test_structure.py"})
    pattern = re.compile(rf"^\s*from ({DOTTED}) import (\w+)", re.MULTILINE)
    found = [(path, ".".join(names)) for path in (*CODE, *tests) for names in pattern.findall(path.read_text())]
    assert [f"{path.relative_to(ROOT)}: {name}" for path, name in found if not is_module(name)] == []


def test_the_commands_that_texts_name_can_be_run():
    found = {name for path in (*TEXTS, *CODE) for name in re.findall(rf"python -m ({DOTTED})", text_of(path))}
    assert {"launch.train", "launch.ask", "benchmarks.structure"} <= found
    for name in found:
        module = ROOT.joinpath(*name.split("."))
        file = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
        assert '\nif __name__ == "__main__":' in file.read_text(encoding="utf-8"), name


def test_the_links_of_pages_lead_somewhere():
    broken = []
    for path in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            found = target.is_file() and anchor in anchors(target) if anchor else target.exists()
            if not found and not link.startswith(("http://", "https://")):
                broken.append(f"{path.relative_to(ROOT)}: {link}")
    assert broken == []


def test_no_module_is_too_long_to_read():
    for name in tracked():
        if name.endswith(".py"):
            assert len((ROOT / name).read_text().splitlines()) <= 400, name


def test_losses_and_advantages_import_only_torch():
    for name in ("losses", "advantages"):
        text = (ROOT / "trainer" / "algorithm" / f"{name}.py").read_text()
        imported = re.findall(r"^(?:from|import) ([\w.]+)", text, re.MULTILINE)
        assert set(imported) <= {"__future__", "torch"}


def test_reading_a_strategy_or_a_reward_needs_no_ray_vllm_or_deepspeed():
    code = (
        "import sys, rollout.strategies, rewards.total, trainer.algorithm.losses, trainer.algorithm.staleness, "
        "rollout.data.source;"
        "print([name for name in ('ray', 'vllm', 'deepspeed') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
