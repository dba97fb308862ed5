"""The project's frame: what commands call, and what must not be in its files."""

from __future__ import annotations

import re
import subprocess

from conf.schema.places import ROOT


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_continuous_integration_runs_the_readmes_test_command():
    assert "make test" in (ROOT / "README.md").read_text()
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


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


def test_no_module_is_too_long_to_read():
    for name in tracked():
        if name.endswith(".py"):
            assert len((ROOT / name).read_text().splitlines()) <= 410, name


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
    import sys

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
