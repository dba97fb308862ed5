"""Every shipped configuration composes and validates; bad ones are refused in one line that names the key."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from launch.compose import CONF, compose, main
from rewards.modes import MODES, PARTS, RewardSettings
from rollout.prompts import Prompts
from trainer.config import Config, ConfigError
from trainer.roles import prompts, reward_settings

ROOT = CONF.parent
OPTIONS = [
    (path.parent.name, path.stem)
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name not in ("experiment", "sweep")
]
NEEDS = {
    "gpu": ["rollout.gpus=1", "learner.gpus_per_rank=1"],
    "gsm8k": ["data.root={data}", "data.train=train.jsonl", "data.held_out=train.jsonl"],
    "gemma270m": ["model.path=package:tiny_decomposer", "solver.path=package:tiny_solver"],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "train.jsonl").write_text('{"id": "1", "question": "How many?", "answer": "1"}\n')
    return tmp_path


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_every_option_of_every_group_is_valid(group, option, data):
    extra = [text.format(data=data) for text in NEEDS.get(option, [])]
    assert isinstance(compose([f"{group}={option}", *extra]), Config)


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_is_valid(path, data):
    extra = [text.format(data=data) for text in [*NEEDS["gsm8k"], *NEEDS["gemma270m"]]]
    assert isinstance(compose([f"experiment={path.stem}", *extra]), Config)


def test_the_shipped_templates_are_the_ones_the_tiny_models_were_made_with():
    assert prompts(compose([])) == Prompts()


@pytest.mark.parametrize("mode", MODES)
def test_the_modes_of_the_command_line_are_those_of_the_configuration(mode):
    assert reward_settings(compose([f"rewards={mode}"])) == RewardSettings.for_mode(mode)


@pytest.mark.parametrize("part", PARTS)
def test_an_ablation_changes_one_part_of_the_whole_reward(part):
    whole = compose([]).rewards
    without, only = (compose([f"rewards={kind}_{part}"]).rewards for kind in ("without", "only"))
    assert without.weights == whole.weights | {part: 0.0}
    assert only.weights == dict.fromkeys(PARTS, 0.0) | {part: 1.0}
    assert without.clip == only.clip == whole.clip


def test_the_reward_ablation_runs_the_whole_each_part_off_and_each_part_alone():
    sweep = OmegaConf.load(CONF / "sweep" / "reward_ablation.yaml")
    override = OverridesParser.create().parse_override(f"rewards={sweep.hydra.sweeper.params.rewards}")
    trials = override.value().filter([path.stem for path in (CONF / "rewards").glob("*.yaml")])
    assert sorted(trials) == sorted(["bounded", *(f"{kind}_{part}" for kind in ("without", "only") for part in PARTS)])


BAD = {
    "data=nonsense": "data:",
    "learner.lr=-1": "learner.lr:",
    "rollout.no_such_key=1": "rollout.no_such_key:",
    "+rollout.no_such_key=1": "rollout.no_such_key:",
    "model.path=/no/such/folder": "model.path:",
    "solver.path=./nothing": "solver.path:",
    "algorithm.batch_size=many": "algorithm.batch_size:",
    "algorithm.lam=2": "algorithm.lam:",
    "controller.max_staleness=-1": "controller.max_staleness:",
    f"rewards.weights={{{', '.join(f'{part}: 0' for part in PARTS)}}}": "rewards.weights",
    "rewards.episode_seconds=0": "rewards.episode_seconds:",
    "+rewards.weights.style=1": "style",
    "data.steps={9: 1.0}": "data",
    "learner.dtype=bfloat16": "learner.dtype",
    "stages=[sft,dream]": "stages",
    "no_such_group=1": "no_such_group",
}


@pytest.mark.parametrize("override", BAD, ids=list(BAD))
def test_bad_values_are_refused_by_name(override):
    with pytest.raises(ConfigError) as error:
        compose([override])
    message = str(error.value)
    assert BAD[override] in message
    assert "\n" not in message
    assert "allowed" in message or "must" in message


@pytest.mark.parametrize(
    "override", ["data=nonsense", "learner.lr=-1", "rollout.no_such_key=1", "model.path=/no/such/folder"]
)
def test_the_command_says_one_line_and_exits_with_2_at_once(override):
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "launch.train", override],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert override.split("=")[0] in done.stderr
    assert time.perf_counter() - started < 30


def test_composing_imports_nothing_heavy():
    code = (
        "import sys; from launch.compose import compose; compose([]);"
        "print([name for name in ('torch', 'vllm', 'ray', 'deepspeed', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_machine_without_a_compiler_is_told_so_before_anything_starts(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CXX", "/no/such/c++")
    folder = tmp_path / "run"
    assert main([f"run_dir={folder}"]) == 2
    assert "'/no/such/c++' is not on this machine" in capsys.readouterr().err
    assert not folder.exists()
