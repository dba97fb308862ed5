"""The command: what it looks at, its exit status, and how it fares in a broken environment."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conf.schema.places import ROOT
from launch.compose import compose
from launch.doctor import probes
from launch.doctor.__main__ import main
from launch.doctor.checks import FAILURE, OK, WARNING
from tests.ports import free_port
from trainer.cluster import resource_plan

NAMES = ["Python", "packages", "configuration", "compiler", "memory", "shared memory", "TMPDIR", "GPUs", "disk",
         "ports", "proxies", "models", "solver", "verifier", "W&B"]  # fmt: skip


def lines(text: str) -> dict[str, tuple[str, str]]:
    """Level and text of each check, by its name."""
    found = {}
    for line in text.splitlines():
        level, name, said = re.fullmatch(r"(OK|warning|failure) +(.{14}) (.*)", line).groups()
        found[name.strip()] = (level, said)
    return found


def test_the_embedded_default_is_checked_line_by_line(capsys, monkeypatch):
    for name in probes.PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    status = main([])
    found = lines(capsys.readouterr().out)
    assert list(found) == NAMES
    assert status == (1 if any(level == FAILURE for level, _ in found.values()) else 0)
    assert found["packages"][0] == OK, found["packages"]
    assert found["compiler"][0] == OK


def test_a_copy_that_comes_later_on_the_path_is_not_what_is_installed(tmp_path, monkeypatch):
    # Importing setuptools does this: it puts its own copies of packaging and others at the end.
    copy = tmp_path / "packaging-1.0.dist-info"
    copy.mkdir()
    (copy / "METADATA").write_text("Metadata-Version: 2.1\nName: packaging\nVersion: 1.0\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert probes.lock().level == OK, probes.lock().text


def test_a_configuration_that_is_refused_is_a_failure_and_the_rest_is_still_checked(capsys):
    assert main(["learner.lr=-1"]) == 1
    found = lines(capsys.readouterr().out)
    assert found["configuration"] == (FAILURE, "learner.lr: -1 is not allowed: input should be greater than 0")
    assert list(found) == NAMES[:-4]


def test_on_a_cluster_that_is_joined_the_nodes_are_not_judged_from_here(capsys):
    port = free_port()
    assert main(["cluster=ray", f"cluster.address=127.0.0.1:{port}"]) == 1
    found = lines(capsys.readouterr().out)
    assert found["ports"][0] == FAILURE
    assert f"nothing answers at 127.0.0.1:{port}" in found["ports"][1]
    assert found["memory"] == found["GPUs"] == (OK, "the nodes' own: run the doctor there")


def test_the_cluster_of_auto_is_the_one_that_ray_would_join(monkeypatch):
    config, port = compose(["cluster=ray"]), free_port()
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    found = probes.ports(config)
    assert (found.level, f"nothing answers at auto (127.0.0.1:{port})" in found.text) == (FAILURE, True)
    with socket.create_server(("127.0.0.1", port)):
        assert probes.ports(config).level == OK
    monkeypatch.delenv("RAY_ADDRESS")

    def none(address, folder):
        raise ConnectionError

    monkeypatch.setattr("ray._private.services.get_ray_address_from_environment", none)
    found = probes.ports(config)
    assert (found.level, "nothing answers at auto (Ray finds no cluster here)" in found.text) == (FAILURE, True)


def test_a_cluster_without_a_port_is_none_that_can_be_joined():
    assert probes.ports(compose(["cluster=ray", "cluster.address=localhost"])).level == FAILURE


@pytest.mark.parametrize("given", [["--config-dir", "DIR"], ["--config-dir=DIR"]])
def test_a_sweep_with_a_folder_of_ones_own_is_checked_as_it_is_given(given, monkeypatch, tmp_path, capsys):
    own = ROOT / "examples" / "own_parts"
    monkeypatch.syspath_prepend(own)
    monkeypatch.chdir(tmp_path)
    folder = [text.replace("DIR", str(own / "conf")) for text in given]
    main([*folder, "-m", "experiment=own_parts", "seed=0,1"])
    assert lines(capsys.readouterr().out)["configuration"] == (OK, "can be run")


def test_without_its_packages_the_doctor_says_so():
    """An interpreter that finds the standard library alone."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['launch.doctor']; "
        "import runpy; runpy.run_module('launch.doctor', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found = lines(done.stdout)
    assert found["Python"][0] == OK
    assert "is missing" in found["packages"][1]
    assert "cannot be checked: No module named" in found["configuration"][1]
    assert found["memory"][0] in (OK, WARNING, FAILURE)


