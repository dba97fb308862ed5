"""The job server of a Ray cluster, and the cluster behind it."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conf.schema.config import Config

CONNECT_TIMEOUT_S = 10


class Refused(RuntimeError):
    """The cluster cannot be used as asked; the message is one line."""


def connect(address: str | None) -> Any:
    """Return a client of the cluster's job server that shows the token this user has. Raises Refused."""
    try:
        parts = urlsplit(address or "")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"--address: {address!r} is not allowed; it must be the head's job server, as http://HEAD:8265")
    try:
        socket.create_connection((parts.hostname, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise Refused(f"--address: nothing answers at {address} ({error.strerror or error})") from None
    # Ray sends the token only in this mode, which it reads when it is imported; without one it is an error there.
    if _token_source() is not None:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    # Ray prefers an address in the environment to the one that it is given.
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        os.environ.pop(name, None)
    logging.disable(logging.WARNING)  # what Ray says about every packed file and folder
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except AuthenticationError:
        source, named = _token_source(), os.environ.get("RAY_AUTH_TOKEN_PATH")
        if source is None and named:
            raise Refused(
                f"{address} wants a token, and '{named}', which RAY_AUTH_TOKEN_PATH names, is no file; name the one "
                "that has the token (on the head, 'ray get-auth-token' prints it)"
            ) from None
        if source is None:
            raise Refused(
                f"{address} wants a token and none was found; put it into ~/.ray/auth_token, or name its file in "
                "RAY_AUTH_TOKEN_PATH (on the head, 'ray get-auth-token' prints it)"
            ) from None
        raise Refused(
            f"{address} refuses this token, which is not the cluster's; it was read from {source} "
            "(on the head, 'ray get-auth-token' prints the right one)"
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever answers there, it is no Ray job server
        raise Refused(f"--address: {address} is no Ray job server ({first_line(error)})") from None


def _token_source() -> str | None:
    """Return where Ray finds a token, in its order; None if nowhere."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN"
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named) if named else Path.home() / ".ray" / "auth_token"
    return str(file) if file.is_file() else None


def check_resources(config: Config, address: str) -> None:
    """Compare the plan with the cluster's nodes, whatever runs on them now. Raises Refused."""
    from ray.util.state import list_nodes

    from trainer.cluster.placement import Node, shortage

    found = list_nodes(address=address, limit=10_000)
    totals = [node.resources_total for node in found if node.state == "ALIVE"]
    nodes = [Node(float(total.get("CPU", 0)), float(total.get("GPU", 0))) for total in totals]
    missing = shortage(config, nodes)
    if missing is not None:
        raise Refused(missing)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or else its name."""
    text = str(error).strip()
    return text.splitlines()[0].strip() if text else type(error).__name__
