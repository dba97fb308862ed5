"""Hand a run to a Ray cluster: ``python -m launch.submit --address URL -- [group=option] [key=value]``.

The configuration is validated, and compared with what the cluster has, before anything is sent. The job runs
``launch.train`` from a copy of the project's files, with the environment that the nodes have, or one that
``--image`` or ``--runtime-env`` names. With ``--slurm`` in place of ``--address`` the job goes to SLURM, which starts
Ray on its nodes (``launch.slurm``). Exit status: 0 submitted, stopped, listed, or followed to a good end; 1 the job
failed; 2 refused; 130 Ctrl-C (the job goes on).
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import logging
import os
import shlex
import socket
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conf.schema.base import HUB, MODEL, OVERRIDES, PATH, ConfigError, Marker
from conf.schema.config import Config
from conf.schema.data import is_hub_name
from conf.schema.keys import entries, marked
from conf.schema.override_text import override, quoted
from conf.schema.places import CHECKOUT, CONF, PACKAGES, ROOT
from launch import slurm
from launch.compose import MULTIRUN, compose, parse, trials
from launch.options import with_own_folders
from rollout.data.source import check_held_out, make_source
from rollout.records import RecordError
from rollout.signals import Stopped, exit_status, stop_in_order
from trainer.run_folder.code_version import VARIABLE, code_version
from trainer.run_folder.resume import refuse_other_run

# What a job does not need, as in .gitignore, which Ray reads as well: a link to a folder is no folder to it.
EXCLUDED = [
    ".git", ".venv", "/runs", "/models", "/cache", "/wandb", "/outputs", "/multirun", "/tests",
    "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "*.egg-info",
]  # fmt: skip
# From the stop signal to the kill: time to write what there is and to end the actors (Ray's own default is 3).
STOP_WAIT_S = 15
# Where the data sets are, for configurations that do not say so.
DATA_ROOT = "DATA_ROOT"
STOPPED_WITHIN_S = 30
CONNECT_TIMEOUT_S = 10
AGENT_WAIT_S = 60


class Refused(RuntimeError):
    """The cluster cannot be used as asked; the message is one line."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    job = options.stop or options.follow
    try:
        slurm.check_options(options)
        if options.slurm:
            return slurm.hand_over(*prepare(options.overrides), options)
        if options.list:
            return _list(connect(options.address))
        if isinstance(job, str):
            client = connect(options.address)
        else:
            config, overrides = prepare(options.overrides)
            check_run(config)
            client = connect(options.address)
            check_resources(config, options.address)
            job = submit(client, overrides, options)
        try:
            if options.stop:
                return _stop(client, options.address, job)
            return _follow(client, options.address, job) if options.follow else 0
        except (RuntimeError, OSError) as error:
            raise Refused(f"--{'stop' if options.stop else 'follow'}: '{job}': {_first_line(error)}") from None
    except (ConfigError, Refused) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="launch.submit", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--address", metavar="URL", default=os.environ.get("RAY_API_SERVER_ADDRESS"),
        help="the head's job server, as http://HEAD:8265 (default: RAY_API_SERVER_ADDRESS)")  # fmt: skip
    add("--follow", nargs="?", const=True, metavar="JOB", help="follow the log of the submitted job, or of JOB")
    add("--stop", metavar="JOB", help="stop a job and wait until nothing of it is left")
    add("--list", action="store_true", help="list the cluster's jobs")
    add("--name", help="the job's id; made up by Ray if not given")
    add("--python", default="python", help="the interpreter on the nodes (default: python)")
    add("--image", metavar="URI", help="run in this container image, which holds the project and its environment")
    add("--runtime-env", type=Path, metavar="FILE", help="YAML that is added to Ray's runtime environment")
    add("--env", action="append", default=[], metavar="NAME[=VALUE]",
        help="an environment variable for the job; without a value, the one it has here")  # fmt: skip
    add("overrides", nargs="*", help="after --: what launch.train is given")
    slurm.add_options(parser)
    return parser


# -- what is submitted ---------------------------------------------------------------------------------------------


def prepare(overrides: list[str]) -> tuple[Config, list[str]]:
    """Return the validated configuration and the overrides for the job: it joins its cluster, and paths are absolute,
    since it runs elsewhere. Raises ConfigError."""
    overrides = with_own_folders(overrides)
    if not any(text.lstrip("+").startswith("cluster=") for text in overrides):
        overrides = ["cluster=ray", *overrides]
    first, *others = trials(overrides)
    config = compose(first)
    if config.cluster.address != "auto":
        raise ConfigError(
            f"cluster.address: {config.cluster.address!r} is not allowed in a job, which joins the cluster that it "
            "runs in; allowed: 'auto'"
        )
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    sent = [text for text in overrides if not text.startswith("run_dir=")]
    if not MULTIRUN.intersection(overrides):
        folder = _absolute_path(config.run_dir or f"runs/{stamp}")
        return config, [*sent, *(_absolute(config) | {"run_dir": override("run_dir", folder)}).values()]
    made = _absolute_in_all(first, others)
    made.pop("run_dir", None)
    if not any(text.startswith("hydra.sweep.dir=") for text in sent):
        sent.append(f"hydra.sweep.dir=runs/sweep_{stamp}")
    return config, [*(text if text in MULTIRUN else _absolute_override(text) for text in sent), *made.values()]


