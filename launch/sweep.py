"""Sweeps: the trials of ``-m``, one after another or several at once, and the tables at the end.

A trial's folder is named after what is swept and holds all its overrides, so that a sweep that is started again in its
folder (``hydra.sweep.dir=FOLDER``) takes finished trials from there; one that did not finish is set aside, and run
again.
``python -m launch.sweep FOLDER`` makes the tables of a sweep again, finished or not.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import re
import shlex
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.override_text import override
from launch.compose import MULTIRUN, compose, is_search, key_of, parse, sweep_params, trials
from launch.job import SWEEP_CLUSTER, execute
from rollout.signals import Stopped, stop_in_order
from trainer.reports.sweep_table import DONE, comparable, judged, minutes, score, write_comparison
from trainer.reports.tables import DEFAULT
from trainer.run_folder.files import read_json, write_json
from trainer.run_folder.lock import held_folder
from trainer.run_folder.resume import holds_run

LEAVING_S = 180.0
# Of a search whose command gives its sampler none.
SEARCH_SEED = 0
# Bytes of a trial's name, beside a hash where more would be needed: what file systems limit.
LONGEST_NAME = 100
# The score that a search gets of a trial without one; it looks for the highest.
LOWEST = 0.0


class TrialFailed(RuntimeError):
    """A trial that did not finish; the message says where its log is."""


def trial_folder(sweep: Path, overrides: Sequence[str], fixed: Collection[str] = ()) -> Path:
    """Return a trial's folder in its sweep's: the one that holds a trial with these overrides, else a new one that is
    named after those whose keys are not ``fixed``, to be read, and short enough for a file."""
    for file in sweep.glob("*/trial.json"):
        if sorted(read_json(file).get("overrides", [])) == sorted(overrides):
            return file.parent
    chosen = [text for text in overrides if key_of(text) != "sweep"]
    named = [text for text in chosen if key_of(text) not in fixed] or chosen
    text = ",".join(named)
    short = text if len(text.encode(errors="replace")) <= LONGEST_NAME else ",".join(map(_short, named))
    # A character whose last bytes are cut off is left out.
    name = re.sub(r"[^\w=.,+-]+", "_", short).encode()[:LONGEST_NAME].decode(errors="ignore")
    # What is there already is another trial's, or a run of no sweep.
    if name == text and not (sweep / name / "trial.json").exists() and not holds_run(sweep / name):
        return sweep / name
    return sweep / f"{name}-{hashlib.sha256(','.join(overrides).encode()).hexdigest()[:8]}"


def _short(override: str) -> str:
    """Return an override with its key's last name alone, and of a number three digits."""
    key, _, value = override.lstrip("+").partition("=")
    with suppress(ValueError):
        value = f"{float(value):.3g}"
    return f"{key.rpartition('.')[2]}={value}"


def fixed_keys(arguments: Sequence[str]) -> list[str]:
    """Return the keys to which a sweep's command line, or the sweep that it chooses, gives one value in all trials,
    apart from those that the chosen sweep varies: one of its trials run alone is named as it is among the others."""
    first, *others = trials(list(arguments))
    swept = {key_of(new) for other in others for old, new in zip(first, other, strict=True) if old != new}
    swept.update(sweep_params([text for text in arguments if text not in MULTIRUN]))
    return [key for key in map(key_of, first) if key not in swept]


def other_overrides(sweep: Path, arguments: Sequence[str]) -> list[str]:
    """Return the keys in which trials of a sweep's folder differ from those of this command line, apart from the keys
    that it sweeps, each with its values there and here."""
    here, fixed = _given(trials(list(arguments))[0]), set(fixed_keys(arguments))
    found: dict[str, set[str]] = {}
    for file in sweep.glob("*/trial.json"):
        there = _given(read_json(file).get("overrides", []))
        for key in (there.keys() - here.keys()) | fixed:
            if there.get(key, DEFAULT) != here.get(key, DEFAULT):
                found.setdefault(key, set()).add(there.get(key, DEFAULT))
    return [f"{key} ({', '.join(sorted(old))} there, {here.get(key, DEFAULT)} here)" for key, old in found.items()]


