"""The run at Weights & Biases. An error there stops nothing: it is said once, and the run goes on without."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

from conf.schema.config import Config
from trainer.workers.errors import first_line

# W&B's own limits are 90 s and none: a run does not wait so long for it.
START_S = 20
FINISH_S = 60
# Who stops a job may end W&B's own process with it (Ray does, and SLURM), which then writes nothing more: what it was
# given is in its file after so long (its own default is 15 s).
FLUSH_S = 0.5
# What must be free for its files: it does not tell when it cannot write them.
SPACE = 2**20
# W&B keeps no more rows of a table.
TABLE_ROWS = 10_000
# Where W&B keeps what tables and pictures hold until it is sent; the user's own choice, if there is one, stays.
DATA_DIR = "WANDB_DATA_DIR"
USERS_DATA_DIR = os.environ.get(DATA_DIR)
# The id of a run that has no checkpoint yet, in the run's folder.
ID_FILE = "logs/wandb_id"


class WandbRun:
    """The W&B run in ``folder``, or nothing where ``tracking.wandb`` is disabled. ``id`` is that of a run to resume.

    A step's row is complete when it is logged, so that it is not lost with the next; tables and pictures are therefore
    in the summary, which belongs to no step.
    """

    def __init__(self, config: Config, folder: Path, run_id: str | None, say: Callable[[str], object]) -> None:
        self._folder, self._say = folder, say
        self._run: Any = None
        self._wandb: Any = None
        self.id = run_id
        self.sent = -1
        if config.tracking.wandb != "disabled":
            self._guarded(lambda: self._begin(config))

    def _begin(self, config: Config) -> None:
        import wandb

        self._wandb = wandb
        wandb.setup(wandb.Settings(silent=True))
        (self._folder / "wandb").mkdir(exist_ok=True)
        probe = self._folder / "wandb" / "space"
        try:
            probe.write_bytes(bytes(SPACE))
        finally:
            probe.unlink(missing_ok=True)
        # Its own default is in the home, which may not be writable, and which a container loses. The trials of a sweep
        # share this process, and each has its own.
        os.environ[DATA_DIR] = USERS_DATA_DIR or str(self._folder.resolve() / "wandb" / "data")
        before, online = self.id, config.tracking.wandb == "online" and self._begin_online(config)
        if not online:
            self._run = self._init(config, "offline")
        self.id = str(self._run.id)
        (self._folder / ID_FILE).write_text(self.id, encoding="utf-8")
        if before is not None:
            self.sent = self._run.starting_step - 1 if online else last_step(self._folder, before)
        # A score belongs to the version it is of; its row is that of the step in which it was there.
        self._run.define_metric("eval/*", step_metric="eval/version")

    def _begin_online(self, config: Config) -> bool:
        """Begin the run at the server; return whether that succeeded, and say it if not: what is written offline can be
        sent when the reason, a key or the network, is mended."""
        try:
            # On a terminal W&B would ask, and the run wait for the answer.
            if not self._wandb.login(prompt=False, verify=False):
                raise self._wandb.errors.UsageError("no API key; `wandb login` asks for one, WANDB_API_KEY may hold it")
            self._run = self._init(config, "online")
        except Exception as error:  # noqa: BLE001 - a tracker must not end what it tracks
            self._note(error)
            sync = f"wandb sync {shlex.quote(str(self._folder))}/wandb/offline-*"
            self._say(
                f"W&B could not begin online ({first_line(error)}, see logs/wandb.log); the run is tracked offline, to "
                f"be sent with: {sync}"
            )
            return False
        return True

    def _init(self, config: Config, mode: str) -> Any:
        wandb, tracking = self._wandb, config.tracking
        return wandb.init(
            project=tracking.project,
            group=tracking.group,
            name=tracking.name or self._folder.name,
            tags=tracking.tags,
            dir=str(self._folder),
            mode=mode,
            id=self.id,
            resume="allow" if self.id else None,
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                init_timeout=START_S,
                finish_timeout=FINISH_S,
                finish_timeout_raises=True,
                x_transaction_log_flush_interval=FLUSH_S,
            ),
        )

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Log a learner step's metrics, unless W&B has them."""
        if step > self.sent:
            self._call(lambda run: run.log(metrics, step=step, commit=True))
            self.sent = step

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Replace the table of this name; only the last ``TABLE_ROWS`` rows are sent."""
        self._call(lambda run: run.summary.update({name: self._wandb.Table(columns=columns, data=rows[-TABLE_ROWS:])}))

    def image(self, name: str, path: Path) -> None:
        """Replace the picture of this name."""
        self._call(lambda run: run.summary.update({name: self._wandb.Image(str(path))}))

    def summary(self, summary: dict[str, Any]) -> None:
        """Add to the summary with which the run is listed."""
        self._call(lambda run: run.summary.update(summary))

    def alert(self, title: str, text: str) -> None:
        """Have W&B warn whoever watches the run."""
        self._call(lambda run: run.alert(title=title, text=text, level="WARN"))

    def close(self, exit_code: int) -> None:
        """End the run, with the exit status of its process."""
        self._call(lambda run: run.finish(exit_code=exit_code))
        self._run = None

    def be_silent(self) -> None:
        """Say nothing of errors from now on: the job was stopped, and W&B's process with it, perhaps."""
        self._say = _silent

    def close_stopped(self, exit_code: int) -> None:
        """End the run of a job that was stopped: W&B's process may be gone already, which is then nobody's fault."""
        self.be_silent()
        self.close(exit_code)
        _forget_lost_process(self._wandb)

    def _call(self, function: Callable[[Any], Any]) -> None:
        if self._run is not None:
            self._guarded(lambda: function(self._run))

    def _guarded(self, function: Callable[[], Any]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - a tracker must not end what it tracks
            self._run = None
            self._note(error)
            self._say(
                f"W&B failed ({type(error).__name__}, see logs/wandb.log); the run goes on without it, metrics.jsonl "
                "has everything"
            )

    def _note(self, error: Exception) -> None:
        with suppress(OSError), (self._folder / "logs" / "wandb.log").open("a", encoding="utf-8") as stream:
            traceback.print_exception(error, file=stream)


def _silent(text: str) -> None:
    """Say nothing."""


def _forget_lost_process(wandb: Any) -> None:
    """Have W&B end its part in this process now, so that it finds nothing to do, and nothing to complain of, when the
    process ends."""
    with suppress(Exception), redirect_stderr(io.StringIO()):
        wandb.teardown()


def kept_id(folder: Path) -> str | None:
    """Return the id of the W&B run that an earlier process of a run began; None if there was none."""
    path = folder / ID_FILE
    return path.read_text(encoding="utf-8") if path.is_file() else None


def last_step(folder: Path, run_id: str) -> int:
    """Return the last step in the offline files of a run's earlier processes, -1 without one, as W&B's own reader finds
    it: W&B writes a little late, and what it has not written is lost when its process is killed. Raises
    SubprocessError."""
    steps = [-1]
    for file in (folder / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, check=True)
        records = (json.loads(line) for line in done.stdout.splitlines() if '"type":"history"' in line)
        steps += [record["history"]["step"]["num"] for record in records]
    return max(steps)
