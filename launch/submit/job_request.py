"""The job that is submitted: its configuration, its command, its environment, and the command that goes on with it."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from conf.schema.base import HUB, MODEL, PATH, ConfigError, Marker
from conf.schema.config import Config
from conf.schema.keys import entries, marked
from conf.schema.override_text import override, quoted
from conf.schema.places import CHECKOUT, PACKAGES, ROOT
from launch.check_sweep import check_no_matrix, check_single, check_trials
from launch.compose import HERE, MULTIRUN, chosen_option, compose, continued, is_choice, key_of, parse, trials
from launch.options import with_own_folders
from launch.submit.job_server import Refused, first_line
from rollout.data.source import check_source, make_source
from rollout.records import RecordError
from trainer.run_folder.code_version import VARIABLE, code_version
from trainer.run_folder.paths import TYPED_IN, absolute_path, markers_of
from trainer.run_folder.resume import check_folder

# What a job does not need, as in .gitignore, which Ray reads as well: a link to a folder is no folder to it.
EXCLUDED = [
    ".git", ".venv", "/runs", "/models", "/cache", "/wandb", "/outputs", "/multirun", "/tests",
    "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "*.egg-info",
]  # fmt: skip
# From the stop signal to the kill: the default of controller.stop_timeout_s, and time to write what there is and to end
# the actors (Ray's own default is 3).
STOP_WAIT_S, STOP_VARIABLE = 23, "RAY_JOB_STOP_WAIT_TIME_S"
# Where the data sets are, for configurations that do not say so.
DATA_ROOT = "DATA_ROOT"
TRAIN = "launch.train"
# What every job's runtime environment has.
OWN_FIELDS = ("working_dir", "excludes", "env_vars")
AGENT_WAIT_S = 60
# The overrides that name the folder of a run or of a sweep.
FOLDER_KEYS = ("run_dir=", "hydra.sweep.dir=")
SHOWN_COMMAND = 60
# A shell's exit status for a command that cannot be executed, or is not there.
NOT_STARTED = (126, 127)


def prepare(overrides: list[str]) -> tuple[Config, list[str]]:
    """Return the validated configuration and the overrides for the job: it joins its cluster, and paths are absolute,
    since it runs elsewhere. Raises ConfigError."""
    overrides = with_own_folders(overrides)
    check_no_matrix(overrides)
    if not MULTIRUN.intersection(overrides):
        overrides = continued(overrides)
        check_single(overrides)
    first, *others = trials(overrides)
    choosing = [first, *(other for other in others if is_choice(_changed(first, other)))]
    given = any(text.lstrip("+").startswith("cluster=") for text in overrides)
    if not given and all(chosen_option(one, "cluster") == HERE for one in choosing):
        overrides = ["cluster=ray", *overrides]
        first, *others = trials(overrides)
    config = check_trials(overrides)
    for one in (config, *(compose(other) for other in others if is_choice(_changed(first, other)))):
        if one.cluster.address != "auto":
            raise ConfigError(
                f"cluster.address: {one.cluster.address!r} is not allowed in a job, which joins the cluster that it "
                "runs in; allowed: 'auto'"
            )
    # To the microsecond: a script may submit several in one second.
    stamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    sent = [text for text in overrides if not text.startswith("run_dir=")]
    if not MULTIRUN.intersection(overrides):
        folder = absolute_path(config.run_dir or f"runs/{stamp}")
        return config, [*sent, *(_absolute(config) | {"run_dir": override("run_dir", folder)}).values()]
    made = _absolute_in_all(first, others)
    made.pop("run_dir", None)
    if not any(text.startswith("hydra.sweep.dir=") for text in sent):
        sent.append(f"hydra.sweep.dir=runs/sweep_{stamp}")
    return config, [*(text if text in MULTIRUN else _absolute_override(text) for text in sent), *made.values()]


def check_run(config: Config) -> None:
    """Raise ConfigError for what the job would refuse and can be seen from here: a folder that holds another run or
    something else, rows that are no problems. What only the cluster sees, such as a folder on its own disks, is left to
    the job."""
    if config.run_dir:
        check_folder(Path(config.run_dir).expanduser(), config)
    check_data(config)


def check_data(config: Config) -> None:
    """Raise ConfigError for rows that are no problems, where they can be seen from here."""
    if config.data.source == "files" and not config.data.on_hub:
        try:
            check_source(config, make_source(config.data))
        except RecordError as error:
            raise ConfigError(f"data: {error}") from None


def warn_of_tiny_models(config: Config) -> None:
    """Say if the job takes GPUs for models that need none."""
    from trainer.cluster.resource_plan import tiny_on_gpus

    if (doubt := tiny_on_gpus(config)) is not None:
        sys.stderr.write(f"warning: {doubt}\n")


def _absolute(config: Config) -> dict[str, str]:
    """Return the overrides, each under its dotted name, that make the configured paths absolute where they are not."""
    values, made = config.model_dump(), {}
    for key in marked(PATH, MODEL):
        for name, value in entries(values, key.name):
            absolute = absolute_path(value, key.markers) if isinstance(value, str) else value
            if absolute != value:
                # A name in a map may hold a dot.
                map_, inside = key.name.removesuffix(".*"), key.name.endswith(".*")
                shown = quoted(absolute)
                made[name] = f"{map_}={{{name[len(map_) + 1 :]}: {shown}}}" if inside else f"{name}={shown}"
    return made


def _absolute_in_all(first: list[str], others: list[list[str]]) -> dict[str, str]:
    """Return, as ``_absolute``, what is the same in all trials of a sweep: paths that its choices set stay theirs."""
    made = _absolute(compose(first))
    for other in others:
        changed = _changed(first, other)
        if is_choice(changed) or _markers(key_of(changed)):
            there = _absolute(compose(other))
            made = {name: text for name, text in made.items() if there.get(name) == text}
    return made


def _changed(first: list[str], other: list[str]) -> str:
    """Return the override of another trial that the first has not; nothing if there is none."""
    return next((new for old, new in zip(first, other, strict=True) if old != new), "")


def _absolute_override(text: str) -> str:
    """Return an override with its path, or those of a sweep, made absolute; others as they are."""
    (parsed,) = parse([text])
    markers, value = _markers(parsed.key_or_group), parsed.value()
    swept = parsed.is_choice_sweep()
    if not markers or parsed.is_delete() or (parsed.is_sweep_override() and not swept):
        return text
    absolute = ",".join(_absolute_value(one, markers) for one in (value.list if swept else [value]))
    return f"{parsed.get_key_element()}={absolute}"


def _absolute_value(value: Any, markers: frozenset[Marker]) -> str:
    """Return a value of a path's key, as Hydra has read it, with its paths absolute: as it is written in an
    override."""
    value = getattr(value, "text", value)
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}: {_absolute_value(one, markers)}' for name, one in value.items())}}}"
    return quoted(absolute_path(value, markers)) if isinstance(value, str) else json.dumps(value)


def _markers(name: str) -> frozenset[Marker]:
    """Return the markers of the path that a dotted name stands for; none for other keys."""
    return frozenset({PATH}) if name == "hydra.sweep.dir" else markers_of(name)


def _sent_unasked() -> dict[str, str]:
    """Return the variables of a job that nobody types, and for which one may type another value."""
    unasked = {STOP_VARIABLE: str(STOP_WAIT_S)}
    if root := os.environ.get(DATA_ROOT):
        unasked[DATA_ROOT] = absolute_path(root, frozenset({PATH, HUB}))
    return unasked


def runtime_env(options: argparse.Namespace) -> dict[str, Any]:
    """Return Ray's runtime environment of a job. Raises Refused."""
    variables = {TYPED_IN: str(Path.cwd()), **_sent_unasked()}
    typed = {}
    for text in options.env:
        name, has_value, value = text.partition("=")
        if not has_value and name not in os.environ:
            raise Refused(f"--env: '{name}' is not set here; allowed: a variable that is, or NAME=VALUE")
        typed[name] = value if has_value else os.environ[name]
    if options.image is not None:
        # Ray takes nothing else with an image: it must hold the project, in its working directory.
        if options.runtime_env is not None:
            raise Refused("--runtime-env: not allowed with --image, which is the whole environment")
        return {"image_uri": options.image, "env_vars": variables | typed}
    added: dict[str, Any] = {}
    if options.runtime_env is not None:
        import yaml

        if not options.runtime_env.is_file():
            raise Refused(f"--runtime-env: '{options.runtime_env}' does not exist; allowed: a YAML file")
        try:
            added = yaml.safe_load(options.runtime_env.read_text(encoding="utf-8")) or {}
        except (OSError, ValueError, yaml.YAMLError) as error:
            said = " ".join(str(error).split())
            raise Refused(f"--runtime-env: '{options.runtime_env}' cannot be read: {said}") from None
        if not isinstance(added, dict):
            raise Refused(f"--runtime-env: '{options.runtime_env}' holds no mapping; allowed: Ray's runtime_env fields")
    given = added.pop("env_vars", None) or {}
    if not isinstance(given, dict) or not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise Refused("--runtime-env: env_vars is no mapping of names to texts; allowed: NAME: 'VALUE', a number too")
    if "working_dir" not in added:  # else it is not this code that runs
        variables[VARIABLE] = code_version() or ""
    variables |= given | typed
    # An installed project lies among everything else that is.
    others = [] if CHECKOUT else [f"/{path.name}" for path in ROOT.iterdir() if path.name not in PACKAGES]
    return {"working_dir": str(ROOT), "excludes": EXCLUDED + others, **added, "env_vars": variables}