def check_run(config: Config) -> None:
    """Raise ConfigError for what the job would refuse and can be seen from here: a folder that holds another run, rows
    that are no problems. What only the cluster sees, such as a folder on its own disks, is left to the job."""
    folder = Path(config.run_dir or "").expanduser()
    if config.run_dir and (folder / "config.yaml").is_file():
        refuse_other_run(folder, config)
    if config.data.source == "files" and not config.data.on_hub:
        try:
            check_held_out(config, make_source(config.data))
        except RecordError as error:
            raise ConfigError(f"data: {error}") from None


def _absolute(config: Config) -> dict[str, str]:
    """Return the overrides, each under its dotted name, that make the configured paths absolute where they are not."""
    values, made = config.model_dump(), {}
    for key in marked(PATH, MODEL, OVERRIDES):
        for name, value in entries(values, key.name):
            if OVERRIDES in key.markers:
                absolute = [_absolute_override(text) for text in value] if isinstance(value, list) else value
            else:
                absolute = _absolute_path(value, key.markers) if isinstance(value, str) else value
            if absolute != value:
                shown = f"[{','.join(map(quoted, absolute))}]" if isinstance(absolute, list) else quoted(absolute)
                # A name in a map may hold a dot.
                map_, inside = key.name.removesuffix(".*"), key.name.endswith(".*")
                made[name] = f"{map_}={{{name[len(map_) + 1 :]}: {shown}}}" if inside else f"{name}={shown}"
    return made


def _absolute_in_all(first: list[str], others: list[list[str]]) -> dict[str, str]:
    """Return, as ``_absolute``, what is the same in all trials of a sweep: paths that its choices set stay theirs."""
    made = _absolute(compose(first))
    for other in others:
        changed = next((new for old, new in zip(first, other, strict=True) if old != new), "")
        key = changed.lstrip("+").partition("=")[0]
        if (CONF / key).is_dir() or _markers(key):
            there = _absolute(compose(other))
            made = {name: text for name, text in made.items() if there.get(name) == text}
    return made


def _absolute_override(text: str) -> str:
    """Return an override with its path, or those of a sweep, made absolute; others as they are."""
    (parsed,) = parse([text])
    markers, value = _markers(parsed.key_or_group), parsed.value()
    paths = [getattr(path, "text", path) for path in getattr(value, "list", [value])]
    if not markers or not all(isinstance(path, str) for path in paths):
        return text
    return f"{parsed.get_key_element()}={','.join(quoted(_absolute_path(path, markers)) for path in paths)}"


def _markers(name: str) -> frozenset[Marker]:
    """Return the markers of the path that a dotted name stands for; none for other keys."""
    if name == "hydra.sweep.dir":
        return frozenset({PATH})
    return next((key.markers for key in marked(PATH, MODEL) if fnmatch(name, key.name)), frozenset())


def _absolute_path(path: str, markers: frozenset[Marker] = frozenset()) -> str:
    """Return a path as seen from here; a model's name, which is no path here and does not look like one, as it is."""
    local = Path(path).exists() or path.startswith((".", "~")) or path.count("/") > 1
    model = MODEL in markers and (path.startswith("package:") or not local)
    if Path(path).is_absolute() or model or (HUB in markers and not local and is_hub_name(path)):
        return path
    return str(Path(path).expanduser().absolute())


def runtime_env(options: argparse.Namespace) -> dict[str, Any]:
    """Return Ray's runtime environment of a job. Raises Refused."""
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), VARIABLE: code_version() or ""}
    if root := os.environ.get(DATA_ROOT):
        variables[DATA_ROOT] = _absolute_path(root, frozenset({PATH, HUB}))
    for text in options.env:
        name, given, value = text.partition("=")
        if not given and name not in os.environ:
            raise Refused(f"--env: '{name}' is not set here; allowed: a variable that is, or NAME=VALUE")
        variables[name] = value if given else os.environ[name]
    if options.image is not None:
        # Ray takes nothing else with an image: it must hold the project, in its working directory.
        if options.runtime_env is not None:
            raise Refused("--runtime-env: not allowed with --image, which is the whole environment")
        return {"image_uri": options.image, "env_vars": variables}
    added: dict[str, Any] = {}
    if options.runtime_env is not None:
        import yaml

        if not options.runtime_env.is_file():
            raise Refused(f"--runtime-env: '{options.runtime_env}' does not exist; allowed: a YAML file")
        added = yaml.safe_load(options.runtime_env.read_text()) or {}
        if not isinstance(added, dict):
            raise Refused(f"--runtime-env: '{options.runtime_env}' holds no mapping; allowed: Ray's runtime_env fields")
    variables |= added.pop("env_vars", {})
    # An installed project lies among everything else that is.
    others = [] if CHECKOUT else [f"/{path.name}" for path in ROOT.iterdir() if path.name not in PACKAGES]
    return {"working_dir": str(ROOT), "excludes": EXCLUDED + others, **added, "env_vars": variables}


