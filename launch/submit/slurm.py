"""Hand a run to SLURM: render ``slurm.sh.j2`` with every value quoted for the shell, and submit it with ``sbatch``."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from conf.schema.base import ConfigError
from conf.schema.config import Config
from conf.schema.override_text import resumed
from conf.schema.places import CHECKOUT, ROOT
from launch.compose import MULTIRUN, first_trial, hydra_settings, is_search, parse, sweep_params, trials
from launch.submit.job_request import check_data, warn_of_tiny_models
from trainer.run_folder.lock import make_folder, refuse_others
from trainer.run_folder.paths import TYPED_IN
from trainer.run_folder.resume import check_folder, holds_run, refuse_other_run

TEMPLATE = "slurm.sh.j2"
# From the warning of the time limit to the limit: time to write what there is.
NOTICE_S = 120
# For all nodes to start; images and shared disks can be slow.
START_S = 600
# From the end of one node's task to that of the others: Ray on a node notices within a minute that the head is gone.
WAIT_S = 120
RETRIES = 2
# In every script of ours.
MADE = "Made by launch.submit --slurm"
ONLY_HERE = (
    "dry_run", "nodes", "gpus", "cpus", "time", "partition", "account", "mount", "sbatch", "shared", "retries",
)  # fmt: skip
NOT_HERE = {"follow": "tail -F LOG", "stop": "scancel", "list": "squeue", "runtime_env": "--env"}
_TIME = re.compile(r"\d{1,9}(-\d{1,9})?(:\d{1,9}){0,2}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# sbatch reads its own lines of the script, in which a backslash is an escape and # may begin a comment.
_UNSAFE_IN_OPTION = re.compile(r"[\x00-\x1f\x7f\\#]")


@dataclass(frozen=True)
class Allocation:
    """What SLURM is asked for: so many nodes, and the cores and GPUs of each."""

    nodes: int
    cpus: int
    gpus: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``launch.submit`` that go with ``--slurm``."""
    add = parser.add_argument_group("with --slurm").add_argument
    add("--slurm", action="store_true", help="submit a batch script to SLURM, which starts Ray on its nodes")
    add("--dry-run", action="store_true", help="print the script; nothing is submitted")
    add("--nodes", type=_count, help="nodes (default: cluster.nodes, or 1)")
    add(
        "--gpus",
        type=partial(_count, least=0),
        help="GPUs of each node (default: cluster.gpus_per_node, or what the run needs)",
    )
    add("--cpus", type=_count, help="cores of each node (default: cluster.cpus_per_node, or what the run needs)")
    add("--time", metavar="LIMIT", help="time limit, as 24:00:00 (default: the partition's)")
    add("--partition", help="the partition (default: the cluster's)")
    add("--account", help="the account that is charged")
    add("--mount", action="append", default=[], metavar="FOLDER", help="a folder that the image of --image sees too")
    add(
        "--sbatch", action="append", default=[], metavar="OPTION", help="one more option of sbatch, as --sbatch=--qos=q"
    )
    add("--shared", action="store_true", help="do not ask for whole nodes; then only one job of yours fits on a node")
    add("--retries", type=partial(_count, least=0), metavar="N", default=None,
        help=f"queue a failed run again if the job was restarted fewer than N times (default: {RETRIES})")  # fmt: skip


def _count(text: str, least: int = 1) -> int:
    """Return a whole number, for argparse. Raises ValueError."""
    if (value := int(text)) < least:
        raise argparse.ArgumentTypeError(f"{text} is not allowed; it must be at least {least}")
    return value


def check_options(options: argparse.Namespace) -> None:
    """Refuse options that do not go together. Raises ConfigError."""
    if not options.slurm:
        found = next((name for name in ONLY_HERE if getattr(options, name) not in (None, False, [])), None)
        if found is not None:
            raise ConfigError(f"--{found.replace('_', '-')}: allowed with --slurm alone")
        return
    for name, instead in NOT_HERE.items():
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')}: not allowed with --slurm; use: {instead}")
    if options.time is not None and not _TIME.fullmatch(options.time):
        raise ConfigError(
            f"--time: {options.time!r} is not allowed; it must be as 90 (minutes), 24:00:00 or 2-00:00:00"
        )


