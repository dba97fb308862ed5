"""The pages on launching say what is: the reference is the schema's, and their commands are taken."""

from __future__ import annotations

import csv
import itertools
import re
import shlex

import pytest

from benchmarks import simulate_scale
from conf.schema.config import Config
from conf.schema.keys import group_in, members
from conf.schema.places import CONF, ROOT
from conf.schema.solver import BACKENDS
from launch.check_sweep import check_sweep
from launch.compose import compose, first_trial
from launch.configuration import PAGE, page
from launch.evaluate.cells import cells
from launch.submit.job_request import prepare
from trainer.tracking.statistics import mean_over_seeds

LAUNCHING = (ROOT / "docs" / "launching.md").read_text()
# Lines that end in a backslash go on.
COMMANDS = re.findall(
    r"^(?:RAY_AUTH_MODE.*-- )?python -m launch\.(?:train|plan|submit) (?:.*\\\n)*.*", LAUNCHING, re.MULTILINE
)
FINE_TUNING = re.findall(
    r"^python -m launch\.(?:train|sft) (?:.*\\\n)*.*", (ROOT / "docs" / "sft.md").read_text(), re.MULTILINE
)
COMPARISONS = re.findall(
    r"`python -m launch\.((?:train|sft) [^`]*)`", (ROOT / "docs" / "results_chained.md").read_text(encoding="utf-8")
)


# Of the pages on data sets and on solvers: commands that compose a configuration.
OWN = [
    command
    for name in ("data", "solvers")
    for command in re.findall(
        r"^python -m launch\.(?:train|evaluate|sft) (?:.*\\\n)*.*",
        (ROOT / "docs" / f"{name}.md").read_text(),
        re.MULTILINE,
    )
]


OTHERS = [
    command.replace("\\\n", " ")
    for name in ("README", "docs/studies", "docs/task", "docs/strategies", "docs/rewards", "docs/learning")
    for command in re.findall(
        r"^python -m launch\.(?:train|evaluate|sft|gate) (?:.*\\\n)*.*", (ROOT / f"{name}.md").read_text(), re.MULTILINE
    )
]


def test_the_configuration_reference_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m launch.configuration"


def test_the_configuration_reference_has_every_key():
    text = page()
    for name, field in Config.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            assert f"| `{key}` |" in text, f"{name}.{key}"


def groups(annotation: object) -> set[type]:
    """All groups of the schema below a type, itself included."""
    own = {member for member in members(annotation) if hasattr(member, "model_fields")}
    inner = [group_in(field.annotation) for group in own for field in group.model_fields.values()]
    return own.union(*(groups(one) for one in inner if one is not None))


def test_every_key_of_the_schema_has_a_meaning_of_one_clause():
    found = groups(Config) | set(BACKENDS.values())
    assert {"Config", "Lora", "OpenAISolver", "SftSource", "LeftOut", "Weights"} <= {group.__name__ for group in found}
    for group in found:
        for name, field in group.model_fields.items():
            if group is Config and group_in(field.annotation) is not None:
                continue  # a section of its own
            said = field.description or ""
            assert re.fullmatch(r"[^.]\S.*\.", said, re.DOTALL), f"{group.__name__}.{name}: {said!r}"


