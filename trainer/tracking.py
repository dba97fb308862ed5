"""Tracking: one stream of metrics to metrics.jsonl and W&B, a sample of episodes, and the run's memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainer.config import Config
from trainer.pipeline import Scored
from trainer.recording import RECORDED, scored_row
from trainer.resume import cut, rows
from trainer.wandb_run import WandbRun

# In logs/: metrics of steps that were taken, lost, and taken again.
LOST = "lost_steps.jsonl"
SFT = "logs/sft.jsonl"


class Tracker:
    """Writes what a run made into its folder. Every call carries an explicit step.

    ``wandb_id`` is that of the W&B run to go on with. W&B takes no step back: of a step that was lost and taken again
    it keeps the first metrics, metrics.jsonl has the second.
    """

    def __init__(
        self, config: Config, folder: Path, wandb_id: str | None = None, say: Callable[[str], object] = print
    ) -> None:
        self.folder = folder
        self._episodes_per_step = config.tracking.episodes_per_step
        self._record = config.rollout.record
        self._open()
        # Stage 1's steps are W&B's where no others come: it has one axis, which is the learner's.
        self._alone = "sft" in config.stages and "ppo" not in config.stages
        files = [SFT] if self._alone else ["metrics.jsonl", f"logs/{LOST}"]
        sent = [row for name in files for row in rows(folder / name)] if wandb_id else []
        self._wandb = WandbRun(config, folder, wandb_id, max((row["step"] for row in sent), default=-1), say)

    def _open(self) -> None:
        # What is not to be recorded is written nowhere.
        self._metrics, self._episodes, self._recorded = (
            (self.folder / name).open("a", encoding="utf-8", buffering=1)
            for name in ("metrics.jsonl", "episodes.jsonl", RECORDED if self._record else os.devnull)
        )

    @property
    def wandb_id(self) -> str | None:
        """W&B's name for the run."""
        return self._wandb.id

    def rewind(self, step: int, kinds: Collection[str]) -> None:
        """Take the rows out again that are of later steps or of evaluations other than ``kinds``: they will come
        again."""
        for file in (self._metrics, self._episodes, self._recorded):
            file.close()
        lost = cut(self.folder / "metrics.jsonl", lambda row: row["step"] <= step)
        with (self.folder / "logs" / LOST).open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in lost)
        cut(
            self.folder / "episodes.jsonl",
            lambda row: row["step"] <= step and (row["split"] == "train" or row["split"] in kinds),
        )
        cut(self.folder / RECORDED, lambda row: row["step"] <= step)
        self._open()

    def step(self, step: int, metrics: dict[str, float], scored: Sequence[Scored]) -> None:
        """One learner step's metrics and a few of its episodes."""
        self._metrics.write(json.dumps({"step": step, **dict(sorted(metrics.items()))}) + "\n")
        for item in scored[: self._episodes_per_step]:
            self.episode(item, "train", step)
        if self._record:
            self._recorded.writelines(json.dumps({"step": step, **scored_row(item)}) + "\n" for item in scored)
        self._wandb.log(metrics, step)

    def fine_tuning(self, step: int, metrics: dict[str, float]) -> None:
        """A step of stage 1, or what was measured before the first."""
        with (self.folder / SFT).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **metrics}) + "\n")
        if self._alone:
            self._wandb.log(metrics, step)

    def rewind_fine_tuning(self, step: int) -> None:
        """Take the rows of stage 1 out again that are of later steps; all of them where there is no step to go on
        from."""
        cut(self.folder / SFT, lambda row: step > 0 and row["step"] <= step)

    def episode(self, item: Scored, split: str, step: int) -> None:
        """One scored episode, as the record that ``rewards.score`` reads, with what it was paid."""
        record = episode_record(item) | {"split": split, "step": step}
        self._episodes.write(json.dumps(record) + "\n")

    def summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json, complete or not at all, and W&B's summary."""
        write_json(self.folder / "summary.json", summary)
        self._wandb.summary(summary)

    def episodes_table(self, rows: Sequence[tuple[str, Scored]]) -> None:
        """Evaluation episodes as a W&B table: (kind, episode) rows."""
        columns = ["kind", "problem", "question", "sub-questions", "final answer", "gold", "reward"]
        self._wandb.table(
            "evaluation/episodes",
            columns,
            (
                [
                    kind,
                    item.episode.problem.id,
                    item.episode.problem.question,
                    "\n".join(item.episode.decomposition.subquestions) if item.episode.decomposition else "",
                    item.episode.final.answer or "",
                    item.episode.problem.answer,
                    item.reward.total,
                ]
                for kind, item in rows
            ),
        )

    def image(self, name: str, path: Path) -> None:
        """Log a picture."""
        self._wandb.image(name, path)

    def close(self, exit_code: int) -> None:
        """Flush and end everything."""
        for file in (self._metrics, self._episodes, self._recorded):
            file.close()
        self._wandb.close(exit_code)


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