def _given(overrides: Sequence[str]) -> dict[str, str]:
    """Return the values of overrides by key, as Hydra writes them."""
    return {one.get_key_element().lstrip("+"): one.get_value_element_as_str() for one in parse(list(overrides))}


def finished(folder: Path) -> dict[str, Any] | None:
    """Return the summary of a trial that is done, else None."""
    summary = read_json(folder / "summary.json")
    return summary if summary.get("status") in DONE else None


def prepare(
    sweep: Path, overrides: Sequence[str], number: int, config: Config | DictConfig, fixed: Collection[str] = ()
) -> tuple[Path, list[str]]:
    """Make a trial's folder, after setting aside what is left of an earlier try; return it and the overrides with which
    the trial runs. ``config`` is what these overrides make. Raises ConfigError."""
    folder, sweep = trial_folder(sweep, overrides, fixed).resolve(), sweep.resolve()
    # Other sweeps have trials of the same name.
    mirror = None if config.mirror is None else f"{config.mirror.rstrip('/')}/{sweep.name}"
    if folder.exists():
        _wait_until_left(folder)
        # Without a configuration it never held a run, and what is in its copy's place is another's.
        if mirror is not None and holds_run(folder):
            from trainer.run_folder.mirror import Mirror

            Mirror(mirror, folder, _say).give_way()
        aside = sweep / "unfinished"
        aside.mkdir(exist_ok=True)
        folder.rename(aside / f"{folder.name}-try-{_next_try(aside, folder.name)}")
    folder.mkdir(parents=True)
    write_json(folder / "trial.json", {"number": number, "overrides": list(overrides)})
    given = {key_of(text) for text in overrides}
    group = [] if "tracking.group" in given else [override("tracking.group", sweep.name)]
    copied = [] if mirror is None else [override("mirror", mirror)]
    kept = [text for text in overrides if mirror is None or key_of(text) != "mirror"]
    return folder, [*kept, override("run_dir", str(folder)), *group, *copied]


def _next_try(aside: Path, name: str) -> int:
    """Return a number that no earlier try of a trial has, whichever of them were removed. It does not follow a dot,
    where it would be read as part of the last value."""
    ends = [path.name.rpartition("-try-")[2] for path in aside.glob(f"{name}-try-*")]
    return 1 + max((int(end) for end in ends if end.isdecimal()), default=0)


def _wait_until_left(folder: Path) -> None:
    """Wait for a trial whose sweep was killed: it is left without a cluster, and takes a minute or two to end."""
    with suppress(ConfigError), held_folder(folder):
        return
    _say(f"waiting up to {LEAVING_S:g} s for the process that is still at work in {folder}")
    with held_folder(folder, LEAVING_S):
        return


def run_trial(
    overrides: list[str],
    config: DictConfig,
    sweep: Path,
    number: int,
    searched: Sequence[str] = (),
    fixed: Collection[str] = (),
    *,
    search: bool = False,
) -> float:
    """Run a trial here, unless it is finished, with the user's own folders of YAML; return its score, in a ``search``
    as ``found`` has it. ``config`` is what Hydra composed of it. Its folder's name leaves the ``fixed`` keys out.

    Raises ConfigError, TrialFailed, Stopped.
    """
    summary = finished(trial_folder(sweep, overrides, fixed))
    if summary is None:
        folder, whole = prepare(sweep, overrides, number, config, fixed)
        whole += searched
        code = execute(compose(whole), whole)
        if code > 128:
            raise Stopped(code - 128)
        summary = finished(folder)
        if code or summary is None:
            raise TrialFailed(f"{' '.join(overrides)}: exit status {code}; details in {folder / 'logs'}")
    return found(overrides, summary, search)


