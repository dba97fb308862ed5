"""Where Hydra looks for launchers; see ``launch.sweep``."""

from __future__ import annotations

from launch.sweep import SideBySide


class ParallelLauncher(SideBySide):
    """``hydra/launcher=parallel``."""