def test_every_row_of_the_configuration_reference_says_what_the_key_means():
    rows = [line.split(" | ") for line in page().splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    assert [row[0] for row in rows if len(row) != 4 or not row[1][:1].strip()] == []


def test_the_comment_of_every_option_stands_whole_in_the_reference():
    text = page()
    for file in sorted(CONF.glob("*/*.yaml")):
        comment = itertools.takewhile(lambda line: line.startswith("#"), file.read_text().splitlines())
        said = [line.lstrip("# ") for line in comment if "@package" not in line]
        (line,) = [line for line in text.splitlines() if line.startswith(f"- `{file.parent.name}={file.stem}`: ")]
        assert all(part in line for part in said), line
        assert line.endswith((".", "?", "`", ")")), line


def test_the_table_of_a_matrix_has_its_pairs_beside_it():
    studies = ROOT / "docs" / "studies"
    heads = {path.stem: path.read_text().partition("\n")[0] for path in studies.glob("*.csv")}
    matrices = {name for name, head in heads.items() if "p_baseline" in head}
    pairs = {name.removesuffix("_pairs") for name, head in heads.items() if "p_holm" in head}
    # The page says that those of the oldest are lost.
    assert pairs == matrices - {"matrix"}


@pytest.mark.parametrize("study", ["staleness", "algorithms", "leak"])
def test_the_intervals_over_seeds_are_those_of_the_trials(study):
    studies = ROOT / "docs" / "studies"
    seeds: dict[tuple[str, ...], list[float]] = {}
    with (studies / f"{study}.csv").open() as file:
        for row in csv.DictReader(file):
            setting = tuple(row.values())[: list(row).index("seed")]
            seeds.setdefault(setting, []).append(float(row["accuracy"]))
    page = studies.with_suffix(".md").read_text()
    for values in seeds.values():
        over = mean_over_seeds(values, share=True)
        assert re.search(rf"\| {over.mean:.3f} [^|]*\| {over.low:.3f} – {over.high:.3f} \|", page), values


@pytest.mark.parametrize("command", COMPARISONS)
def test_the_commands_of_the_page_on_results_are_taken(command):
    name, *words = shlex.split(re.sub(r"start_from=\S+", "start_from=package:tiny_decomposer", command))
    overrides = [word for word in words if word != "-m"]
    alone = ["stages=[sft]"] if name == "sft" else []
    compose(first_trial(["-m", *alone, *overrides]))


@pytest.mark.parametrize("command", FINE_TUNING)
def test_the_commands_of_the_page_on_fine_tuning_are_taken(command, tmp_path):
    (tmp_path / "strategyqa").mkdir()
    for name in ("strategyqa/train.jsonl", "strategyqa/dev.jsonl", "teacher.jsonl"):
        (tmp_path / name).write_text("{}\n")
    for name in ("train", "test"):
        (tmp_path / "gsm8k_socratic").mkdir(exist_ok=True)
        (tmp_path / "gsm8k_socratic" / f"{name}.jsonl").write_text("{}\n")
    command = re.sub(r"start_from=\S+", "start_from=package:tiny_decomposer", command.replace("\\\n", " "))
    command = command.replace("FOLDER", str(tmp_path)).replace("FILE", str(tmp_path / "teacher.jsonl"))
    words = [word for word in shlex.split(command, comments=True) if "=" in word]
    assert words or command.startswith("python -m launch.sft ")
    alone = ["stages=[sft]"] if "launch.sft" in command else []
    compose([*alone, *words, "model.path=package:tiny_decomposer"])


@pytest.mark.parametrize("command", OWN)
def test_the_commands_of_the_pages_on_data_and_solvers_are_taken(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What the pages speak of: a data set, a file, Gemma where it is fetched to, a folder with the YAML that is shown.
    for name in ("gsm8k", "gsm8k_socratic"):
        (tmp_path / name).mkdir()
    for name in ("gsm8k_socratic/train.jsonl", "gsm8k/test.jsonl", "mine.jsonl"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "gemma-3-270m").symlink_to(ROOT / "rollout" / "assets" / "tiny_solver")
    shown = re.search(r"```yaml\n# (my_conf/\S+)\n(.*?)```", (ROOT / "docs" / "solvers.md").read_text(), re.DOTALL)
    assert shown is not None
    own = tmp_path / shown[1]
    own.parent.mkdir(parents=True)
    own.write_text(shown[2])
    command = command.replace("\\\n", " ").replace("RUN_DIR/checkpoints/ppo", "package:tiny_decomposer")
    for name, path in (("DECOMPOSER_FOLDER", "package:tiny_decomposer"), ("SOLVER_FOLDER", "package:tiny_solver")):
        command = command.replace(name, path)
    command = command.replace("FOLDER", str(tmp_path)).replace("FILE", str(tmp_path / "mine.jsonl"))
    _, _, module, *words = shlex.split(command, comments=True)
    compose([*(["stages=[evaluate]"] if module == "launch.evaluate" else []), *words])


@pytest.mark.parametrize("command", OTHERS)
def test_the_commands_of_other_pages_are_taken(command, tmp_path, monkeypatch):
    """A matrix's are taken cell by cell, as before it runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "FOLDER"))
    # What the pages speak of: runs, models, files, and a folder that is now a model and now has data sets.
    model = ROOT / "rollout" / "assets" / "tiny_decomposer"
    forms = itertools.product(("daslam", "interleaved", "lm2", "lm2_no_concepts"), range(3))
    trained = [f"runs/one_at_a_time/strategy={form},seed={seed}" for form, seed in forms]
    trained += [f"FOLDER/start/seed={seed},rewards=outcome" for seed in range(5)]
    for folder in ("RUN_DIR", "TRIAL", "runs/solver", "runs/decomposer", *trained):
        (tmp_path / folder / "checkpoints").mkdir(parents=True)
        for stage in ("sft", "ppo"):
            (tmp_path / folder / "checkpoints" / stage).symlink_to(model)
    (tmp_path / "models").mkdir()
    for name in ("models/gemma-3-270m", "models/tiny_monolith", "DECOMPOSER_FOLDER", "SOLVER_FOLDER"):
        (tmp_path / name).symlink_to(model)
    for file in model.iterdir():
        (tmp_path / "FOLDER" / file.name).symlink_to(file)
    sets = [f"FOLDER/{name}/{split}.jsonl" for name in ("gsm8k", "gsm8k_socratic") for split in ("train", "test")]
    for name in (*sets, "FILE", "worked.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}\n")
    words = [word for word in shlex.split(command, comments=True)[3:] if word != "..."]
    if any(word.startswith("matrix=") for word in words):
        assert cells(compose([*words, "stages=[evaluate]"]), words)
    elif "-m" in words:
        check_sweep(["-m", *(word for word in words if "=" in word and not word.startswith("hydra"))])
    else:
        alone = {"launch.sft": ["stages=[sft]"], "launch.evaluate": ["stages=[evaluate]"]}
        compose([*alone.get(command.split()[2], []), *words])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_on_launching_are_taken(command, tmp_path):
    (tmp_path / "problems.jsonl").write_text("{}\n")
    command = re.sub(r"start_from=\S+", "start_from=package:tiny_decomposer", command.replace("\\\n", " "))
    command = command.replace("/shared/problems.jsonl", f"{tmp_path}/problems.jsonl")
    words = shlex.split(command.partition(" #")[0])
    overrides = [word for word in words if "=" in word and not word.startswith(("RAY_", "hydra", "http"))]
    if "launch.submit" in words:
        assert prepare(overrides)[0].cluster.address == "auto"
    elif words.count("-m") > 1:  # the first is Python's
        check_sweep(["-m", *overrides])
    else:
        check_sweep(overrides)


def test_the_page_on_scaling_has_room_for_a_new_table():
    text = simulate_scale.PAGE.read_text(encoding="utf-8")
    made = simulate_scale.page(text, "| workers | new |", "On a quiet machine.")
    before, after = text.split("| workers |")
    assert made.startswith(f"{before}| workers | new |\n\nOn a quiet machine.\n\nThe same command with `--write`")
    assert made.endswith(after.partition("The same command")[2])
    for workers in (8, 64, 256):
        assert f"\n| {workers} |" in text