def found(overrides: Sequence[str], summary: dict[str, Any], search: bool) -> float:
    """Return the score of a trial that is done. For a search, which needs a number and compares them, it is the lowest
    where the trial did not come to what it was to be judged by; that is said."""
    if not search or comparable(summary):
        return score(summary)
    _say(f"{' '.join(overrides)}: counts as {LOWEST:g} in the search ({summary['status']}, {_shown(summary)})")
    return LOWEST


def _shown(summary: dict[str, Any]) -> str:
    kind = judged(summary)
    return "not evaluated" if kind is None else f"{score(summary):.3f}"


class SideBySide(Launcher):
    """The launcher ``parallel``: ``at_once`` trials side by side on one Ray cluster, each a process that joins it.

    A trial is a Ray driver, with handlers of signals and a screen of its own; so it cannot run in a Ray worker, as
    hydra-ray-launcher has it.
    """

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the sweep's folder from Hydra, which calls this before ``launch``."""
        self.sweep = Path(config.hydra.sweep.dir)
        self.search = is_search(config.hydra)
        self.fixed = fixed_keys(["-m", *config.hydra.overrides.task])
        self.searched = [text for text in config.hydra.overrides.hydra if text.startswith("hydra.searchpath=")]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all trials and return their results in their order. A trial that fails does not end the others."""
        stop_in_order()
        results: dict[int, JobReturn] = {}
        waiting: dict[int, list[str]] = {}
        for index, overrides in enumerate(map(list, job_overrides)):
            summary = finished(trial_folder(self.sweep, overrides, self.fixed))
            if summary is None:
                waiting[index] = overrides
            else:
                _say(f"{' '.join(overrides)}: found finished, {_shown(summary)}")
                results[index] = self._result(overrides, summary)
        if waiting:
            configs = {index: compose([*overrides, *self.searched]) for index, overrides in waiting.items()}
            at_once = with_room(list(configs.values()), min(self.at_once, len(waiting)))
            address, leave = _shared_cluster(list(configs.values()), at_once)
            try:
                results |= asyncio.run(self._run(waiting, configs, address, initial_job_idx, at_once))
            finally:
                leave()
        return [results[index] for index in sorted(results)]

    async def _run(
        self, waiting: dict[int, list[str]], configs: dict[int, Config], address: str | None, first: int,
        at_once: int,
    ) -> dict[int, JobReturn]:  # fmt: skip
        places = asyncio.Semaphore(at_once)

        async def run(index: int, overrides: list[str]) -> JobReturn:
            async with places:
                return await self._trial(overrides, configs[index], first + index, address)

        results = await asyncio.gather(*(run(index, overrides) for index, overrides in waiting.items()))
        return dict(zip(waiting, results, strict=True))

    async def _trial(self, overrides: list[str], config: Config, number: int, address: str | None) -> JobReturn:
        """Run a trial in a process of its own, which is ended if this is cancelled."""
        try:  # it may wait for a folder that is still in use
            folder, whole = await asyncio.to_thread(prepare, self.sweep, overrides, number, config, self.fixed)
        except ConfigError as error:  # the others go on
            _say(f"{' '.join(overrides)}: refused, {error}")
            return self._result(overrides, None, str(error))
        log, said, began = folder / "output.log", " ".join(overrides), time.monotonic()
        with log.open("wb") as output:
            # In a session of its own: Ctrl-C comes through here, once.
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "launch.train", *whole, *self.searched,
                env=os.environ | ({} if address is None else {SWEEP_CLUSTER: address}),
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            _say(f"{said}: started, output in {log}")
            code = await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        summary = finished(folder)
        end = _shown(summary) if summary is not None else f"failed ({code})"
        took = minutes(summary) if summary is not None else (time.monotonic() - began) / 60
        _say(f"{said}: {end} after {took:.1f} min")
        return self._result(overrides, summary, f"{said}: exit status {code}; its output is in {folder}")

    def _result(self, overrides: list[str], summary: dict[str, Any] | None, failure: str = "") -> JobReturn:
        done = JobReturn(overrides=overrides)
        done.status = JobStatus.FAILED if summary is None else JobStatus.COMPLETED
        done.return_value = TrialFailed(failure) if summary is None else found(overrides, summary, self.search)
        return done


def with_room(configs: list[Config], most: int) -> int:
    """Return how many of these trials to run at once: as many as have room together, which is said if it is fewer than
    ``most``. A trial that has no room by itself is refused when it starts, as is one that finds no cluster."""
    from trainer.cluster.ray_cluster import room

    found, lacking = room(configs, most)
    if lacking is not None:
        _say(f"hydra.launcher.at_once: {found} instead of {most}, since there is no room for more; {lacking}")
    return found


def _shared_cluster(configs: list[Config], at_once: int) -> tuple[str | None, Any]:
    """Return the address of the sweep's own cluster, None where its trials join another, and a function that ends it.

    Without one to join, one is started here that has room for ``at_once`` trials: as on a laptop, their actors may
    have to share the cores that there are.
    """
    if configs[0].cluster.address is not None:
        return None, lambda: None
    import ray

    from trainer.cluster.placement import bundles
    from trainer.cluster.ray_cluster import start_ray, stop_ray

    joined = [one.model_copy(update={"cluster": one.cluster.model_copy(update={"address": "auto"})}) for one in configs]
    cores = max(int(sum(bundle.cpus for bundle in bundles(one))) for one in joined)
    own = configs[0].cluster
    room = {"num_cpus": at_once * cores, "object_store_gib": at_once * own.object_store_gib}
    config = configs[0].model_copy(update={"cluster": own.model_copy(update=room)})
    start_ray(config)
    return str(ray.get_runtime_context().gcs_address), lambda: stop_ray(config)


class Tables(Callback):
    """A callback that prepares a search and writes the sweep's tables and picture when it ends."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Have a search look for the highest accuracy in an order that can be repeated, and make the sweep's folder
        known to whoever says how to go on; Hydra calls this before the first trial."""
        if is_search(config.hydra):
            _prepare_search(config.hydra.sweeper)
        HydraConfig.instance().set_config(config)
        sweep = Path(config.hydra.sweep.dir)
        if other := other_overrides(sweep, ["-m", *config.hydra.overrides.task]):
            _say(f"{sweep} holds trials with other overrides, which the tables show beside these: {'; '.join(other)}")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Write them; Hydra calls this after the last trial."""
        _show(Path(config.hydra.sweep.dir))


