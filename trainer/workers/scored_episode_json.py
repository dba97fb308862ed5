"""Scored episodes as JSON, whole: tokens, log-probabilities, versions, rewards. A checkpoint keeps those that wait in
this form, ``rollout.record`` writes those that were trained on, and ``rollout.replay`` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rewards.reward import Reward, Sample, Scored
from rollout import json_lines
from rollout.jobs import Job
from rollout.records import Episode, Problem, RecordError

# In a run's folder.
RECORDED = "recorded.jsonl"
# Names in recordings of earlier versions.
EARLIER = {"plan": "given", "settings": "config"}
# A row has one of these; ``policy`` held the one call of earlier versions.
CALLS = ("calls", "policy")


def row_job(row: dict[str, Any]) -> Job:
    """Build the job of a JSON object that ``job_row`` made."""
    return _job(row, Problem.from_json(row["problem"]))


def _job(row: dict[str, Any], problem: Problem) -> Job:
    return Job(**{EARLIER.get(name, name): value for name, value in row.items()} | {"problem": problem})


def job_row(job: Job) -> dict[str, Any]:
    """Return a job as a JSON object, without a field that only the jobs of some rewards have."""
    row = asdict(job)
    return row if job.gold_logprobs else {name: value for name, value in row.items() if name != "gold_logprobs"}


def scored_row(item: Sample) -> dict[str, Any]:
    """Return a scored episode as a JSON object; the problem is in its episode alone, the policy calls beside it."""
    scored = item.open()
    job = job_row(scored.job)
    episode = scored.episode.to_json()
    del job["problem"], episode["calls"]
    return {
        "job": job,
        "episode": episode,
        "calls": list(map(asdict, scored.episode.calls)),
        "reward": asdict(scored.reward),
    }


def row_scored(row: Any) -> Scored:
    """Build the scored episode of a JSON object; raises RecordError naming the offending field."""
    if not isinstance(row, dict):
        raise RecordError(f"expected an object, found {type(row).__name__}")
    for name in ("job", "episode", "reward"):
        if not isinstance(row.get(name), dict):
            raise RecordError(f"field '{name}' must be an object, found {type(row.get(name)).__name__}")
    episode = Episode.from_json(row["episode"] | {name: row[name] for name in CALLS if name in row})
    try:
        reward = Reward(**row["reward"])
        job = _job(row["job"], episode.problem)
    except TypeError as error:
        raise RecordError(str(error)) from None
    if not episode.token_versions or any(
        not len(call.token_ids) == len(call.logprobs) == len(call.versions) for call in episode.calls
    ):
        raise RecordError(
            "fields 'token_ids', 'logprobs' and 'versions' of 'calls' must have one entry a token, one or more in all"
        )
    return Scored(job, episode, reward)


def write_scored(path: Path, scored: Sequence[Sample]) -> None:
    """Write one a line, all or nothing."""
    json_lines.write_lines(path, map(scored_row, scored))


def read_scored(path: Path) -> list[Scored]:
    """Read one a line; raises RecordError that names file and line."""
    found = []
    for number, line in json_lines.numbered(path):
        try:
            found.append(row_scored(json_lines.decode(line)))
        except ValueError as error:
            raise RecordError(f"{path}, line {number}: {error}") from None
    return found
