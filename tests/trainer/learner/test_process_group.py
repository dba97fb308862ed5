"""Test the meeting of the learner's ranks."""

import socket

import pytest

from trainer.learner.process_group import Rank


def test_the_port_to_meet_at_is_taken_from_the_moment_it_is_told():
    rank = Rank(0, 1, cuda=False, host="127.0.0.1")
    host, port = rank.address()
    with pytest.raises(OSError, match="in use"):
        socket.create_server((host, port))
    socket.create_connection((host, port), 10).close()


def test_vllms_first_rank_can_listen_at_the_free_address():
    from vllm.distributed.utils import StatelessProcessGroup

    rank = Rank(0, 1, cuda=False, host="127.0.0.1")
    rank.address()
    assert StatelessProcessGroup.create(*rank.free_address(), 0, 1).world_size == 1


def test_the_ranks_meet_at_that_address_and_at_no_other():
    rank = Rank(0, 1, cuda=False, host="127.0.0.1")
    host, port = rank.address()
    socket.create_connection((host, port), 10).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), 10)