def _prepare_search(sweeper: DictConfig) -> None:
    """Have Optuna look for the highest score and draw its trials with a fixed seed, so that a search goes on from its
    folder: its own defaults are the lowest score and no seed."""
    sweeper.direction = "maximize"
    if not sys.stderr.isatty():
        # Optuna colours its log wherever it goes.
        os.environ.setdefault("NO_COLOR", "1")
    if "seed" in sweeper.sampler and sweeper.sampler.seed is None:
        sweeper.sampler.seed = SEARCH_SEED


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _show(sweep: Path) -> None:
    _say(f"{write_comparison(sweep)}\nsweep folder {sweep.resolve()}")
    if upload := upload_command(sweep):
        _say(f"tracked offline; to upload: {upload}")


def upload_command(sweep: Path) -> str | None:
    """Return the command that sends the trials' offline files to W&B, those of unfinished tries too; None where there
    are none, or all were sent."""
    parts = [
        f"{shlex.quote(str(sweep.resolve()))}/{pattern}"
        for pattern in ("*/wandb/offline-*", "unfinished/*/wandb/offline-*")
        if any(not any(run.glob("*.synced")) for run in sweep.glob(pattern))
    ]
    return f"wandb sync {' '.join(parts)}" if parts else None


def main(arguments: list[str] | None = None) -> int:
    """Make the tables of a sweep's folder; return the exit status: 0, or 2 if it holds no trial."""
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
