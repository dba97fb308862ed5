"""What W&B does wrong stops nothing, is said once, and is missing nowhere else."""

from __future__ import annotations

import errno
import http.server
import json
import os
import pty
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from conf.schema.places import ROOT
from launch.compose import compose
from tests.end_to_end import offline
from tests.trainer.samples import scored
from trainer.tracking.tracker import Tracker
from trainer.tracking.wandb_run import WandbRun, kept_id


class Broken:
    """A W&B run that breaks at the call of this name."""

    id, step = "abc", 0

    def __init__(self, breaks: str) -> None:
        self.breaks, self.calls = breaks, []
        self.summary = self

    def __getattr__(self, name):
        def call(*_, **__):
            self.calls.append(name)
            if name == self.breaks:
                raise ConnectionResetError("gone")

        return call


@pytest.mark.parametrize("breaks", ["init", "log", "alert", "update", "finish", "nothing"])
def test_a_wandb_that_breaks_is_said_once_and_stops_nothing(tmp_path, monkeypatch, breaks):
    run, said = Broken(breaks), []

    def init(**_):
        run.init()
        return run

    wandb = types.SimpleNamespace(init=init, setup=dict, Settings=dict, Table=dict, Image=str)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (tmp_path / "logs").mkdir()
    tracker = Tracker(compose([]), tmp_path, None, said.append)
    for step in (1, 2):
        tracker.step(step, {"reward/total": 1.0}, [scored(0, [0])])
    tracker.alert("engine and learner differ", "step 2: by 0.35 nats a token")
    tracker.summary({"status": "finished"})
    tracker.image("picture", tmp_path / "none.png")
    tracker.close(0)
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert json.loads((tmp_path / "summary.json").read_text()) == {"status": "finished"}
    assert run.calls.count(breaks) == (breaks != "nothing")
    assert len(said) == (breaks != "nothing")
    assert (tmp_path / "logs" / "wandb.log").exists() == (breaks != "nothing")
    assert ("finish" in run.calls) == (breaks in ("finish", "nothing"))


def without_wandb() -> dict[str, str]:
    """The environment of a process of its own: this one's may name a W&B service, which a child would share."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}


BEGIN = """
import sys
from pathlib import Path
from launch.compose import compose
from trainer.tracking.wandb_run import WandbRun
folder = Path(sys.argv[1])
run = WandbRun(compose(["tracking=online"]), folder, None, (folder / "said").write_text)
run.log({"policy/loss": 1.0}, 1)
run.close(0)
"""


class Refusing(http.server.BaseHTTPRequestHandler):
    """A server of W&B's that knows no key."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"errors": [{"message": "this key is unknown"}]}')

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def refusing():
    """The address of such a server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (None, "no API key; `wandb login` asks for one, WANDB_API_KEY may hold it"),
        ("short", "WANDB_API_KEY invalid: API key must have 40+ characters, has 5."),
        ("a1" * 20, "this key is unknown"),
    ],
    ids=["none", "invalid", "refused"],
)
def test_without_a_usable_key_a_run_is_tracked_offline_at_once(tmp_path, refusing, key, error):
    """Though it is on a terminal, where W&B would ask."""
    (tmp_path / "logs").mkdir()
    environment = without_wandb() | {"HOME": str(tmp_path), "WANDB_BASE_URL": refusing}
    environment |= {"WANDB_API_KEY": key} if key else {}
    ours, terminal = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", BEGIN, str(tmp_path)],
        cwd=ROOT, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, timeout=240, check=True,
    )  # fmt: skip
    os.close(ours)
    os.close(terminal)
    assert (tmp_path / "said").read_text() == (
        f"W&B could not begin online ({error}, see logs/wandb.log); the run is tracked offline, to be sent with: "
        f"wandb sync {tmp_path}/wandb/offline-*"
    )
    (found,) = offline.records(tmp_path)
    assert offline.history(found) == [{"_step": 1, "policy/loss": 1}]


def test_what_a_table_holds_is_kept_in_the_runs_folder_and_needs_no_home(tmp_path):
    (tmp_path / "logs").mkdir()
    program = BEGIN.replace("online", "offline").replace(
        'run.log({"policy/loss": 1.0}, 1)',
        'run.table("episodes", ["problem"], [["p0"]]); run.log({"policy/loss": 1.0}, 1)',
    )
    environment = without_wandb() | {"HOME": "/proc/nohome", "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, env=environment, timeout=240, check=True)
    assert not (tmp_path / "said").exists()
    (found,) = offline.records(tmp_path)
    assert offline.episodes_table(tmp_path, found) == [{"problem": "p0"}]
    kept = (tmp_path / "wandb" / "data" / "artifacts" / "staging").iterdir()
    assert any("p0" in file.read_text() for file in kept)


def test_what_wandb_keeps_of_the_machine_can_be_left_out(tmp_path):
    """With the variables of docs/run_folder.md."""
    (tmp_path / "logs").mkdir()
    left_out = {"WANDB_X_DISABLE_MACHINE_INFO": "true", "WANDB_X_SAVE_REQUIREMENTS": "false"}
    command = [sys.executable, "-c", BEGIN.replace("online", "offline"), str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=without_wandb() | left_out, timeout=240, check=True)
    (found,) = offline.records(tmp_path)
    assert offline.history(found)
    assert not {"environment", "stats", "files"}.intersection(record["type"] for record in found)
    assert not list(tmp_path.glob("wandb/offline-*/files/requirements.txt"))


def test_a_full_disk_is_said_once_and_not_filled_further(tmp_path, monkeypatch):
    def full(path, data):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    said = []
    # There is no room for the log either.
    WandbRun(compose([]), tmp_path, None, said.append)
    assert [text.partition(",")[0] for text in said] == ["W&B failed (OSError"]
    assert not list((tmp_path / "wandb").iterdir())


class Kept:
    """Stands for W&B's run: what it was given."""

    def __init__(self, *_: object) -> None:
        self.tables, self.id = [], None

    def table(self, name, columns, rows):
        self.tables.append([row[columns.index("step")] for row in rows])

    def __getattr__(self, name):
        return lambda *_, **__: None


