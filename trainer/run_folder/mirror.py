"""A copy of a run's folder in a bucket or anywhere else that fsspec reaches: brought up to date at checkpoints and at
the end, and fetched to go on with a run whose folder is lost.

The run itself works in a folder on disk: its files grow line by line and are renamed when they are complete, which
buckets do not offer. In the copy as in the folder, a checkpoint is complete if it has its ``state.json``, and what has
no ``config.yaml`` is no run: that comes first, and a place that holds something without it is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import fsspec
from fsspec.implementations.local import LocalFileSystem

from conf.schema.base import ConfigError
from rollout.json_lines import PARTIAL
from trainer.run_folder.checkpoints import FINE_TUNED, FINE_TUNING, STATE
from trainer.run_folder.resume import CONFIG, SUMMARY, refuse_results_of_others

# In a copy that another run is to replace; it is the last that is removed.
REPLACED = "config.yaml.replaced"
ALLOWED = "allowed: a URL of fsspec with its package installed, as s3://BUCKET/runs with s3fs"
# In a run's folder while a copy is fetched into it.
FETCHING = Path("logs") / "fetching"
# What of a file tells whether it has changed: size and time.
Mark = tuple[int, int]


class Reached(NamedTuple):
    """Say how far a run has come, by its complete checkpoints: of two runs the one that is further is the greater."""

    steps: int
    fine_tuned: bool
    fine_tuning_steps: int
    finished: bool

    def __str__(self) -> str:
        if self.finished:
            return "a finished run"
        if self.steps:
            return f"step {self.steps}"
        return "the end of stage 1" if self.fine_tuned else f"step {self.fine_tuning_steps} of stage 1"


class Mirror:
    """The copy of ``folder`` below ``url``, under the folder's name. Raises ConfigError if fsspec does not know the
    URL, or if copy and folder are one or lie in one another: then files of the run would be removed as those of the
    copy. ``say`` is told when copying fails, once; it is tried again each time."""

    def __init__(self, url: str, folder: Path, say: Callable[[str], object]) -> None:
        self.folder, self._say = folder, say
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:  # an unknown protocol, or a package that is not there
            raise ConfigError(f"mirror: '{url}' is not allowed: {error}; {ALLOWED}") from None
        self.url = f"{url.rstrip('/')}/{folder.name}"
        self._root = f"{root.rstrip('/')}/{folder.name}"
        if isinstance(self._files, LocalFileSystem) and _meet(Path(self._root), folder):
            raise ConfigError(
                f"mirror: '{self.url}' and the run's folder '{folder}' are one or lie in one another; allowed: a "
                "folder elsewhere"
            )
        self._sent: dict[str, Mark | None] = {}
        self._said = False
        self._thread = ThreadPoolExecutor(1, "mirror")
        self._copying: Future[None] | None = None

    def fetch(self, resume: bool) -> None:
        """Fetch the run that is there, if the folder holds none, and know what is there. Raises ConfigError if there is
        one that is not to be gone on with, or that is further than the folder's, or something else, which a copy would
        remove, or the URL cannot be read."""
        try:
            found = [str(path).removeprefix(f"{self._root}/") for path in self._files.find(self._root)]
            run = CONFIG in found and REPLACED not in found
            if run and resume:
                if (self.folder / CONFIG).exists():
                    self._refuse_earlier_folder(found)
                else:
                    self._fetch(found)
        except ConfigError:  # of the folder, which says it itself
            raise
        except Exception as error:  # noqa: BLE001 - every kind of store has errors of its own
            raise ConfigError(f"mirror: '{self.url}' cannot be read ({_line(error)}); {ALLOWED}") from None
        if found and not {CONFIG, REPLACED} & set(found):
            raise ConfigError(
                f"mirror: '{self.url}' holds something else; allowed: another run_dir or mirror, or an empty place"
            )
        if run and not resume:
            raise ConfigError(
                f"mirror: '{self.url}' already holds a run; allowed: another run_dir, or resume=auto to go on with it"
            )
        self._sent = dict.fromkeys(found)

    def _refuse_earlier_folder(self, names: list[str]) -> None:
        """Raise ConfigError if the run went on elsewhere: going on from the folder would remove what came of that."""
        there = _reached(names, lambda name: bytes(self._files.cat_file(f"{self._root}/{name}")))
        here = _reached(self._marks(), lambda name: (self.folder / name).read_bytes())
        # A folder with a summary that is not finished is that of a run which went on after its end.
        if there[:3] > here[:3] or (there > here and not (self.folder / SUMMARY).exists()):
            raise ConfigError(
                f"mirror: '{self.url}' holds a later state ({there}) than '{self.folder}' ({here}); allowed: remove "
                "that folder, then it is fetched, or another run_dir"
            )

    def _fetch(self, names: list[str]) -> None:
        """Fetch files into the folder. One that was cut short is begun again: what makes the folder a run comes last,
        and a mark tells what is there from files of somebody else. Raises ConfigError if there are such."""
        mark = self.folder / FETCHING
        if not mark.exists():
            refuse_results_of_others(self.folder)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        for name in sorted(names, key=CONFIG.__eq__):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(f"{self._root}/{name}", str(self.folder / name))
        mark.unlink(missing_ok=True)

    def give_way(self) -> None:
        """Let another run take the place of the one that is there, and replace its files as it is copied. Raises
        ConfigError if it cannot be."""
        try:
            if self._files.exists(f"{self._root}/{CONFIG}"):
                self._files.pipe_file(f"{self._root}/{REPLACED}", b"\n")
                self._files.rm_file(f"{self._root}/{CONFIG}")
        except Exception as error:  # noqa: BLE001 - every kind of store has errors of its own
            raise ConfigError(f"mirror: '{self.url}' cannot be written ({_line(error)}); {ALLOWED}") from None

    def begin(self) -> None:
        """Bring the copy up to date beside whatever goes on; nothing if that is still being done."""
        if self._copying is None or self._copying.done():
            self._copying = self._thread.submit(self._guarded)

    def end(self) -> None:
        """Bring the copy up to date, and wait for it."""
        self._thread.submit(self._guarded).result()
        self._thread.shutdown()

    def _guarded(self) -> None:
        try:
            self.copy()
        except Exception as error:  # noqa: BLE001 - a copy that fails must not end the run
            if not self._said:
                self._said = True
                self._say(f"{self.url} could not be written ({_line(error)}); the run goes on, all is in its folder")

    def copy(self) -> None:
        """Send what has changed, then remove what is gone; nothing before the folder holds a run. A checkpoint that is
        being changed is none: its state goes first and comes last."""
        now = self._marks()
        if CONFIG not in now:
            return
        changed = {name for name, mark in now.items() if self._sent.get(name) != mark}
        for state in [name for name in self._sent if _is_state(name)]:
            if any(name.startswith(state.removesuffix(STATE)) for name in changed):
                self._remove(state)
                changed |= {state} & now.keys()
        # What tells that other files are whole comes after them: a model's config.json, and the examples of stage 1.
        last = ("/config.json", "sft/examples.jsonl")
        for name in sorted(changed, key=lambda name: (name != CONFIG, _is_state(name), name.endswith(last))):
            self._files.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)
            try:
                self._files.put_file(str(self.folder / name), f"{self._root}/{name}")
            except FileNotFoundError:
                if (self.folder / name).exists():
                    raise
                continue  # of an older checkpoint, removed meanwhile
            self._sent[name] = now[name]
        for name in sorted(self._sent.keys() - now.keys(), key=lambda name: (name == REPLACED, not _is_state(name))):
            self._remove(name)

    def _remove(self, name: str) -> None:
        self._files.rm_file(f"{self._root}/{name}")
        del self._sent[name]

    def _marks(self) -> dict[str, Mark]:
        """Return the folder's files that are complete, each with its mark."""
        found: dict[str, Mark] = {}
        for path in sorted(self.folder.rglob("*")):
            relative = path.relative_to(self.folder)
            if path.is_symlink() or any(part.endswith(PARTIAL) for part in relative.parts):
                continue
            with suppress(FileNotFoundError):
                if path.is_file():
                    stat = path.stat()
                    found[relative.as_posix()] = stat.st_size, stat.st_mtime_ns
        return found