def submit(client: Any, overrides: list[str], options: argparse.Namespace) -> str:
    """Submit, say what to type next, and return the job's id. Raises Refused."""
    command = f"exec {shlex.quote(options.python)} -m {TRAIN} {shlex.join(overrides)}"
    asked = {"runtime_env": runtime_env(options), "submission_id": options.name, "metadata": {"project": "decomposer"}}
    deadline = time.monotonic() + AGENT_WAIT_S
    while True:
        try:
            job: str = client.submit_job(entrypoint=command, **asked)
            break
        except (RuntimeError, TypeError, ValueError) as error:  # of the last two, a field that Ray does not take
            # What a head says that has just been started.
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise Refused(f"{options.address} did not take the job: {first_line(error)}") from None
        time.sleep(1)
    again = f"python -m launch.submit --address {options.address}"
    folder = next(text for text in reversed(overrides) if text.startswith(FOLDER_KEYS))
    sys.stdout.write(f"submitted {job}\n{folder}\nfollow: {again} --follow {job}\nstop:   {again} --stop {job}\n")
    sys.stdout.flush()
    return job


def _words(entrypoint: str) -> list[str]:
    """Return the words of a job's command; none if it is no shell's."""
    try:
        return shlex.split(entrypoint)
    except ValueError:
        return []


