"""A scored episode, for processes of a test's own too: nothing that takes long to import is needed for it."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.reward import Reward, Scored
from rollout.jobs import Job
from rollout.records import Episode, PolicyCall, Problem


def scored(identity: int, versions: list[int], total: float = 0.0, later: Sequence[list[int]] = ()) -> Scored:
    """A scored episode: the versions of its first policy call's tokens, and of each later one's."""
    job = Job(identity, Problem(f"p-{identity // 2}", "How many?", "1"), "daslam", 100 + identity)
    calls = [PolicyCall("decompose", [1], [2] * len(each), [0.0] * len(each), each) for each in (versions, *later)]
    return Scored(job, Episode(job.problem, "daslam", calls=calls), Reward({}, total, {}, [], 0.0, None))
