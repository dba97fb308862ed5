"""Tracking: one stream of metrics to metrics.jsonl and W&B, a sample of episodes, and the run's memory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from conf.schema.config import Config
from conf.schema.own_parts import make_part
from conf.schema.rewards import PARTS
from rewards.reward import MEASURES, Sample
from rollout.json_lines import write_lines
from trainer.run_folder.files import cut, read_rows, write_json
from trainer.tracking.wandb_run import WandbRun
from trainer.workers.scored_episode_json import RECORDED, scored_row

METRICS, EPISODES, SFT = "metrics.jsonl", "episodes.jsonl", "logs/sft.jsonl"
# Metrics of steps that were taken, lost, and taken again.
LOST = "logs/lost_steps.jsonl"
# Of W&B's table of episodes.
COLUMNS = (
    "step", "split", "problem", "question", "sub-questions", "final answer", "gold", "correct", "reward",
    *PARTS, *MEASURES,
)  # fmt: skip


class Tracker:
    """The writer of a run's metrics, episodes and summary. Every call carries an explicit step.

    ``wandb_id`` is that of the W&B run to go on with, to be followed by ``rewind``. W&B takes no step back: of a step
    that was lost and taken again it keeps the first metrics, if it has them, metrics.jsonl has the second.
    """

    def __init__(
        self, config: Config, folder: Path, wandb_id: str | None = None, say: Callable[[str], object] = print
    ) -> None:
        self.folder = folder
        self._episodes_per_step = config.tracking.episodes_per_step
        self._table_every = config.tracking.table_every
        self._record = config.rollout.record
        # What was written since the last table.
        self._fresh: list[dict[str, Any]] = []
        for name in (METRICS, EPISODES, *([RECORDED] if self._record else [])):
            (folder / name).touch()
        # Stage 1's steps are W&B's where no others come: it has one axis, which is the learner's.
        self._alone = "sft" in config.stages and "ppo" not in config.stages
        self._wandb = WandbRun(config, folder, wandb_id, say)
        self._columns = [*COLUMNS, *config.rewards.further_parts]
        self._own = {
            name: make_part(f"tracking.also.{name}", place, ("step", "summary", "close"), config, folder)
            for name, place in config.tracking.also.items()
        }
        self._say = say
        self._closed = False

    def _append(self, name: str, objects: Iterable[dict[str, Any]]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(one) + "\n" for one in objects)

    @property
    def wandb_id(self) -> str | None:
        """The id of the run at W&B, None if it has none."""
        return self._wandb.id

    def rewind(self, step: int, kinds: Collection[str]) -> None:
        """Take out the rows of later steps and of evaluations other than ``kinds``: they will come again. W&B gets the
        rows that it lacks."""
        lost = cut(self.folder / METRICS, lambda row: row["step"] <= step)
        self._append(LOST, lost)
        kept = ("train", *kinds)
        cut(self.folder / EPISODES, lambda row: row["step"] <= step and row["split"] in kept)
        cut(self.folder / RECORDED, lambda row: row["step"] <= step)
        self._fresh = [record for record in self._fresh if record["step"] <= step]
        self._catch_up(METRICS)

    def _catch_up(self, name: str) -> None:
        """Have W&B log a file's rows that it lost when a process was killed."""
        for row in read_rows(self.folder / name):
            self._wandb.log({name: value for name, value in row.items() if name != "step"}, row["step"])

    def step(self, step: int, metrics: dict[str, float], scored: Sequence[Sample]) -> None:
        """Write one learner step's metrics and a few of its episodes."""
        self._append(METRICS, [{"step": step, **dict(sorted(metrics.items()))}])
        for item in scored[: self._episodes_per_step]:
            self.episode(item, "train", step)
        if self._record:
            self._append(RECORDED, ({"step": step, **scored_row(item)} for item in scored))
        self._wandb.log(metrics, step)
        self._tell("step", step, metrics)
        if self._table_every and step % self._table_every == 0:
            self._table(self._fresh)

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Add to the metrics of a step that were written before. W&B, which takes no step back, does not get them."""
        rows = read_rows(self.folder / METRICS)
        write_lines(self.folder / METRICS, (row | metrics if row["step"] == step else row for row in rows))

    def fine_tuning(self, step: int, metrics: dict[str, float]) -> None:
        """Write the metrics of a step of stage 1, or those measured before the first."""
        self._append(SFT, [{"step": step, **metrics}])
        if self._alone:
            self._wandb.log(metrics, step)

    def rewind_fine_tuning(self, step: int) -> None:
        """Take out the rows of stage 1 of later steps; all of them where there is no step to go on from. W&B gets the
        rows that it lacks, where it has those of stage 1."""
        cut(self.folder / SFT, lambda row: step > 0 and row["step"] <= step)
        if self._alone:
            self._catch_up(SFT)

    def episode(self, item: Sample, split: str, step: int) -> None:
        """Write one scored episode, as the record that ``rewards.score`` reads, with what it was paid."""
        record = episode_record(item) | {"split": split, "step": step}
        self._append(EPISODES, [record])
        if self._table_every:
            self._fresh.append(record)

    def evaluations(self, scored: Sequence[tuple[str, Sample]], step: int) -> None:
        """Write the scored episodes of evaluations, each with its kind, in place of those of an earlier step."""
        kinds = {kind for kind, _ in scored}
        if kinds:
            cut(self.folder / EPISODES, lambda row: row["split"] not in kinds)
        for kind, item in scored:
            self.episode(item, kind, step)

    def summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json, complete or not at all, and W&B's summary."""
        write_json(self.folder / "summary.json", summary)
        self._wandb.summary(summary)
        self._tell("summary", summary)

    def episodes_table(self) -> None:
        """Send all of episodes.jsonl to W&B as a table."""
        self._table(read_rows(self.folder / EPISODES))

    def _table(self, records: list[dict[str, Any]]) -> None:
        self._wandb.table("episodes", self._columns, [_table_row(record, self._columns) for record in records])
        self._fresh.clear()

    def alert(self, title: str, text: str) -> None:
        """Have W&B warn whoever watches the run."""
        self._wandb.alert(title, text)

    def image(self, name: str, path: Path) -> None:
        """Send a picture to W&B."""
        self._wandb.image(name, path)

    def close(self, exit_code: int) -> None:
        """End the run at W&B, unless that was done."""
        self._end(self._wandb.close, exit_code)

    def close_stopped(self, exit_code: int) -> None:
        """End the run at W&B, with all its episodes, of a job that was stopped: W&B's own process may be gone."""
        self._wandb.be_silent()
        self.episodes_table()
        self._end(self._wandb.close_stopped, exit_code)

    def _end(self, close: Callable[[int], None], exit_code: int) -> None:
        if not self._closed:
            self._closed = True
            close(exit_code)
            self._tell("close", exit_code)

    def _tell(self, method: str, *arguments: Any) -> None:
        """Call a method of the user's own trackers; one that fails is left out from then on, and the run goes on."""
        for name, tracker in list(self._own.items()):
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the tracker's and not the run's
                del self._own[name]
                self._say(f"tracker {name} failed ({type(error).__name__}: {error}); the run goes on without it")


