"""Folders of the user's own YAML, what is offered for a name that is unknown, and layouts beside solvers."""

from __future__ import annotations

import re

import pytest

from conf.schema.base import ConfigError
from conf.schema.places import CONF
from launch.compose import compose
from launch.options import with_own_folders
from launch.plan import main as plan
from launch.sft import with_stage
from launch.submit.job_request import prepare
from launch.trained import trained


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with an experiment and a layout, which the command is typed beside."""
    for group, name, text in (
        ("experiment", "mine", "seed: 7\n"),
        ("cluster", "two", "defaults: [ray@cluster, _self_]\nsolver: {workers: 3, gpus: 1}\n"),
    ):
        (tmp_path / "own" / group).mkdir(parents=True)
        (tmp_path / "own" / group / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own"


@pytest.mark.parametrize(
    "given",
    [["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"], ["hydra.searchpath=[own]"],
     ["+hydra.searchpath=['file://own']"]],
)  # fmt: skip
def test_a_folder_of_ones_own_is_named_in_any_of_these_ways(own, given, capsys):
    assert with_own_folders(["seed=1", *given]) == [f"hydra.searchpath=[file://{own}]", "seed=1"]
    assert compose([*given, "experiment=mine"]).seed == 7
    assert f"hydra.searchpath=[file://{own}]" in prepare([*given, "experiment=mine"])[1]
    assert trained("package:tiny_decomposer", [*given, "cluster=two"]).cluster.address == "auto"


def test_a_folder_may_have_any_name(own, tmp_path):
    own.rename(tmp_path / "my own=1 (é)")
    given = with_own_folders(["--config-dir", "my own=1 (é)", "experiment=mine"])
    assert with_own_folders(given) == given
    assert compose(given).seed == 7
    assert compose(prepare(given)[1]).seed == 7


def test_two_ways_give_one_list_and_a_folder_that_is_not_there_is_refused(own, tmp_path):
    (tmp_path / "other").mkdir()
    both = with_own_folders(["--config-dir", "own", "hydra.searchpath=[file://other,pkg://some.package]"])
    assert both == [f"hydra.searchpath=[file://{own},file://{tmp_path}/other,pkg://some.package]"]
    for given in (["--config-dir", "onw"], ["hydra.searchpath=[file://onw]"], ["--config-dir"]):
        with pytest.raises(ConfigError, match="is no folder; allowed: a folder with the groups of conf/"):
            with_own_folders(given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: daslam\nmax_tokens: [1", ", line 2: cannot be read: expected ',' or ']'"),
        ("seed: 1\nseed: 2\n", ", line 2: cannot be read: found duplicate key seed"),
        ("mode: ${foo\n", ": cannot be read: "),
        ("{true: {null: 4}}\n", ": cannot be read: "),
    ],
)
def test_a_file_that_is_not_yaml_is_refused_with_its_line(own, text, said):
    (own / "strategy").mkdir()
    file = own / "strategy" / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(f"{file}{said}")):
        compose(["--config-dir", "own", "strategy=mine"])


def test_a_file_with_a_shipped_options_name_is_refused_since_it_would_not_be_read(own):
    (own / "strategy").mkdir()
    copy = own / "strategy" / "daslam.yaml"
    copy.write_bytes((CONF / "strategy" / "daslam.yaml").read_bytes())
    assert compose(["--config-dir", "own"]).strategy == compose([]).strategy, "a copy says the same"
    copy.write_text(copy.read_text().replace("max_tokens: 96", "max_tokens: 7"))
    for given in ([], ["strategy=daslam"], ["experiment=mine"]):
        with pytest.raises(ConfigError, match=r"daslam\.yaml would not be read: strategy=daslam is a shipped option"):
            compose(["--config-dir", "own", *given])
    (own / "config.yaml").write_text("of: another project\n")
    copy.rename(own / "strategy" / "brief.yaml")
    assert compose(["--config-dir", "own", "strategy=brief"]).strategy.max_tokens == 7


@pytest.mark.parametrize("name", ["packaged.yamls", "packaged/yamls"])
def test_a_package_may_hold_the_yaml(own, monkeypatch, name):
    package = own.parent / "packaged" / "yamls"
    package.parent.mkdir()
    own.rename(package)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(own.parent)
    given = [f"hydra.searchpath=[pkg://{name}]", "experiment=mine"]
    assert compose(given).seed == 7
    assert given[0] in prepare(given)[1], "a job's nodes may have the package in another place"


def test_a_package_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"'pkg://packaged\.nowhere' is no package that can be imported; allowed: "):
        compose(["hydra.searchpath=[pkg://packaged.nowhere]"])


def test_the_plan_finds_a_folder_of_ones_own(own, capsys):
    assert plan(["--config-dir", "own", "cluster=two", "solver=program"]) == 0
    (own.parent / "other").mkdir()
    assert plan(["--config-dir", "own", "--config-dir", "other", "cluster=two", "solver=program"]) == 0
    assert plan(["--config-dir", "own", "cluster=tow"]) == 2
    assert "cluster: 'tow' is unknown (did you mean cluster=two?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("rewards.weight.x=1", "rewards.weights"),
        ("weights.correctness=1", "rewards.weights or rollout.weights"),
        ("lr=3", "sft.lr or learner.lr"),
        ("learner.batch_size=3", "algorithm.batch_size or sft.batch_size"),
        ("learner.learning_rate=1", "learner.lr"),
        ("learner.lr_rate=1", "learner.lr or learner.lr_schedule or learner.critic_lr"),
        ("max_stalenes=1", "controller.max_staleness"),
        ("solver=vlm", "solver=gemma270m or solver=independent or solver=second or solver=tiny"),
        ("solver=opnai", "solver=openai"),
        ("algorithm=gae", "algorithm=ppo"),
        ("strategy=dependancy_graph", "strategy=dependency_graph"),
        ("tracking=disabled", "tracking.wandb=disabled"),
        ("~algorithm.lamm", "algorithm.lam or algorithm.gamma"),
    ],
)
def test_the_nearest_known_names_are_offered_for_an_unknown_one(typed, offered):
    with pytest.raises(ConfigError) as error:
        compose([typed])
    assert f"(did you mean {offered}?); allowed: " in str(error.value)


def test_a_key_of_another_solver_and_a_group_that_is_added_twice_are_said_so():
    with pytest.raises(ConfigError, match=r"unknown key 'path' \(a key of solver\.backend vllm\); allowed: backend$"):
        compose(["solver=program", "solver.path=x"])
    with pytest.raises(ConfigError, match=r"^rewards: has its option already; allowed: rewards=OPTION, without \+$"):
        compose(["+rewards=paper"])


@pytest.mark.parametrize("layout", ["node8", "node8_colocated", "nodes4"])
@pytest.mark.parametrize(
    "solver",
    [["solver=openai", "solver.model=m"], ["solver=program"],
     ["solver=own", "solver.backend=rollout.solvers.program:ProgramSolver"]],
    ids=lambda texts: texts[0],
)  # fmt: skip
def test_a_layout_speaks_of_the_solver_only_where_it_has_engines(layout, solver):
    assert compose([f"cluster={layout}", *solver]).solver == compose(solver).solver
    assert compose([f"cluster={layout}", *solver]).learner.gpus_per_rank > 0


def test_a_layout_of_ones_own_is_overridden_by_what_is_typed_and_a_key_without_use_is_refused(own):
    given = ["--config-dir", "own", "cluster=two"]
    assert compose([*given, "solver.workers=5"]).solver.workers == 5
    assert compose(given).solver.workers == 3
    assert compose([*given, "solver=program"]).solver.backend == "program"
    with pytest.raises(ConfigError, match=r"solver\.workers: unknown key 'workers' .a key of solver\.backend vllm"):
        compose([*given, "solver=program", "solver.workers=5"])


def test_fine_tuning_alone_is_measured_unless_a_run_says_otherwise(tmp_path):
    folder = tmp_path / "a run"
    again = [f"run_dir='{folder}'", "resume=auto"]
    assert with_stage([]) == ["stages=[sft]", "sft=measured"]
    assert with_stage(again) == ["stages=[sft]", "sft=measured", *again], "there is none yet"
    folder.mkdir()
    (folder / "overrides.yaml").write_text("[]")
    assert with_stage(again) == ["stages=[sft]", *again]
    assert with_stage(["+sft=distilled"]) == ["stages=[sft]", "+sft=distilled"], "which is refused"
    assert with_stage([f"++{text}" for text in again]) == ["stages=[sft]", *(f"++{text}" for text in again)]
    assert with_stage(["sft=distilled"]) == ["stages=[sft]", "sft=distilled"]