def _own_words(entrypoint: str) -> list[str]:
    """Return the words of a job's command; none if ``launch.submit`` has not submitted it."""
    words = _words(entrypoint)
    return words if words[:1] == ["exec"] and words[2:4] == ["-m", TRAIN] else []


def interpreter_remedy(info: Any) -> str | None:
    """Return what to do about a job whose interpreter its node could not start; None for every other one."""
    words = _own_words(info.entrypoint)
    if not words or info.driver_exit_code not in NOT_STARTED:
        return None
    return f"the node could not start {words[1]!r}; name the interpreter of its environment with --python PATH"


def shown_folder(entrypoint: str) -> str:
    """Return the folder that a job's command names, or else the beginning of the command."""
    folders = [text.partition("=")[2] for text in _words(entrypoint) if text.startswith(FOLDER_KEYS)]
    return folders[-1] if folders else textwrap.shorten(entrypoint, SHOWN_COMMAND, placeholder=" …")


def go_on_command(info: Any, address: str) -> str | None:
    """Return the command that goes on with a stopped job; None for one that ``launch.submit`` has not submitted."""
    words = _own_words(info.entrypoint)
    if not words:
        return None
    python, overrides, environment = words[1], words[4:], info.runtime_env or {}
    if not MULTIRUN.intersection(overrides):
        folder = next((text for text in reversed(overrides) if text.startswith("run_dir=")), "run_dir=FOLDER")
        others = [text for text in overrides if not text.startswith(("run_dir=", "resume="))]
        overrides = [*others, folder, "resume=auto"]
    options = ["--python", python] if python != "python" else []
    options += ["--image", environment["image_uri"]] if "image_uri" in environment else []
    # What its file says is not known, and what a variable holds may be secret, but for two of ours.
    options += ["--runtime-env", "FILE"] if environment.keys() - {*OWN_FIELDS, "image_uri"} else []
    variables, unasked = environment.get("env_vars", {}), _sent_unasked()
    for name in sorted(variables.keys() - {VARIABLE, TYPED_IN}):
        if name not in (STOP_VARIABLE, DATA_ROOT):
            options += ["--env", name]
        elif variables[name] != unasked.get(name):
            options += ["--env", f"{name}={variables[name]}"]
    return shlex.join(["python", "-m", "launch.submit", "--address", address, *options, "--", *overrides])
