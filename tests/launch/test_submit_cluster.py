"""The command against a real head with token authentication; the whole job on one is in tests/cluster/prove.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from conf.schema.places import ROOT
from tests.cluster.nodes import Cluster, cluster


@pytest.fixture(scope="module")
def head():
    with cluster(cpus=6) as made:
        yield made


def submit(head: Cluster, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    assert head.nodes[0].poll() is None, head.log(0).read_text()
    return subprocess.run(
        [sys.executable, "-m", "launch.submit", "--address", head.address, "--python", sys.executable, *arguments],
        cwd=ROOT, env=head.environment | changed, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("token", "said"), [(None, "wants a token and none was found"), ("wrong" * 8, "refuses this token")]
)
def test_without_the_right_token_nothing_is_submitted(head, tmp_path, token, said):
    given = {"RAY_AUTH_TOKEN": token} if token else {}
    # Without this variable Ray looks into the home folder.
    done = submit(head, "--", "seed=1", RAY_AUTH_TOKEN_PATH="", HOME=str(tmp_path), **given)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_configuration_that_the_cluster_has_no_gpus_for_is_refused(head):
    done = submit(head, "--", "cluster=node8")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "GPU: the configuration wants 8 (learner 4 × 1, rollout 2 × 1, solver 2 × 1), the cluster has 0\n"
    )


def test_a_job_is_packed_sent_followed_and_its_end_is_the_commands(head, tmp_path):
    """The job cannot make its folder, which is said by launch.train, in the copy of the project on the cluster."""
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "run"
    done = submit(head, "--name", "taken", "--follow", "--", f"run_dir={folder}")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(f"submitted taken\nrun_dir={folder}\nfollow: python -m launch.submit --address")
    assert f"run_dir: '{folder}' cannot be written: Not a directory\n" in done.stdout
    assert done.stdout.endswith("taken FAILED\n")
    assert done.stderr == ""
    listed = submit(head, "--list").stdout
    assert listed.startswith("taken  FAILED")
    assert listed.count("\n") == 1


def test_an_interpreter_that_the_nodes_lack_is_named_at_the_end_with_the_remedy(head, tmp_path):
    done = submit(head, "--python", "/no/python", "--name", "lacking", "--follow", "--", f"run_dir={tmp_path / 'run'}")
    assert done.returncode == 1, done.stderr
    assert "/no/python: not found" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "lacking FAILED: the node could not start '/no/python'; "
        "name the interpreter of its environment with --python PATH"
    )
