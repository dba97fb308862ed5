"""Sweeps: the trials of ``-m``, one after another or several at once, and the tables at the end.

A trial's folder is named after its overrides, so that a sweep that is started again in its folder
(``hydra.sweep.dir=FOLDER``) takes finished trials from there; one that did not finish is set aside and run again.
``python -m launch.sweep FOLDER`` makes the tables of a sweep again, finished or not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from conf.schema.base import ConfigError
from launch.compose import compose
from launch.job import execute
from trainer.reports.sweep_table import DONE, score, write_comparison
from trainer.run_folder.lock import held_folder

POLL_S = 0.2
LEAVING_S = 180.0


class TrialFailed(RuntimeError):
    """A trial did not finish; the message says where its log is."""


def trial_folder(sweep: Path, overrides: Sequence[str]) -> Path:
    """A trial's folder in that of its sweep: its overrides, to be read, and short enough for a file's name."""
    text = ",".join(part for part in overrides if not part.startswith("sweep="))
    name = re.sub(r"[^\w=.,+-]+", "_", text)[:100]
    return sweep / (name if name == text else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}")


def finished(folder: Path) -> dict[str, Any] | None:
    """The summary of a trial that is done, else None."""
    file = folder / "summary.json"
    summary: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return summary if summary.get("status") in DONE else None


def prepare(sweep: Path, overrides: Sequence[str], number: int) -> tuple[Path, list[str]]:
    """Make a trial's folder, after setting aside what is left of an earlier try; the folder and the overrides with
    which it runs."""
    folder = trial_folder(sweep, overrides).resolve()
    if folder.exists():
        _wait_until_left(folder)
        aside = sweep / "unfinished"
        aside.mkdir(exist_ok=True)
        folder.rename(aside / f"{folder.name}.{sum(1 for _ in aside.iterdir())}")
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps({"number": number, "overrides": list(overrides)}))
    group = [] if any(text.startswith("tracking.group=") for text in overrides) else [f"tracking.group={sweep.name}"]
    escaped = str(folder).replace("'", "\\'")
    return folder, [*overrides, f"run_dir='{escaped}'", *group]


def _wait_until_left(folder: Path) -> None:
    """A trial whose sweep was killed is left without a cluster, and takes a minute or two to end."""
    with suppress(ConfigError), held_folder(folder):
        return
    _say(f"waiting up to {LEAVING_S:g} s for the process that is still at work in {folder}")
    with held_folder(folder, LEAVING_S):
        return


def run_trial(overrides: list[str], sweep: Path, number: int, searched: Sequence[str] = ()) -> float:
    """Run a trial here, unless it is finished, with the user's own folders of YAML; return its score.

    Raises ConfigError, TrialFailed, KeyboardInterrupt.
    """
    summary = finished(trial_folder(sweep, overrides))
    if summary is None:
        folder, whole = prepare(sweep, overrides, number)
        whole += searched
        code = execute(compose(whole), whole)
        if code == 130:
            raise KeyboardInterrupt
        summary = finished(folder)
        if code or summary is None:
            raise TrialFailed(f"{' '.join(overrides)}: exit status {code}; details in {folder / 'logs'}")
    return score(summary)


class SideBySide(Launcher):
    """``hydra/launcher=parallel``: ``at_once`` trials side by side on one Ray cluster, each a process that joins it.

    A trial is a Ray driver, with handlers of signals and a screen of its own; so it cannot run in a Ray worker, as
    hydra-ray-launcher has it.
    """

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before ``launch``."""
        self.sweep = Path(config.hydra.sweep.dir)
        self.searched = [text for text in config.hydra.overrides.hydra if text.startswith("hydra.searchpath=")]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all; the returns in their order. A trial that fails does not end the others."""
        waiting = list(enumerate(map(list, job_overrides)))
        results: dict[int, JobReturn] = {}
        for index, overrides in list(waiting):
            summary = finished(trial_folder(self.sweep, overrides))
            if summary is not None:
                results[index] = _result(overrides, summary)
                _say(f"{' '.join(overrides)}: found finished, {score(summary):.3f}")
                waiting.remove((index, overrides))
        if waiting:
            address, leave = _shared_cluster([overrides for _, overrides in waiting], self.at_once)
            # Set after Ray, which has a handler too.
            before = signal.signal(signal.SIGTERM, _interrupt)
            try:
                results |= self._run(waiting, address, initial_job_idx)
            finally:
                leave()
                signal.signal(signal.SIGTERM, before)
        return [results[index] for index in sorted(results)]

    def _run(self, waiting: list[tuple[int, list[str]]], address: list[str], first: int) -> dict[int, JobReturn]:
        running: dict[int, tuple[subprocess.Popen[bytes], list[str], Path, float]] = {}
        results: dict[int, JobReturn] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.at_once:
                    index, overrides = waiting.pop(0)
                    folder, whole = prepare(self.sweep, overrides, first + index)
                    log = folder / "output.log"
                    command = [sys.executable, "-m", "launch.train", *whole, *address, *self.searched]
                    with log.open("wb") as output:
                        # In a session of its own: Ctrl-C comes through here, once.
                        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
                    running[index] = process, overrides, folder, time.monotonic()
                    _say(f"{' '.join(overrides)}: started, output in {log}")
                for index, (process, overrides, folder, began) in list(running.items()):
                    if process.poll() is None:
                        continue
                    del running[index]
                    summary = finished(folder)
                    results[index] = _result(overrides, summary, process.returncode, folder)
                    end = f"{score(summary):.3f}" if summary is not None else f"failed ({process.returncode})"
                    _say(f"{' '.join(overrides)}: {end} after {(time.monotonic() - began) / 60:.1f} min")
                time.sleep(POLL_S)
        finally:
            for process, *_ in running.values():
                process.terminate()
            for process, *_ in running.values():
                process.wait()
        return results


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _result(
    overrides: list[str], summary: dict[str, Any] | None, code: int = 0, folder: Path | None = None
) -> JobReturn:
    done = JobReturn(overrides=overrides)
    if summary is not None:
        done.status, done.return_value = JobStatus.COMPLETED, score(summary)
    else:
        done.status = JobStatus.FAILED
        done.return_value = TrialFailed(f"{' '.join(overrides)}: exit status {code}; its output is in {folder}")
    return done


def _shared_cluster(trials: list[list[str]], at_once: int) -> tuple[list[str], Any]:
    """The override that brings a trial to the sweep's cluster, and what ends that cluster.

    Without one to join, one is started here that has room for ``at_once`` trials: as on a laptop, their actors may
    have to share the cores that there are.
    """
    configs = [compose(overrides) for overrides in trials]
    if configs[0].cluster.address is not None:
        return [], lambda: None
    import ray

    from trainer.cluster.placement import bundles
    from trainer.cluster.ray_cluster import start_ray, stop_ray

    joined = [one.model_copy(update={"cluster": one.cluster.model_copy(update={"address": "auto"})}) for one in configs]
    cores = max(int(sum(bundle.cpus for bundle in bundles(one))) for one in joined)
    own = configs[0].cluster
    room = {"num_cpus": at_once * cores, "object_store_gib": at_once * own.object_store_gib}
    config = configs[0].model_copy(update={"cluster": own.model_copy(update=room)})
    start_ray(config)
    address = ray.get_runtime_context().gcs_address
    return [f"cluster.address='{address}'"], lambda: stop_ray(config)


class Tables(Callback):
    """Writes the sweep's tables and picture when it ends."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra after the last trial."""
        _show(Path(config.hydra.sweep.dir))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _show(sweep: Path) -> None:
    _say(f"{write_comparison(sweep)}\nsweep folder {sweep.resolve()}")


def main(arguments: list[str] | None = None) -> int:
    """Make the tables of a sweep's folder; the exit status: 0, or 2 if it holds no trial."""
    parser = argparse.ArgumentParser(prog="launch.sweep", description="Make a sweep's tables and picture again.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if not any(options.folder.glob("*/trial.json")):
        sys.stderr.write(f"folder: '{options.folder}' holds no trials; allowed: a sweep's folder\n")
        return 2
    _show(options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
