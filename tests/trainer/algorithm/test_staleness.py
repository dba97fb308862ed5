import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.algorithm.staleness import StalenessManager


def test_synchronous_when_the_bound_is_zero():
    manager = StalenessManager(batch_size=4, max_staleness=0)
    assert manager.capacity(version=0) == 4
    manager.admit(4)
    assert manager.capacity(version=0) == 0
    assert manager.capacity(version=1) == 4


@pytest.mark.parametrize(("versions", "learner", "stale"), [([3, 4], 4, False), ([2, 4], 4, True), ([], 9, False)])
def test_the_oldest_token_decides(versions, learner, stale):
    assert StalenessManager(1, 1).too_stale(versions, learner) is stale


@given(st.integers(1, 64), st.integers(0, 8), st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=40))
def test_the_bound_holds_whatever_happens(batch, bound, events):
    manager, version = StalenessManager(batch, bound), 0
    for lost, pushed in events:
        manager.admit(manager.capacity(version))
        assert manager.admitted <= (version + bound + 1) * batch
        manager.give_up(min(lost, manager.admitted))
        version += pushed


@pytest.mark.parametrize(("target", "admitted"), [(None, 24), (2, 24), (1, 16), (0.5, 12), (0.3, 10), (0, 8), (7, 24)])
def test_admissions_aim_at_the_target_and_what_is_too_stale_is_so_by_the_bound(target, admitted):
    manager = StalenessManager(batch_size=8, max_staleness=2, target=target)
    assert manager.capacity(version=0) == admitted
    manager.admit(admitted)
    assert manager.capacity(version=0) == 0
    assert manager.capacity(version=1) == 8
    assert [manager.too_stale([3], version) for version in (5, 6)] == [False, True]
