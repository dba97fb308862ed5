"""A run's folder that a learner rank cannot use is found at the start, and named with the rank and its node."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.trainer.fakes import Actor
from trainer.learner.learner_group import LearnerGroup
from trainer.run_folder.shared_folder import FolderNotShared, check_shared, leave_mark


def test_a_mark_that_is_seen_is_enough_and_nothing_stays_beside_it(tmp_path):
    mark = leave_mark(tmp_path / "logs")
    check_shared(mark, "learner-0", "10.0.0.7")
    assert os.listdir(tmp_path / "logs") == [mark.name]
    assert leave_mark(tmp_path / "logs") != mark


def test_a_mark_that_shows_late_is_waited_for(tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    monkeypatch.setattr("trainer.run_folder.shared_folder.time.sleep", lambda seconds: mark.touch())
    check_shared(mark, "learner-0", "10.0.0.7")


def test_a_folder_of_the_same_name_on_another_disk_is_refused_in_a_line(tmp_path):
    mark = leave_mark(tmp_path / "logs")
    mark.unlink()
    with pytest.raises(FolderNotShared) as refused:
        check_shared(mark, "learner-3", "10.0.0.7", seen_s=0.0)
    said = str(refused.value)
    assert all(text in said for text in ("learner-3", "10.0.0.7", str(tmp_path / "logs"), "run_dir"))
    assert "\n" not in said


def test_a_folder_that_cannot_be_written_to_is_refused_in_a_line(tmp_path, monkeypatch):
    def touch(path, *arguments, **named):
        raise PermissionError(30, "Read-only file system", str(path))

    mark = leave_mark(tmp_path)
    monkeypatch.setattr("pathlib.Path.touch", touch)
    with pytest.raises(FolderNotShared) as refused:
        check_shared(mark, "learner-1", "node-b")
    said = str(refused.value)
    assert all(text in said for text in ("learner-1", "node-b", str(tmp_path), "Read-only file system", "run_dir"))
    assert "\n" not in said


class FarRank:
    """A rank, which ``sees`` the driver's folder or has another one of that name."""

    def __init__(self, number: int, sees: bool) -> None:
        self.number, self.sees, self.connected = number, sees, False

    async def check_folder(self, mark):
        check_shared(
            Path(mark if self.sees else f"{mark}-elsewhere"),
            f"learner-{self.number}",
            f"node-{self.number}",
            seen_s=0.0,
        )

    async def address(self):
        return "127.0.0.1", 1

    async def connect(self, host, port):
        self.connected = True
        return self.number


@pytest.mark.parametrize("sees", [(True, True), (True, False), (False, False)])
def test_ranks_meet_when_all_of_them_see_the_folder(tmp_path, sees):
    ranks = [FarRank(number, one) for number, one in enumerate(sees)]
    group = LearnerGroup(lambda: [Actor(rank) for rank in ranks], log_folder=tmp_path / "logs")
    if all(sees):
        assert asyncio.run(group.connect()) == [0, 1]
    else:
        with pytest.raises(FolderNotShared, match=f"learner-{sees.index(False)} on node node-{sees.index(False)}"):
            asyncio.run(group.connect())
    assert [rank.connected for rank in ranks] == [all(sees)] * 2
    assert os.listdir(tmp_path / "logs") == []
