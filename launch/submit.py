"""Hand a run to a Ray cluster: ``python -m launch.submit --address URL -- [group=option] [key=value]``.

The configuration is validated, and compared with what the cluster has, before anything is sent. The job runs
``launch.train`` from a copy of the project's files, with the environment that the nodes have, or one that
``--image`` or ``--runtime-env`` names. Exit status: 0 submitted, stopped, listed, or followed to a good end; 1 the job
failed; 2 refused; 130 Ctrl-C (the job goes on).
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import logging
import os
import re
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.places import CHECKOUT, PACKAGES, ROOT
from launch.compose import MULTIRUN, compose, first_trial
from trainer.run_folder.code_version import VARIABLE, code_version

# What a job does not need, as in .gitignore, which Ray reads as well: a link to a folder is no folder to it.
EXCLUDED = [
    ".git", ".venv", "/runs", "/models", "/cache", "/wandb", "/outputs", "/multirun", "/tests",
    "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "*.egg-info",
]  # fmt: skip
PATHS = ("model.path", "solver.path", "solver.cache_path", "data.root", "start_from")
# From the stop signal to the kill: time to write what there is and to end the actors (Ray's own default is 3).
STOP_WAIT_S = 15
STOPPED_WITHIN_S = 30
CONNECT_TIMEOUT_S = 10
AGENT_WAIT_S = 60


class Refused(RuntimeError):
    """The cluster cannot be used as asked; the message is one line."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.stop or options.list or isinstance(options.follow, str):
            client = connect(options.address)
            if options.list:
                return _list(client)
            if options.stop:
                return _stop(client, options.address, options.stop)
            return _follow(client, options.address, options.follow)
        config, overrides = prepare(options.overrides)
        client = connect(options.address)
        check_resources(config, options.address)
        job = submit(client, overrides, options)
        return _follow(client, options.address, job) if options.follow else 0
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
    return parser


# -- what is submitted ---------------------------------------------------------------------------------------------


def prepare(overrides: list[str]) -> tuple[Config, list[str]]:
    """The validated configuration and the overrides for the job: it joins its cluster, and paths are absolute, since
    it runs elsewhere. Raises ConfigError."""
    if not any(text.lstrip("+").startswith("cluster=") for text in overrides):
        overrides = ["cluster=ray", *overrides]
    config = compose(first_trial(overrides))
    if config.cluster.address != "auto":
        raise ConfigError(
            f"cluster.address: {config.cluster.address!r} is not allowed in a job, which joins the cluster that it "
            "runs in; allowed: 'auto'"
        )
    made = [f"{key}={_quoted(path)}" for key, path in _absolute(config).items()]
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if MULTIRUN.intersection(overrides):
        if not any(text.startswith("hydra.sweep.dir=") for text in overrides):
            made.append(f"hydra.sweep.dir={_quoted(str(Path('runs').absolute() / f'sweep_{stamp}'))}")
    else:
        folder = Path(config.run_dir or f"runs/{stamp}").expanduser().absolute()
        made.append(f"run_dir={_quoted(str(folder))}")
    return config, [*(text for text in overrides if not text.startswith("run_dir=")), *made]


def _absolute(config: Config) -> dict[str, str]:
    """The configured paths that are relative, made absolute."""
    found = {}
    for key in PATHS:
        value: Any = config
        for name in key.split("."):
            value = getattr(value, name, None)
        if isinstance(value, str) and not value.startswith("package:"):
            path = Path(value).expanduser()
            # What is not here is a name on the hub.
            if not Path(value).is_absolute() and (path.exists() or value.startswith((".", "~"))):
                found[key] = str(path.absolute())
    return found


def _quoted(value: str) -> str:
    """A value as Hydra's grammar reads it back unchanged."""
    if re.fullmatch(r"[\w./-]+", value):
        return value
    return "'" + value.replace("\\'", "\\\\'").replace("'", "\\'") + "'"


def runtime_env(options: argparse.Namespace) -> dict[str, Any]:
    """Ray's runtime environment of a job. Raises Refused."""
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), VARIABLE: code_version() or ""}
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
    environment = runtime_env(options)
    deadline = time.monotonic() + AGENT_WAIT_S
    while True:
        try:
            job: str = client.submit_job(
                entrypoint=command,
                runtime_env=environment,
                submission_id=options.name,
                metadata={"project": "decomposer"},
            )
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
    """A client of the cluster's job server that shows the token this user has. Raises Refused."""
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
    _show_token()
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
    """Where Ray finds a token, in its order; None if nowhere."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return str(file) if file.is_file() else None


def _show_token() -> None:
    """Ray sends the token only in this mode, which it reads when it is imported; without one it is an error there."""
    if _token_source() is not None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


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
        began = datetime.datetime.fromtimestamp((job.start_time or 0) / 1000).strftime("%Y-%m-%d %H:%M:%S")
        sys.stdout.write(f"{job.submission_id}  {job.status.value:<9}  {began}  {job.entrypoint}\n")
    return 0


def _stop(client: Any, address: str, job: str) -> int:
    """Stop a job; wait until none of its actors is left."""
    from ray.util.state import list_actors

    try:
        client.stop_job(job)
        deadline = time.monotonic() + STOPPED_WITHIN_S
        while time.monotonic() < deadline:
            info = client.get_job_info(job)
            actors = (
                list_actors(address=address, filters=[("job_id", "=", info.job_id), ("state", "!=", "DEAD")])
                if info.job_id
                else []
            )
            if info.status.is_terminal() and not actors:
                sys.stdout.write(f"{job} {info.status.value}; nothing of it is left\n")
                return 0
            time.sleep(0.5)
    except RuntimeError as error:
        raise Refused(f"--stop: '{job}': {_first_line(error)}") from None
    sys.stderr.write(f"{job} is {info.status.value} and {len(actors)} actors are left after {STOPPED_WITHIN_S} s\n")
    return 1


def _follow(client: Any, address: str, job: str) -> int:
    """Show a job's log until it ends; the status is the job's."""

    async def tail() -> None:
        async for text in client.tail_job_logs(job):
            sys.stdout.write(text)
            sys.stdout.flush()

    try:
        client.get_job_info(job)
        asyncio.run(tail())
        info = client.get_job_info(job)
        while not info.status.is_terminal():  # the log's end comes a moment before
            time.sleep(0.5)
            info = client.get_job_info(job)
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{job} goes on; stop it with: python -m launch.submit --address {address} --stop {job}\n")
        return 130
    except (RuntimeError, OSError) as error:
        raise Refused(f"--follow: '{job}': {_first_line(error)}") from None
    sys.stdout.write(f"{job} {info.status.value}\n")
    return 0 if info.status.value == "SUCCEEDED" else 1


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].strip() if text else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
