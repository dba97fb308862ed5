"""The batch script for SLURM: what is in it, and what it does when nodes, time and runs end."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conf.schema.places import ROOT
from launch.compose import compose
from launch.submit import slurm
from launch.submit.__main__ import main
from tests.launch.slurm_cluster import Stand, options

STEPS = 20
# Trains: a step is a line of the run's folder. What is told to stop does so in order; what is killed does not.
TRAINING = """#!{python}
import signal, sys, time
from pathlib import Path

assert sys.argv[1:3] == ["-m", "launch.train"], sys.argv
given = dict(text.split("=", 1) for text in sys.argv[3:])
folder = Path(given["run_dir"].strip("'"))
signal.signal(signal.SIGTERM, lambda *_: (print("stopped in order", flush=True), sys.exit(143)))
assert given["resume"] == "auto"
done = folder / "steps"
print("begins after step", len(done.read_text()) if done.exists() else 0, flush=True)
if {status}:
    sys.exit({status})
while not done.exists() or len(done.read_text()) < {steps}:
    time.sleep(0.1)
    with done.open("a") as file:
        file.write(".")
print("finished", flush=True)
"""
# The first node runs the command, and takes Ray down with it; the others stay as long as it answers.
RAY = """#!{python}
import os, socket, subprocess, sys

assert sys.argv[1] == "symmetric-run"
assert os.environ["RAY_AUTH_MODE"] == "token" and len(os.environ["RAY_AUTH_TOKEN"]) == 64
if {broken}:
    sys.exit(0)  # as Ray does where it cannot start
host, _, port = sys.argv[sys.argv.index("--address") + 1].rpartition(":")
if os.environ["SLURM_NODEID"] == "0":
    server = socket.create_server((host, int(port)))
    sys.exit(subprocess.run(sys.argv[sys.argv.index("--") + 1:]).returncode)
try:
    socket.create_connection((host, int(port))).recv(1)
except OSError:
    pass
