"""Folders of the project, found from this file alone."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
ASSETS = ROOT / "rollout" / "assets"
