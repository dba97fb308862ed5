"""Folders of the project, found from this file alone."""

from __future__ import annotations

from pathlib import Path

# The checkout; or where the project was installed, the folder of all packages that are.
ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = (ROOT / "pyproject.toml").is_file()
PACKAGES = ("conf", "hydra_plugins", "launch", "rewards", "rollout", "trainer")
CONF = ROOT / "conf"
ASSETS = ROOT / "rollout" / "assets"