def submit(client: Any, overrides: list[str], options: argparse.Namespace) -> str:
    """Submit, say what to type next, and return the job's id. Raises Refused."""
    command = f"exec {shlex.quote(options.python)} -m launch.train {shlex.join(overrides)}"
    asked = {"runtime_env": runtime_env(options), "submission_id": options.name, "metadata": {"project": "decomposer"}}
    deadline = time.monotonic() + AGENT_WAIT_S
    while True:
        try:
            job: str = client.submit_job(entrypoint=command, **asked)
            break
        except (RuntimeError, ValueError) as error:
            # What a head says that has just been started.
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise Refused(f"{options.address} did not take the job: {_first_line(error)}") from None
        time.sleep(1)
    again = f"python -m launch.submit --address {options.address}"
    folder = next(text for text in reversed(overrides) if text.startswith(("run_dir=", "hydra.sweep.dir=")))
    sys.stdout.write(f"submitted {job}\n{folder}\nfollow: {again} --follow {job}\nstop:   {again} --stop {job}\n")
    sys.stdout.flush()
    return job


# -- the cluster ---------------------------------------------------------------------------------------------------


def connect(address: str | None) -> Any:
    """Return a client of the cluster's job server that shows the token this user has. Raises Refused."""
    try:
        parts = urlsplit(address or "")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"--address: {address!r} is not allowed; it must be the head's job server, as http://HEAD:8265")
    try:
        socket.create_connection((parts.hostname, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise Refused(f"--address: nothing answers at {address} ({error.strerror or error})") from None
    # Ray sends the token only in this mode, which it reads when it is imported; without one it is an error there.
    if _token_source() is not None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Ray prefers an address in the environment to the one that it is given.
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    logging.disable(logging.WARNING)  # what Ray says about every packed file and folder
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        source = _token_source()
        if source is None:
            raise Refused(
                f"{address} wants a token and none was found; put it into ~/.ray/auth_token, or name its file in "
                "RAY_AUTH_TOKEN_PATH (on the head, 'ray get-auth-token' prints it)"
            ) from None
        raise Refused(
            f"{address} refuses this token, which is not the cluster's; it was read from {source} "
            "(on the head, 'ray get-auth-token' prints the right one)"
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever answers there, it is no Ray job server
        raise Refused(f"--address: {address} is no Ray job server ({_first_line(error)})") from None


def _token_source() -> str | None:
    """Return where Ray finds a token, in its order; None if nowhere."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return str(file) if file.is_file() else None


def check_resources(config: Config, address: str) -> None:
    """Compare the plan with the cluster's nodes, whatever runs on them now. Raises Refused."""
    from ray.util.state import list_nodes

    from trainer.cluster.placement import Node, shortage

    found = list_nodes(address=address, limit=10_000)
    totals = [node.resources_total for node in found if node.state == "ALIVE"]
    nodes = [Node(float(total.get("CPU", 0)), float(total.get("GPU", 0))) for total in totals]
    missing = shortage(config, nodes)
    if missing is not None:
        raise Refused(missing)


def _list(client: Any) -> int:
    jobs = [job for job in client.list_jobs() if job.submission_id]
    for job in sorted(jobs, key=lambda one: one.start_time or 0):
        began = datetime.datetime.fromtimestamp((job.start_time or 0) / 1000)
        sys.stdout.write(f"{job.submission_id}  {job.status.value:<9}  {began:%Y-%m-%d %H:%M:%S}  {job.entrypoint}\n")
    return 0


def _stop(client: Any, address: str, job: str) -> int:
    """Stop a job; wait until none of its actors is left."""
    from ray.util.state import list_actors

    client.stop_job(job)
    deadline = time.monotonic() + STOPPED_WITHIN_S
    while time.monotonic() < deadline:
        info = client.get_job_info(job)
        of_it = [("job_id", "=", info.job_id), ("state", "!=", "DEAD")]
        if info.status.is_terminal() and not (info.job_id and list_actors(address=address, filters=of_it)):
            sys.stdout.write(f"{job} {info.status.value}; nothing of it is left\n")
            return 0
        time.sleep(0.5)
    sys.stderr.write(f"{job} is {info.status.value} and not all of it is gone after {STOPPED_WITHIN_S} s\n")
    return 1


def _follow(client: Any, address: str, job: str) -> int:
    """Show a job's log until it ends; return 0 if it succeeded, else 1."""

    async def tail() -> None:
        async for text in client.tail_job_logs(job):
            sys.stdout.write(text)
            sys.stdout.flush()

    stop_in_order()
    try:
        client.get_job_info(job)
        asyncio.run(tail())
        while not (status := client.get_job_status(job)).is_terminal():  # the log's end comes a moment before
            time.sleep(0.5)
    except (KeyboardInterrupt, Stopped) as stopped:
        sys.stderr.write(f"\n{job} goes on; stop it with: python -m launch.submit --address {address} --stop {job}\n")
        return exit_status(stopped)
    sys.stdout.write(f"{job} {status.value}\n")
    return 0 if status.value == "SUCCEEDED" else 1


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].strip() if text else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
