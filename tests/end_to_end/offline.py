"""A run's offline W&B files, read by W&B's own reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from conf.schema.rewards import PARTS


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """What each process of a run wrote, in order: its records as ``wandb leet inspect`` shows them."""
    return [
        [
            json.loads(line)
            for line in subprocess.run(
                [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)],
                env=os.environ | {"WANDB_ERROR_REPORTING": "false"},
                capture_output=True, text=True, check=True, timeout=240,
            ).stdout.splitlines()
        ]
        for file in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    ]  # fmt: skip


def history(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows on the step axis, without W&B's own columns but for ``_step``."""
    items = [record["history"]["item"] for record in found if record["type"] == "history"]
    return [{key: item[key] for key in item if key == "_step" or not key.startswith("_")} for item in items]


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary at the end."""
    whole: dict[str, Any] = {}
    for record in found:
        if record["type"] == "summary":
            whole |= record["summary"].get("update", {})
    return whole


def episodes_table(folder: Path, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last table of episodes, a row as a dict."""
    path = summary(found)["episodes"]["path"]
    (file,) = (folder / "wandb").glob(f"offline-run-*/files/{path}")
    table = json.loads(file.read_text())
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


def check_table(folder: Path, table: list[dict[str, Any]]) -> None:
    """The table has the rows of episodes.jsonl, in their order."""
    written = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
    assert len(table) == len(written) > 0
    for row, record in zip(table, written, strict=True):
        assert (row["problem"], row["step"], row["split"]) == (
            record["problem"]["id"], record["step"], record["split"],
        )  # fmt: skip
        assert (row["gold"], row["final answer"]) == (record["problem"]["answer"], record["final"]["answer"] or "")
        assert (row["correct"], row["reward"]) == (record["correct"], record["reward"]["total"])
        assert [row[part] for part in PARTS] == [record["reward"][part] for part in PARTS]
        plan = record["decomposition"]
        assert row["sub-questions"].splitlines() == (plan["subquestions"] if plan else [])
