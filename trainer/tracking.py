"""Tracking: one stream of metrics to metrics.jsonl and W&B, a sample of episodes, and the run's memory."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.config import Config
from trainer.pipeline import Scored


class Tracker:
    """Writes what a run made into its folder. Every call carries an explicit step."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.folder = folder
        self._episodes_per_step = config.tracking.episodes_per_step
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8", buffering=1)
        self._episodes = (folder / "episodes.jsonl").open("a", encoding="utf-8", buffering=1)
        self._run: Any = None
        if config.tracking.wandb != "disabled":
            import wandb

            tracking = config.tracking
            (folder / "wandb").mkdir(exist_ok=True)
            self._run = wandb.init(
                project=tracking.project,
                group=tracking.group,
                name=tracking.name or folder.name,
                dir=str(folder),
                mode=tracking.wandb,
                config=config.model_dump(mode="json"),
                settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
            )
            # A score belongs to the version it is of; its row is that of the step in which it was there.
            self._run.define_metric("eval/*", step_metric="eval/version")

    def step(self, step: int, metrics: dict[str, float], scored: Sequence[Scored]) -> None:
        """One learner step's metrics and a few of its episodes."""
        self._metrics.write(json.dumps({"step": step, **dict(sorted(metrics.items()))}) + "\n")
        for item in scored[: self._episodes_per_step]:
            self.episode(item, "train", step)
        if self._run is not None:
            self._run.log(metrics, step=step)

    def episode(self, item: Scored, split: str, step: int) -> None:
        """One scored episode, as the record that ``rewards.score`` reads, with what it was paid."""
        record = episode_record(item) | {"split": split, "step": step}
        self._episodes.write(json.dumps(record) + "\n")

    def summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json, complete or not at all, and W&B's summary."""
        write_json(self.folder / "summary.json", summary)
        if self._run is not None:
            self._run.summary.update(summary)

    def episodes_table(self, rows: Sequence[tuple[str, Scored]]) -> None:
        """Evaluation episodes as a W&B table: (kind, episode) rows."""
        if self._run is None:
            return
        import wandb

        table = wandb.Table(columns=["kind", "problem", "question", "sub-questions", "final answer", "gold", "reward"])
        for kind, item in rows:
            plan = item.episode.decomposition
            table.add_data(
                kind,
                item.episode.problem.id,
                item.episode.problem.question,
                "\n".join(plan.subquestions) if plan else "",
                item.episode.final.answer or "",
                item.episode.problem.answer,
                item.reward.total,
            )
        self._run.log({"evaluation/episodes": table}, step=self._run.step)

    def image(self, name: str, path: Path) -> None:
        """Log a picture."""
        if self._run is not None:
            import wandb

            self._run.log({name: wandb.Image(str(path))}, step=self._run.step)

    def close(self, exit_code: int) -> None:
        """Flush and end everything."""
        self._metrics.close()
        self._episodes.close()
        if self._run is not None:
            self._run.finish(exit_code=exit_code)
            self._run = None


def episode_record(item: Scored) -> dict[str, Any]:
    """A scored episode as one object: what ``rewards.score`` reads, and what it was paid."""
    record = item.episode.to_json() | {
        "reward": {**item.reward.parts, "total": item.reward.total, "penalties": item.reward.penalties},
        "correct": item.reward.correct,
        "correct_initial": item.reward.correct_initial,
        "error": item.reward.error,
    }
    if item.episode.policy is not None:
        versions = item.episode.policy.versions
        record["token_versions"] = [min(versions, default=0), max(versions, default=0)]
    return record


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file so that it is complete or absent."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.rename(path)


def resident_gib() -> float:
    """Proportional resident memory (PSS) of this process and all below it, in GiB: shared pages count once."""
    import psutil

    total = 0
    me = psutil.Process(os.getpid())
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.Error, AttributeError):
            total += process.memory_full_info().pss
    return total / 2**30