def _reached(names: Collection[str], read: Callable[[str], bytes]) -> Reached:
    """Return how far a run has come whose folder holds files with these names, which ``read`` reads."""

    def newest(parent: str) -> int:
        states = [name for name in names if _is_state(name) and PurePosixPath(name).parents[1] == PurePosixPath(parent)]
        return max((int(json.loads(read(name))["version"]) for name in states), default=0)

    fine_tuned = f"checkpoints/{FINE_TUNED}/config.json" in names
    # Of a model that is made, nobody goes on from a step on the way.
    fine_tuning = 0 if fine_tuned else newest(f"checkpoints/{FINE_TUNING}")
    finished = SUMMARY in names and json.loads(read(SUMMARY)).get("status") == "finished"
    return Reached(newest("checkpoints"), fine_tuned, fine_tuning, finished)


def _meet(one: Path, other: Path) -> bool:
    """Return whether two folders, there or not, are the same or one lies in the other."""
    one, other = one.resolve(), other.resolve()
    return any(_same(one, above) for above in (other, *other.parents)) or any(_same(other, up) for up in one.parents)


def _same(one: Path, other: Path) -> bool:
    """Return whether two paths are one folder: of what is there, names may differ."""
    try:
        return one.samefile(other)
    except OSError:  # one is not there, or nobody may look
        return one == other


def _is_state(name: str) -> bool:
    return name.endswith(f"/{STATE}")


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]
