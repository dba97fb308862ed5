"""Configured paths as absolute ones, so that two commands that name a place in two ways mean the same."""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

from conf.schema.base import HUB, MODEL, PATH, Marker
from conf.schema.data import is_hub_name
from conf.schema.keys import marked
from conf.schema.rewards import BUNDLED_VECTORS

# Set by ``launch.submit`` for a job, which runs elsewhere: the folder in which the command was typed.
TYPED_IN = "DECOMPOSER_TYPED_IN"


def markers_of(name: str) -> frozenset[Marker]:
    """Return the markers of the path that a dotted name stands for; none for other keys."""
    return next((key.markers for key in marked(PATH, MODEL) if fnmatch(name, key.name)), frozenset())


def absolute_path(path: str, markers: frozenset[Marker] = frozenset(), at: Path | None = None) -> str:
    """Return a path as seen from a folder, by default where the command was typed; a model's name, which is no path
    there and does not look like one, as it is."""
    place = Path(at or os.environ.get(TYPED_IN) or Path.cwd(), Path(path).expanduser())
    local = place.exists() or path.startswith((".", "~")) or path.count("/") > 1
    model = MODEL in markers and (path == BUNDLED_VECTORS or path.startswith("package:") or not local)
    if Path(path).is_absolute() or model or (HUB in markers and not local and is_hub_name(path)):
        return path
    return str(place)
