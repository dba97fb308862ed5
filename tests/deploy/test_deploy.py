"""Images and the Kubernetes job: their files go with the project, and parsers take them."""

from __future__ import annotations

import copy
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from conf.schema.places import PACKAGES, ROOT
from launch.compose import compose
from trainer.cluster.placement import Node, shortage

DEPLOY = ROOT / "deploy"
DOCKERFILES = {"cpu": DEPLOY / "Dockerfile", "cuda": DEPLOY / "Dockerfile.cuda"}
SCHEMA = json.loads((Path(__file__).parent / "rayjob_schema.json").read_text())


@pytest.fixture
def claim_and_job() -> tuple[dict[str, Any], dict[str, Any]]:
    claim, job = yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text())
    return claim, job


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def test_the_rayjob_has_the_fields_that_kuberay_documents(claim_and_job):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(claim_and_job[1], SCHEMA)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "entrypiont"), "python"),
        (("spec", "backoffLimit"), "3"),
        (("spec", "submissionMode"), "Kubernetes"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (
            ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "env", 0, "value"),
            None,
        ),
    ],
)
def test_the_schema_refuses_what_kuberay_would(claim_and_job, place, value):
    broken = at = copy.deepcopy(claim_and_job[1])
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)


def test_every_volume_of_the_rayjob_is_there_and_runs_are_on_the_claim(claim_and_job):
    claim, job = claim_and_job
    assert (claim["kind"], claim["spec"]["accessModes"]) == ("PersistentVolumeClaim", ["ReadWriteMany"])
    for pod in pods(job):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert mounts["/runs"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert mounts["/dev/shm"]["emptyDir"]["medium"] == "Memory"
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert pod["securityContext"]["runAsNonRoot"]


def test_the_rayjob_holds_no_secret(claim_and_job):
    for pod in pods(claim_and_job[1]):
        for variable in pod["containers"][0]["env"]:
            if re.search("KEY|TOKEN|PASSWORD", variable["name"]):
                assert set(variable) == {"name", "valueFrom"}, variable["name"]


def test_the_run_of_the_rayjob_has_room_in_its_pods_and_goes_on_when_it_is_started_again(claim_and_job):
    spec = claim_and_job[1]["spec"]
    words = shlex.split(spec["entrypoint"])
    assert words[:3] == ["python", "-m", "launch.train"]
    config = compose(words[3:])
    assert (config.resume, config.cluster.address, config.run_dir) == ("auto", "auto", "/runs/decomposer")
    assert spec["backoffLimit"] > 0
    nodes = []
    for group in spec["rayClusterSpec"]["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        nodes += [Node(float(limits["cpu"]), float(limits["nvidia.com/gpu"]))] * group["minReplicas"]
    assert shortage(config, nodes) is None


def test_the_rayjobs_ray_is_that_of_the_lock(claim_and_job):
    lock = (ROOT / "requirements" / "cuda.lock").read_text()
    assert f"\nray=={claim_and_job[1]['spec']['rayClusterSpec']['rayVersion']}\n" in lock


@pytest.mark.parametrize("device", DOCKERFILES)
def test_an_image_is_made_from_the_lock_and_runs_as_nobody_special(device):
    text = DOCKERFILES[device].read_text()
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    assert f"RUN requirements/install.sh python3.11 /opt/venv requirements/{device}.lock" in lines
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000"]
    assert not re.search(r"^(?:ENV|ARG)\b.*(?:KEY|TOKEN|SECRET|PASSWORD)", text, re.MULTILINE)
    # What the last stage has of the first is the environment alone.
    assert [line for line in lines if line.startswith("COPY --from")] == ["COPY --from=build /opt/venv /opt/venv"]
    (command,) = [json.loads(line[4:]) for line in lines if line.startswith("CMD ")]
    compose(command[3:])


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: the last pattern that fits it, or a folder that it is in, counts."""
    found = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.lstrip("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = path.split("/")
        heads = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        fits = (
            any(fnmatch.fnmatch(part, pattern[3:]) for part in parts)
            if pattern.startswith("**/")
            else any(head.count("/") == pattern.count("/") and fnmatch.fnmatch(head, pattern) for head in heads)
        )
        found = not line.startswith("!") if fits else found
    return found


def test_the_context_of_an_image_is_the_project_and_nothing_else():
    for name in ("pyproject.toml", "setup.cfg", "requirements/cpu.lock", "requirements/install.sh", "conf/config.yaml"):
        assert not ignored(name), name
    assert all(not ignored(f"{package}/any.py") for package in PACKAGES)
    for name in (".git/config", ".env", "conf/.env", ".venv/bin/python", "runs/a/config.yaml", "id_rsa", "tests/x.py",
                 "launch/__pycache__/a.pyc", "models/a", "requirements/key.txt"):  # fmt: skip
        assert ignored(name), name


@pytest.mark.parametrize("device", DOCKERFILES)
def test_what_an_image_copies_by_name_is_in_its_context(device):
    copied = [words[1:-1] for line in DOCKERFILES[device].read_text().splitlines() if (words := line.split())[:1] ==
              ["COPY"] and not words[1].startswith("--from")]  # fmt: skip
    named = [name for names in copied for name in names if name != "."]
    assert "requirements/install.sh" in named
    for name in named:
        assert (ROOT / name).is_file(), name
        assert not ignored(name), name


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not here")
@pytest.mark.parametrize("device", DOCKERFILES)
def test_hadolint_finds_nothing_wrong(device):
    done = subprocess.run(["hadolint", DOCKERFILES[device]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