@pytest.mark.parametrize("role", ["solver", "verifier"])
def test_the_server_of_a_role_is_asked(role, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-shown")
    url = f"http://127.0.0.1:{free_port()}/v1"
    config = compose([f"{role}=openai", f"{role}.model=m", f"{role}.base_url={url}"])
    found = getattr(probes, role)(config)
    assert (found.level, found.name) == (FAILURE, role)
    assert f"no reply from {url}" in found.text
    assert "sk-not" not in found.line()
    other = probes.verifier if role == "solver" else probes.solver
    assert other(config).text == "no server is needed"


@pytest.mark.parametrize(
    ("visible", "level", "said"),
    [
        ("0", FAILURE, "1 here, 2 wanted (CUDA_VISIBLE_DEVICES hides 1)"),
        ("", FAILURE, "none here, 2 wanted (CUDA_VISIBLE_DEVICES hides 2)"),
        ("1,0", OK, "2 × NVIDIA A, CUDA 13.0"),
    ],
)
def test_only_the_gpus_that_the_run_would_see_count(monkeypatch, visible, level, said):
    monkeypatch.setattr(probes, "_nvidia_smi", lambda *asked: "NVIDIA A\nNVIDIA A\n" if asked else "CUDA Version: 13.0")
    monkeypatch.setattr(probes, "_torch_cuda", lambda: (13, 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = probes.gpus(compose(["cluster=gpu2"]))
    assert (found.level, found.text) == (level, said)


def test_engines_without_a_gpu_are_refused_where_vllm_needs_one(monkeypatch):
    monkeypatch.setattr(resource_plan, "version", lambda package: "0.32.0")
    found = probes.gpus(compose([]))
    assert (found.level, found.text) == (FAILURE, resource_plan.without_gpu(compose([])))


def test_a_driver_is_read_from_what_its_tool_says(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n"
        "case $1 in --query*) printf 'NVIDIA H100\\nNVIDIA H100\\n';; *) echo '| CUDA Version: 12.8  |';; esac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(probes, "_torch_cuda", lambda: (13, 0))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = compose(
        [
            "learner=gpu",
            "learner.ranks=1",
            "rollout=gpu",
            "solver.gpus=0.5",
            "rollout.gpus=0.5",
            "solver.gpu_memory_utilization=0.4",
            "rollout.gpu_memory_utilization=0.4",
        ]
    )
    found = probes.gpus(config)
    assert (found.level, found.text) == (FAILURE, "the driver is for CUDA 12.8, torch for 13.0")
    assert probes.gpus(None).text == "2 here (NVIDIA H100), none wanted"


def test_a_proxy_is_shown_without_its_password_and_is_tried(monkeypatch):
    for name in probes.PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{port}")
        found = probes.proxies(None)
    assert (found.level, found.text) == (OK, f"HTTPS_PROXY (127.0.0.1:{port})")
    assert probes.proxies(None).level == WARNING


def test_the_key_is_found_where_wandb_finds_it(monkeypatch, tmp_path):
    config = compose(["tracking=online"])
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert probes.wandb_key(config).level == FAILURE
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'a1' * 20}\n")
    assert probes.wandb_key(config).level == OK
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert "the key of WANDB_API_KEY has 5 characters" in probes.wandb_key(config).text


def test_a_control_group_leaves_what_is_not_used_or_only_cached(tmp_path):
    assert probes.left_by_group(tmp_path) is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{6 * 2**30}\n")
    assert probes.left_by_group(tmp_path) is None
    (tmp_path / "memory.max").write_text(f"{8 * 2**30}\n")
    assert probes.left_by_group(tmp_path) == 2
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {3 * 2**30}\n")
    assert probes.left_by_group(tmp_path) == 5


@pytest.mark.parametrize("limited", ["", "job_7", "job_7/step_0", "job_7/step_0/task_0"])
def test_the_memory_that_is_left_is_that_of_the_tightest_group_above(tmp_path, limited):
    group = "job_7/step_0/task_0"
    (tmp_path / group).mkdir(parents=True)
    for folder, gib in (("", 90), (group, 80), (limited, 4)):
        (tmp_path / folder / "memory.max").write_text(f"{gib * 2**30}\n")
        (tmp_path / folder / "memory.current").write_text("0\n")
    assert min(probes.left_by_groups(tmp_path, group)) == 4
    assert probes.left_by_groups(tmp_path / "job_7", "not/there") == ([4] if limited == "job_7" else [])


def test_the_disk_is_that_of_the_nearest_folder(tmp_path):
    found = probes.disk(compose([f"run_dir={tmp_path}/not/there"]))
    assert f"'{tmp_path}'" in found.text


@pytest.mark.parametrize(("status", "pointed"), [(1, True), (2, True), (0, False), (130, False)])
def test_make_train_points_to_the_doctor_when_it_fails(tmp_path, status, pointed):
    """With an environment whose interpreter does nothing but end."""
    commands = tmp_path / "venv" / "bin"
    commands.mkdir(parents=True)
    (commands / "python").write_text(f"#!/bin/sh\nexit {status}\n")
    (commands / "python").chmod(0o755)
    (tmp_path / "venv" / "installed-cpu.lock").touch()
    done = subprocess.run(
        ["make", "--no-print-directory", "train", f"VENV={tmp_path}/venv"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode != 0) == (status != 0)
    assert (f"{Path(commands, 'python')} -m launch.doctor" in done.stderr) == pointed