def hand_over(config: Config, overrides: list[str], options: argparse.Namespace) -> int:
    """Render the script and submit it, or only print it; return the exit status. Raises ConfigError."""
    sweep = bool(MULTIRUN.intersection(overrides))
    folder = _folder(config, overrides, sweep)
    logs = folder if sweep else folder / "logs"
    # A job that is queued again goes on; a sweep does so from its folder.
    script = render(
        config, overrides if sweep else resumed(overrides, str(folder), "resume=auto"), options, folder, logs
    )
    warn_of_tiny_models(config)
    if options.dry_run:
        sys.stdout.write(script)
        return 0
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise ConfigError(
            "--slurm: 'sbatch' is not on this machine; allowed: a login node of the cluster, or --dry-run"
        )
    check_data(config)
    # An image may hold the store's package, and --env its keys, which this machine need not have.
    reachable = not (options.image or options.env)
    if config.mirror is not None and config.resume is None and not sweep and reachable:
        from trainer.run_folder.mirror import Mirror

        # The job itself goes on with what is there.
        Mirror(config.mirror, folder, sys.stderr.write).fetch(resume=False)
    key, file = "hydra.sweep.dir" if sweep else "run_dir", logs / "slurm.sh"
    if os.path.isfile(file) and MADE not in file.read_text(encoding="utf-8", errors="replace"):
        refuse_others(logs, key, [file.name])
    make_folder(folder, key)
    logs.mkdir(exist_ok=True)
    file.write_text(script, encoding="utf-8")
    done = subprocess.run([sbatch, "--parsable", str(file)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ConfigError(f"--slurm: sbatch did not take the job: {said[-1] if said else done.returncode}")
    job = done.stdout.strip().partition(";")[0]
    log = shlex.quote(str(logs / f"slurm-{job}.log"))
    sys.stdout.write(
        f"submitted {job}\n{key}={folder}\nfollow: tail -F {log}\n"
        f"stop:   scancel --batch --signal=TERM {job}\n"
    )  # fmt: skip
    return 0


def _folder(config: Config, overrides: Sequence[str], sweep: bool) -> Path:
    """Return the run's folder, or the sweep's. Raises ConfigError if it holds a run that is not to be gone on with, or
    something else that the run would write over."""
    key = "hydra.sweep.dir" if sweep else "run_dir"
    named = [text for text in overrides if text.startswith(f"{key}=")]
    folder = Path(str(parse(named[-1:])[0].value())).absolute()
    if not sweep:
        check_folder(folder, config)
    elif holds_run(folder):
        refuse_other_run(folder, config)
    return folder


def _at_once(overrides: list[str]) -> int:
    """Return how many trials a sweep runs at once at most; 1 for a single run."""
    if not MULTIRUN.intersection(overrides):
        return 1
    from hydra.core.override_parser.types import RangeSweep

    settings = hydra_settings(first_trial(overrides))
    most = int(settings.launcher.get("at_once", 1))
    # Of a range only the ends are known here: it may have as many trials as can run at once.
    open_ended = any(isinstance(one.value(), RangeSweep) for one in parse(_swept(overrides)))
    return most if is_search(settings) or open_ended else min(most, _trial_count(overrides))


def _swept(overrides: list[str]) -> list[str]:
    own = [text for text in overrides if text not in MULTIRUN]
    return [*own, *(f"{key}={value}" for key, value in sweep_params(own).items())]


def _trial_count(overrides: list[str]) -> int:
    """Return the trials of a sweep over lists: each value of a key with each of the others."""
    first, *others = trials(overrides)
    changed = Counter(next(i for i, text in enumerate(first) if text != other[i]) for other in others)
    return math.prod(1 + count for count in changed.values())


def allocation(config: Config, options: argparse.Namespace, at_once: int = 1) -> Allocation:
    """Return what to ask SLURM for: what was given, else what the configuration describes, else what it needs; for
    so many such runs ``at_once``, of nodes that are described so many times as many. Where less was given, fewer run at
    a time.

    Raises ConfigError if one run has no room in that.
    """
    from trainer.cluster.placement import Node, bundles, shortage

    cluster, wanted = config.cluster, bundles(config) * at_once
    nodes = options.nodes or (cluster.nodes * at_once if cluster.nodes else 1)

    def share(name: str) -> int:
        sizes: list[float] = [getattr(bundle, name) for bundle in wanted]
        return math.ceil(max(sum(sizes) / nodes, *sizes, 0))

    gpus = options.gpus if options.gpus is not None else int(cluster.gpus_per_node or share("gpus"))
    cpus = options.cpus or int(cluster.cpus_per_node or share("cpus"))
    missing = shortage(config, [Node(cpus, gpus)] * nodes, "the allocation")
    if missing is not None:
        raise ConfigError(missing)
    return Allocation(nodes, cpus, gpus)


def render(config: Config, overrides: list[str], options: argparse.Namespace, folder: Path, logs: Path) -> str:
    """Return the batch script of a run. Raises ConfigError."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    asked = allocation(config, options, _at_once(overrides))
    python = sys.executable if options.python == "python" and options.image is None else options.python
    if os.sep in python and options.image is None:
        python = os.path.abspath(python)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, autoescape=False, finalize=_quoted,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(TEMPLATE).render(
        name=_option("--name", options.name or "decomposer"),
        log=_option("run_dir", f"{logs}/slurm-".replace("%", "%%")) + "%j.log",
        nodes=asked.nodes, cpus=asked.cpus, gpus=asked.gpus, options=_more_options(options),
        notice_s=NOTICE_S, start_s=START_S, wait_s=WAIT_S,
        retries=RETRIES if options.retries is None else options.retries,
        variables=[(TYPED_IN, os.getcwd()), *_variables(options.env)], logs=logs,
        bin=os.path.dirname(python) if options.image is None else "",
        root=str(ROOT) if CHECKOUT and options.image is None else "",
        container=_container(options, folder, asked.gpus),
        command=[python, "-m", "launch.train", *overrides],
    )  # fmt: skip


def _quoted(value: Any) -> str:
    """Return a value, or the words of a list, quoted for the shell; the template has no other way to show one."""
    return shlex.join(value) if isinstance(value, list) else shlex.quote(str(value))


def _option(name: str, value: str) -> str:
    """Return a value for a line that sbatch reads. Raises ConfigError if sbatch would not read it as it is."""
    if _UNSAFE_IN_OPTION.search(value):
        raise ConfigError(f"{name}: {value!r} is not allowed with --slurm: sbatch reads no backslash, # or line break")
    return value


def _more_options(options: argparse.Namespace) -> list[str]:
    """Return the lines for sbatch that are not in every script."""
    found = [f"--{name}={value}" for name in ("partition", "account", "time") if (value := getattr(options, name))]
    # One user's Ray processes on a node are ended together, so each job has its nodes to itself.
    found += [] if options.shared else ["--exclusive", "--mem=0"]
    return [_option("--sbatch", text) for text in [*found, *options.sbatch]]


def _variables(given: Sequence[str]) -> list[tuple[str, str]]:
    """Return the variables that the script sets. Those without a value go along with everything else in the environment
    of the command, as SLURM does it, so the script does not name their values. Raises ConfigError."""
    found = []
    for text in given:
        name, has_value, value = text.partition("=")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"--env: {name!r} is no name of a variable; allowed: NAME, or NAME=VALUE")
        if not has_value and name not in os.environ:
            raise ConfigError(f"--env: '{name}' is not set here; allowed: a variable that is, or NAME=VALUE")
        if has_value:
            found.append((name, value))
    return found


def _container(options: argparse.Namespace, folder: Path, gpus: int) -> list[str]:
    """Return the words that make srun start a task in an image: by Apptainer for a file *.sif, else by pyxis."""
    if options.image is None:
        return []
    mounts = list(dict.fromkeys(str(Path(path).absolute()) for path in (Path.cwd(), folder, *options.mount)))
    if options.image.endswith(".sif"):
        binds = [word for path in mounts for word in ("--bind", path)]
        return ["apptainer", "exec", *(["--nv"] if gpus else []), *binds, options.image]
    unsafe = next((path for path in mounts if "," in path or ":" in path), None)
    if unsafe is not None:
        raise ConfigError(f"--mount: '{unsafe}' is not allowed: the path of a mount holds no , or :")
    return [f"--container-image={options.image}", f"--container-mounts={','.join(f'{path}:{path}' for path in mounts)}"]
