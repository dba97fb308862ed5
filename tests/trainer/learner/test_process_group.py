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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_the_ranks_meet_at_that_address_and_at_no_other(host):
    rank = Rank(0, 1, cuda=False, host=host)
    _, port = rank.address()
    socket.create_connection((host, port), 10).close()
    others = {"127.0.0.1", "127.0.0.2", "::1", *socket.gethostbyname_ex(socket.gethostname())[2]} - {host}
    for other in others:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((other, port), 10)
