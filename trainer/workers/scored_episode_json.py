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


def row_job(row: dict[str, Any]) -> Job:
    """Build the job of a JSON object that ``asdict`` made."""
    return _job(row, Problem.from_json(row["problem"]))


def _job(row: dict[str, Any], problem: Problem) -> Job:
    return Job(**{EARLIER.get(name, name): value for name, value in row.items()} | {"problem": problem})


def scored_row(item: Sample) -> dict[str, Any]:
    """Return a scored episode as a JSON object; the problem is in its episode alone."""
    scored = item.open()
    job = asdict(scored.job)
    del job["problem"]
    policy = scored.episode.policy
    return {
        "job": job,
        "episode": scored.episode.to_json(),
        "policy": None if policy is None else asdict(policy),
        "reward": asdict(scored.reward),
    }


def row_scored(row: Any) -> Scored:
    """Build the scored episode of a JSON object; raises RecordError naming the offending field."""
    if not isinstance(row, dict):
        raise RecordError(f"expected an object, found {type(row).__name__}")
    for name in ("job", "episode", "policy", "reward"):
        if not isinstance(row.get(name), dict):
            raise RecordError(f"field '{name}' must be an object, found {type(row.get(name)).__name__}")
    episode = Episode.from_json(row["episode"] | {"policy": row["policy"]})
    try:
        reward = Reward(**row["reward"])
        job = _job(row["job"], episode.problem)
    except TypeError as error:
        raise RecordError(str(error)) from None
    sample = episode.policy
    if sample is None or not len(sample.token_ids) == len(sample.logprobs) == len(sample.versions) > 0:
        raise RecordError(
            "fields 'policy.token_ids', 'logprobs' and 'versions' must have one entry a token, one or more"
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