def episode_record(item: Sample) -> dict[str, Any]:
    """Return a scored episode as one object: what ``rewards.score`` reads, and what it was paid."""
    item = item.open()
    record = item.episode.to_json() | {
        "reward": {
            **item.reward.parts,
            **item.reward.measures,
            "total": item.reward.total,
            "penalties": item.reward.penalties,
        },
        "correct": item.reward.correct,
        "correct_initial": item.reward.correct_initial,
        "error": item.reward.error,
    }
    if item.episode.calls:
        versions = item.episode.token_versions
        record["token_versions"] = [min(versions, default=0), max(versions, default=0)]
    return record


def _table_row(record: dict[str, Any], columns: Sequence[str]) -> list[Any]:
    """Return a record of episodes.jsonl as a row of the table; the last columns are the reward's parts."""
    problem, decomposition, reward = record["problem"], record["decomposition"], record["reward"]
    subquestions = "\n".join(decomposition["subquestions"]) if decomposition else ""
    asked = [record["step"], record["split"], problem["id"], problem["question"], subquestions]
    answered = [record["final"]["answer"] or "", problem["answer"], record["correct"], reward["total"]]
    return [*asked, *answered, *(reward.get(part) for part in columns[COLUMNS.index(PARTS[0]) :])]


def resident_gib() -> float:
    """Return the resident memory (PSS: shared pages count once) of this process and all below it, in GiB."""
    import psutil

    total = 0
    me = psutil.Process(os.getpid())
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.Error, AttributeError):
            total += process.memory_full_info().pss
    return total / 2**30
