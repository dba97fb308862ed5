"""Every shipped configuration composes and validates; bad ones are refused in one line that names the key."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.compose import CONF, compose, main
from rewards.modes import MODES, RewardSettings
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


def test_an_algorithm_brings_its_critic_and_can_be_changed():
    """The files of conf/algorithm speak of the learner too, and what a person types comes after them."""
    assert compose(["algorithm=grpo", "learner=gpu", "rollout.gpus=1"]).learner.critic == "none"
    config = compose(["algorithm=grpo", "algorithm.group_std=false", "algorithm.clip_low=0.1"])
    assert (config.algorithm.group_std, config.algorithm.clip_low, config.algorithm.group_size) == (False, 0.1, 8)
    ppo, rloo = compose([]).algorithm, compose(["algorithm=rloo"]).algorithm
    changed = {name for name, value in ppo.model_dump().items() if getattr(rloo, name) != value}
    assert changed == {"advantage", "group_size", "whiten"}
    assert compose(["learner.critic=separate"]).learner.critic == "separate"


def test_the_shipped_templates_are_the_ones_the_tiny_models_were_made_with():
    assert prompts(compose([])) == Prompts()


@pytest.mark.parametrize("mode", MODES)
def test_the_modes_of_the_command_line_are_those_of_the_configuration(mode):
    assert reward_settings(compose([f"rewards={mode}"])) == RewardSettings.for_mode(mode)


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
    "rewards.weights.correctness=0": "rewards.weights.correctness",
    "+rewards.weights.style=1": "style",
    "data.steps={9: 1.0}": "data",
    "learner.dtype=bfloat16": "learner.dtype",
    "stages=[sft,dream]": "stages",
    "no_such_group=1": "no_such_group",
    "algorithm.advantage=grpo algorithm.group_size=1": "group_size must be at least 2 for advantage grpo, found 1",
    "algorithm=rloo algorithm.group_size=5": "batch_size (96) must be divisible by group_size (5)",
    "algorithm.resample_flat_groups=true": "resample_flat_groups must be false where group_size is 1",
    "algorithm=grpo algorithm.credit=subquestion": "credit must be terminal for advantage grpo",
    "algorithm=rloo algorithm.gamma=0.9": "gamma must be 1 for advantage rloo",
    "algorithm=reinforce_plus_plus algorithm.whiten=false": "whiten must be true",
    "algorithm.kl_control=adaptive algorithm.kl_coef=0": "kl_coef must be above 0",
    "algorithm.advantage=gea": "algorithm.advantage:",
    "learner.critic=none": "learner.critic: 'none' cannot go with algorithm.advantage gae; allowed: shared, separate",
    "algorithm=grpo learner.critic=separate": "learner.critic: 'separate' cannot go with algorithm.advantage grpo",
    "learner.critic_warmup_steps=1": "learner.critic_warmup_steps must be 0 with learner.critic shared",
    "learner.ranks=25": "algorithm.minibatches times learner.ranks must be at most algorithm.batch_size",
}


@pytest.mark.parametrize("override", BAD, ids=list(BAD))
def test_bad_values_are_refused_by_name(override):
    with pytest.raises(ConfigError) as error:
        compose(override.split() if "{" not in override else [override])
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
