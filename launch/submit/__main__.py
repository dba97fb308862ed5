"""Hand a run to a Ray cluster: ``python -m launch.submit --address URL -- [group=option] [key=value]``.

The configuration is validated, and compared with what the cluster has, before anything is sent. The job runs
``launch.train`` from a copy of the project's files, with the environment that the nodes have, or one that
``--image`` or ``--runtime-env`` names. With ``--slurm`` in place of ``--address`` the job goes to SLURM, which starts
Ray on its nodes. Exit status: 0 submitted, stopped, listed, or followed to a good end; 1 the job failed; 2 refused; 130
Ctrl-C (the job goes on).
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import sys
import time
from pathlib import Path
from typing import Any

from conf.schema.base import ConfigError
from launch.submit import slurm
from launch.submit.job_request import (
    check_run,
    go_on_command,
    interpreter_remedy,
    prepare,
    shown_folder,
    submit,
    warn_of_tiny_models,
)
from launch.submit.job_server import Refused, check_resources, connect, first_line
from rollout.signals import Stopped, cancel_on_signals, exit_status, ignore_signals, kept_handlers, stop_in_order

STOPPED_WITHIN_S = 30


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
            warn_of_tiny_models(config)
            job = submit(client, overrides, options)
        try:
            if options.stop:
                return _stop(client, options.address, job)
            return _follow(client, options.address, job) if options.follow else 0
        except (RuntimeError, OSError) as error:
            raise Refused(f"--{'stop' if options.stop else 'follow'}: '{job}': {first_line(error)}") from None
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
    add("--python", default="python", metavar="PATH",
        help="the nodes' interpreter, of an environment with the project's packages (default: python)")  # fmt: skip
    add("--image", metavar="URI", help="run in this container image, which holds the project and its environment")
    add("--runtime-env", type=Path, metavar="FILE", help="YAML that is added to Ray's runtime environment")
    add("--env", action="append", default=[], metavar="NAME[=VALUE]",
        help="an environment variable for the job; without a value, the one it has here")  # fmt: skip
    add("overrides", nargs="*", help="after --: what launch.train is given")
    slurm.add_options(parser)
    return parser


def _list(client: Any) -> int:
    """Print a line for each job: id, status, start, folder."""
    jobs = [job for job in client.list_jobs() if job.submission_id]
    if not jobs:
        sys.stdout.write("no jobs\n")
    width = max((len(job.submission_id) for job in jobs), default=0)
    for job in sorted(jobs, key=lambda one: one.start_time or 0):
        began = datetime.datetime.fromtimestamp((job.start_time or 0) / 1000)
        sys.stdout.write(
            f"{job.submission_id:<{width}}  {job.status.value:<9}  {began:%Y-%m-%d %H:%M:%S}  "
            f"{shown_folder(job.entrypoint)}\n"
        )
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
            if info.status.value == "STOPPED" and (again := go_on_command(info, address)) is not None:
                sys.stdout.write(f"to go on: {again}\n")
            return 0
        time.sleep(0.5)
    sys.stderr.write(f"{job} is {info.status.value} and not all of it is gone after {STOPPED_WITHIN_S} s\n")
    return 1


def _follow(client: Any, address: str, job: str) -> int:
    """Show a job's log until it ends; return 0 if it succeeded, else 1."""

    stopped_by: list[int] = []

    def stop(number: int) -> None:
        stopped_by.append(number)
        ignore_signals()

    async def tail() -> None:
        cancel_on_signals(stop)
        async for text in client.tail_job_logs(job):
            sys.stdout.write(text)
            sys.stdout.flush()

    stop_in_order()
    try:
        client.get_job_info(job)
        with kept_handlers():
            asyncio.run(tail())
        while not (status := client.get_job_status(job)).is_terminal():  # the log's end comes a moment before
            time.sleep(0.5)
    except (KeyboardInterrupt, Stopped, asyncio.CancelledError) as stopped:
        ignore_signals()  # what Ray does when a process ends takes a second, and a signal would show its stack
        sys.stderr.write(f"\n{job} goes on; stop it with: python -m launch.submit --address {address} --stop {job}\n")
        return exit_status(Stopped(stopped_by[0]) if stopped_by else stopped)
    remedy = interpreter_remedy(client.get_job_info(job))
    sys.stdout.write(f"{job} {status.value}{f': {remedy}' if remedy else ''}\n")
    return 0 if status.value == "SUCCEEDED" else 1


if __name__ == "__main__":
    sys.exit(main())