"""


def script(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What ``--dry-run`` prints."""
    assert main(["--slurm", "--dry-run", *arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture
def stand(tmp_path, monkeypatch) -> Stand:
    """SLURM's commands on PATH."""
    monkeypatch.setattr(slurm, "WAIT_S", 5)
    return on_path(Stand(tmp_path / "slurm"), monkeypatch)


def on_path(made: Stand, monkeypatch: pytest.MonkeyPatch) -> Stand:
    monkeypatch.setenv("PATH", f"{made.install()}{os.pathsep}{os.environ['PATH']}")
    return made


def environment(folder: Path, status: int = 0, broken: bool = False, steps: int = STEPS) -> None:
    """Make the folder of an environment whose interpreter trains and whose Ray starts nothing."""
    folder.mkdir()
    python = folder / "python"
    python.write_text(TRAINING.format(python=sys.executable, status=status, steps=steps))
    (folder / "ray").write_text(RAY.format(python=sys.executable, broken=broken))
    for file in (python, folder / "ray"):
        file.chmod(0o755)


def submit(tmp_path: Path, run: Path, *arguments: str, **behaviour: int) -> None:
    python = tmp_path / "env" / "python"
    if not python.exists():
        environment(python.parent, **behaviour)
    assert main(["--slurm", "--nodes", "2", "--python", str(python), *arguments, "--", f"run_dir='{run}'"]) == 0


def log(run: Path) -> str:
    (file,) = (run / "logs").glob("slurm-*.log")
    return file.read_text()


def steps(run: Path) -> int:
    return len((run / "steps").read_text()) if (run / "steps").exists() else 0


def wait_for_steps(run: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while steps(run) < count:
        assert time.monotonic() < deadline, log(run)
        time.sleep(0.02)


def test_a_job_that_loses_a_node_is_queued_again_and_finishes(stand, tmp_path, capsys):
    run = tmp_path / "a run, 50 % done"
    submit(tmp_path, run)
    said = capsys.readouterr().out
    assert re.match(rf"submitted \d+\nrun_dir={re.escape(str(run))}\nfollow: tail -F '", said)
    wait_for_steps(run, 5)
    stand.ask("lose 1")
    assert stand.wait(300) == (0, 1)
    begun = [int(number) for number in re.findall(r"begins after step (\d+)", log(run))]
    assert begun[0] == 0 < begun[1] < STEPS
    assert (steps(run), log(run).count("finished"), "stopped in order" in log(run)) == (STEPS, 1, False)


def test_near_its_time_limit_the_run_stops_in_order_and_goes_on_later(stand, tmp_path):
    run = tmp_path / "run"
    submit(tmp_path, run)
    wait_for_steps(run, 3)
    stand.ask("signal SIGUSR1")
    assert stand.wait(300) == (0, 1)
    assert "the time limit is near: the run stops, and the job is queued again\nstopped in order\n" in log(run)
    assert (steps(run), log(run).count("finished")) == (STEPS, 1)


def test_a_job_that_is_told_to_stop_is_not_queued_again(stand, tmp_path):
    run = tmp_path / "run"
    submit(tmp_path, run)
    wait_for_steps(run, 3)
    stand.ask("signal SIGTERM")
    assert stand.wait(300) == (143, 0)
    assert log(run).count("stopped in order") == 1
    assert steps(run) < STEPS


def test_of_two_jobs_in_one_folder_each_stops_its_own_training(stand, tmp_path, monkeypatch):
    run = tmp_path / "run"
    submit(tmp_path, run, steps=10_000)
    wait_for_steps(run, 1)
    other = on_path(Stand(tmp_path / "other"), monkeypatch)
    submit(tmp_path, run)
    deadline = time.monotonic() + 120
    while sum("begins after" in file.read_text() for file in (run / "logs").glob("slurm-*.log")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stand.ask("signal SIGTERM")
    assert stand.wait(300) == (143, 0)
    (run / "steps").write_text(10_000 * ".")
    assert other.wait(300) == (0, 0)
    assert not list((run / "logs").glob("*.pid*"))


@pytest.mark.parametrize(("status", "arguments", "restarts"), [(1, [], 2), (1, ["--retries", "0"], 0), (2, [], 0)])
def test_what_failed_is_queued_again_a_few_times_and_what_was_refused_is_not(
    stand, tmp_path, status, arguments, restarts
):
    run = tmp_path / "run"
    submit(tmp_path, run, *arguments, status=status)
    assert stand.wait(300) == (status, restarts)
    assert log(run).count("begins after step 0") == restarts + 1


def test_a_ray_that_does_not_start_is_no_finished_run(stand, tmp_path):
    run = tmp_path / "run"
    submit(tmp_path, run, "--retries", "0", broken=True)
    assert stand.wait(300) == (1, 0)
    assert "begins after" not in log(run)


def test_the_script_asks_for_what_the_configuration_describes(capsys):
    asked = options(script(capsys, "--time", "1-00:00:00", "--partition", "gpu", "--", "cluster=nodes4"))
    sizes = {"--nodes": "4", "--gpus-per-node": "8", "--cpus-per-task": "64"}
    rules = {"--requeue": "", "--signal": "B:USR1@120", "--exclusive": "", "--mem": "0"}
    wanted = {**sizes, **rules, "--time": "1-00:00:00", "--partition": "gpu"}
    assert {name: asked[name] for name in wanted} == wanted
    plain = options(script(capsys, "--shared", "--sbatch=--mem=32G"))
    assert "--gpus-per-node" not in plain
    assert "--exclusive" not in plain
    assert (plain["--nodes"], plain["--mem"]) == ("1", "32G")
    gpus = options(script(capsys, "--nodes", "2", "--", "learner=gpu", "rollout=gpu", "solver.gpus=1"))
    assert gpus["--gpus-per-node"] == "2"


def test_gpus_for_the_shipped_models_are_doubted_before_they_are_asked_for(capsys):
    for given, said in (
        (["cluster=nodes4"], "warning: the decomposer and the solver are tiny models that the project ships, and would "
                             "run on 32 GPUs: name yours with model.path and solver.path\n"),
        (["cluster=node8", "model.path=OWNER/MODEL"], "warning: the solver is a tiny model that the project ships, and "
                                                      "would run on 2 GPUs: name yours with solver.path\n"),
        (["cluster=node8", "model.path=OWNER/MODEL", "solver.path=OWNER/MODEL"], ""),
        ([], ""),
    ):  # fmt: skip
        assert main(["--slurm", "--dry-run", "--", *given]) == 0
        assert capsys.readouterr().err == said


def test_the_command_in_the_script_is_the_run_that_goes_on(capsys, tmp_path):
    text = script(capsys, "--", f"run_dir={tmp_path}/run", "seed=3", "resume=auto")
    (line,) = re.findall(r"^ +\S+ -m launch.train .*$", text, re.MULTILINE)
    overrides = shlex.split(line.removesuffix("&"))[3:]
    config = compose(overrides)
    assert (config.seed, config.resume, config.run_dir, config.cluster.address) == (
        3,
        "auto",
        f"{tmp_path}/run",
        "auto",
    )
    sweep = script(capsys, "--", "-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep")
    assert "resume=" not in sweep
    assert options(sweep)["--output"] == f"{tmp_path}/sweep/slurm-%j.log"


@pytest.mark.parametrize(
    ("image", "started"),
    [
        (
            "me/decomposer:1",
            "--container-image=me/decomposer:1 --container-mounts={here}:{here},{run}:{run},/data:/data",
        ),
        ("/images/it.sif", "apptainer exec --bind {here} --bind {run} --bind /data /images/it.sif"),
    ],
)
def test_an_image_holds_the_environment_and_sees_the_folders_that_are_named(
    capsys, tmp_path, monkeypatch, image, started
):
    monkeypatch.chdir(tmp_path)
    text = script(capsys, "--image", image, "--mount", "/data", "--", f"run_dir={tmp_path}/run")
    assert started.format(here=tmp_path, run=tmp_path / "run") in text
    assert " python -m launch.train " in text
    assert str(ROOT) not in text


HOSTILE = ["a b", "$(touch {made})", "`touch {made}`", "'; touch {made}; '", '"; touch {made}; "', "a\nb", "é*?~&|<>"]


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_is_read_by_the_shell(capsys, tmp_path, value):
    """What the script sets is set and shown by bash; nothing of it is run."""
    value = value.format(made=tmp_path / "made")
    text = script(capsys, "--env", f"GIVEN={value}", "--", f"run_dir={tmp_path}/run")
    (line,) = [
        part for part in re.split(r"^(?=export |cd )", text, flags=re.MULTILINE) if part.startswith("export GIVEN")
    ]
    done = subprocess.run(["bash", "-c", f'{line}\nprintf %s "$GIVEN"'], capture_output=True, text=True, check=True)
    assert done.stdout == value
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "a\nb"], "--name: 'a\\nb' is not allowed with --slurm"),
        (["--partition", "a\\b"], "--sbatch: '--partition=a\\\\b' is not allowed"),
        (["--sbatch=--comment=a\n#SBATCH --uid=0"], "--sbatch: "),
        (["--time", "soon"], "--time: 'soon' is not allowed"),
        (["--env", "NO_SUCH_NAME"], "--env: 'NO_SUCH_NAME' is not set here"),
        (["--env", "a b=1"], "--env: 'a b' is no name"),
        (["--follow"], "--follow: not allowed with --slurm; use: tail -F LOG"),
        (["--gpus", "1", "--", "cluster=node8"], "GPU: the configuration wants 8"),
        (["--image", "me/it", "--mount", "/a:b"], "--mount: '/a:b' is not allowed"),
        (["--", "learner.lr=-1"], "learner.lr: -1 is not allowed"),
        (["--", "cluster=laptop"], "cluster.address: None is not allowed in a job"),
    ],
)
def test_what_slurm_cannot_be_asked_is_refused_in_one_line(capsys, arguments, said):
    assert main(["--slurm", "--dry-run", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(said)
    assert (shown.out, shown.err.count("\n")) == ("", 1)


def test_options_of_slurm_alone_are_refused_without_it(capsys):
    assert main(["--dry-run", "--address", "http://127.0.0.1:9"]) == 2
    assert capsys.readouterr().err == "--dry-run: allowed with --slurm alone\n"


def test_without_sbatch_nothing_is_made(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--slurm", "--", f"run_dir={tmp_path}/run"]) == 2
    assert capsys.readouterr().err.startswith("--slurm: 'sbatch' is not on this machine; allowed: ")
    assert list(tmp_path.iterdir()) == []


def test_what_sbatch_says_is_shown(capsys, tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert main(["--slurm", "--partition", "gpu", "--", f"run_dir={tmp_path}/run"]) == 2
    said = "--slurm: sbatch did not take the job: sbatch: error: invalid partition specified: gpu\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("arguments", "place"), [(["run_dir={}"], "file"), (["-m", "seed=0,1", "hydra.sweep.dir={}"], "file/run")]
)
def test_a_place_that_can_be_no_folder_is_said_before_anything_is_queued(
    capsys, tmp_path, monkeypatch, arguments, place
):
    (tmp_path / "sbatch").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert main(["--slurm", "--", *(text.format(f"{tmp_path}/{place}") for text in arguments)]) == 2
    key = arguments[-1].partition("=")[0]
    assert capsys.readouterr().err.startswith(f"{key}: '{tmp_path}/{place}' cannot be written: ")


def test_a_folder_that_holds_a_run_is_gone_on_with_only_if_asked(capsys, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    assert main(["--slurm", "--dry-run", "--", f"run_dir={tmp_path}"]) == 2
    assert "already holds a run; allowed: a new folder, or resume=auto" in capsys.readouterr().err
    assert main(["--slurm", "--dry-run", "--", f"run_dir={tmp_path}", "resume=auto"]) == 2
    assert "is not allowed with resume=auto: the run in" in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused_before_the_job_is_queued(capsys, tmp_path):
    (tmp_path / "checkpoints" / "step-10").mkdir(parents=True)
    given = ["--slurm", "--dry-run", "--", f"run_dir={tmp_path}"]
    assert main(given) == 2
    assert capsys.readouterr().err.startswith(f"run_dir: '{tmp_path}' holds 'checkpoints' of something else; allowed: ")
    # A copy of the run may be there to be fetched, of which a part is here: the job looks into it.
    assert main([*given, "mirror=s3://bucket/runs", "resume=auto"]) == 0


def test_a_script_of_somebody_elses_is_left_as_it_is_and_one_of_ours_written_anew(capsys, tmp_path, monkeypatch):
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 7\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "slurm.sh").write_text("mine")
    given = ["--slurm", "--", "-m", "seed=0,1"]
    assert main([*given, f"hydra.sweep.dir={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith(f"hydra.sweep.dir: '{tmp_path}' holds 'slurm.sh' of something else; ")
    assert (tmp_path / "slurm.sh").read_text() == "mine"
    for _ in range(2):
        assert main([*given, f"hydra.sweep.dir={tmp_path}/sweep"]) == 0


@pytest.mark.parametrize("arguments", [[], ["--", "cluster=nodes4"], ["--image", "a/b"], ["--image", "b.sif"]])
def test_bash_and_shellcheck_find_nothing_wrong(capsys, tmp_path, arguments):
    file = tmp_path / "slurm.sh"
    file.write_text(script(capsys, "--env", "A=b c", *arguments))
    subprocess.run(["bash", "-n", file], check=True)
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "--severity=warning", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