def test_tables_on_the_way_have_what_came_since_the_last_and_the_one_at_the_end_everything(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.tracking.tracker.WandbRun", Kept)
    (tmp_path / "logs").mkdir()
    tracker = Tracker(compose(["tracking.table_every=2", "tracking.episodes_per_step=1"]), tmp_path)
    tracker.episode(scored(0, [0]), "sft", 0)
    for step in (1, 2, 3):
        tracker.step(step, {}, [scored(0, [0]), scored(1, [0])])
    tracker.rewind(2, ["sft"])
    for step in (3, 4, 5):
        tracker.step(step, {}, [scored(0, [0])])
    tracker.episodes_table()
    assert tracker._wandb.tables == [[0, 1, 2], [3, 4], [0, 1, 2, 3, 4, 5]]
    tracker.close(0)


KILLED = """
import os, signal, sys
from pathlib import Path
from launch.compose import compose
from tests.trainer.samples import scored
from trainer.tracking.tracker import Tracker
tracker = Tracker(compose([]), Path(sys.argv[1]))
for step in range(1, 7):
    tracker.step(step, {"policy/loss": step}, [scored(step, [0])])
print(tracker.wandb_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


KILLED_IN_STAGE_1 = """
import os, signal, sys
from pathlib import Path
from launch.compose import compose
from trainer.tracking.tracker import Tracker
tracker = Tracker(compose(["stages=[sft]"]), Path(sys.argv[1]))
for step in range(4):
    tracker.fine_tuning(step, {"sft/loss": step + 1})
print(tracker.wandb_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


STOPPED = """
import os, sys, time
from contextlib import suppress
from pathlib import Path
import psutil
from launch.compose import compose
from rollout.signals import Stopped, handle_signals
from tests.trainer.samples import scored
from trainer.tracking.tracker import Tracker
handle_signals()
tracker = Tracker(compose([]), Path(sys.argv[1]))
try:
    for step in range(1, 10):
        tracker.step(step, {"policy/loss": step}, [scored(step, [0])])
    time.sleep(float(sys.argv[2]))
    if sys.argv[2] != "0":
        own = psutil.Process().children()
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it ended with its parent
                child.terminate()
        psutil.wait_procs(own, timeout=60)  # theirs may stay zombies, where no one reaps them
    print("ready", flush=True)
    time.sleep(60)
except Stopped as stopped:
    tracker.close_stopped(stopped.code)
    raise
"""


@pytest.mark.parametrize("after", ["0", "3"], ids=["the job alone is told", "its children were told too"])
def test_a_job_that_is_stopped_leaves_a_complete_offline_file_and_no_traceback(tmp_path, after):
    """Ray, like SLURM, sends the signal to W&B's own process as well, which then ends at once."""
    (tmp_path / "logs").mkdir()
    job = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(tmp_path), after],
        cwd=ROOT, env=without_wandb(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert job.stdout is not None
    if job.stdout.readline() != "ready\n":
        pytest.fail(job.communicate(timeout=300)[1])
    job.terminate()
    out, err = job.communicate(timeout=300)
    assert (job.returncode, out, err) == (143, "", "stopped\n")
    (found,) = offline.records(tmp_path)
    assert [row["_step"] for row in offline.history(found)] == list(range(1, 10))
    if after == "0":
        assert [record["exit"] for record in found if record["type"] == "exit"]


def id_of_killed(program, folder):
    """Return the run's id that a program prints before it is killed."""
    killed = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT, env=without_wandb(), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    return killed.stdout.strip()


def test_wandb_has_every_step_once_though_what_it_kept_to_itself_was_lost_with_the_process(tmp_path):
    (tmp_path / "logs").mkdir()
    run_id = id_of_killed(KILLED, tmp_path)
    # A run without a checkpoint has its id from the folder.
    assert kept_id(tmp_path) == run_id
    tracker = Tracker(compose([]), tmp_path, run_id, pytest.fail)
    tracker.rewind(4, [])
    for step in (5, 6, 7):
        tracker.step(step, {"policy/loss": step}, [scored(step, [0])])
    tracker.episodes_table()
    tracker.close(0)
    sessions = offline.records(tmp_path)
    rows = [row for found in sessions for row in offline.history(found)]
    assert rows == [{"_step": step, "policy/loss": step} for step in range(1, 8)]
    table = offline.episodes_table(tmp_path, sessions[-1])
    assert [row["step"] for row in table] == list(range(1, 8))


def test_wandb_has_every_step_of_stage_1_once_and_what_was_measured_before_the_first(tmp_path):
    (tmp_path / "logs").mkdir()
    run_id = id_of_killed(KILLED_IN_STAGE_1, tmp_path)
    tracker = Tracker(compose(["stages=[sft]"]), tmp_path, run_id, pytest.fail)
    tracker.rewind_fine_tuning(2)
    for step in (3, 4):
        tracker.fine_tuning(step, {"sft/loss": step + 1})
    tracker.close(0)
    rows = [row for found in offline.records(tmp_path) for row in offline.history(found)]
    assert rows == [{"_step": step, "sft/loss": step + 1} for step in range(5)]
