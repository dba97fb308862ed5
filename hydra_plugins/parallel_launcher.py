"""The folder in which Hydra looks for launchers; see ``launch.sweep``."""

from __future__ import annotations

from launch.sweep import SideBySide


class ParallelLauncher(SideBySide):
    """The launcher ``parallel`` under the name by which Hydra finds it."""
