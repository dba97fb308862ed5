"""Test the meeting of the learner's ranks."""

import socket

import pytest

from trainer.learner.process_group import Rank


def test_the_port_to_meet_at_is_taken_from_the_moment_it_is_told():
    rank = Rank(0, 1, cuda=False)
    host, port = rank.address()
    with pytest.raises(OSError, match="in use"):
        socket.create_server((host, port))
    socket.create_connection((host, port), 10).close()
