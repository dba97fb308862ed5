"""Find the proxy to use for a server, as the environment names it."""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from rollout.solvers.base import SolverMisconfigured


@dataclass(frozen=True)
class Proxy:
    """A proxy and the ``variable`` that names it. Its address may contain a password, so only ``place`` is shown."""

    variable: str
    address: str

    @property
    def place(self) -> str:
        """Host and port."""
        try:
            parts = urlsplit(self.address)
            return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        except ValueError:
            return "an address that cannot be read"


def proxy_to(url: str) -> Proxy | None:
    """Return the proxy for requests to a server; None if the server is on this machine, if NO_PROXY excludes it, or if
    no variable names a proxy."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies_environment()
    if _is_loopback(host) or _is_excepted(host, parts.netloc.rpartition("@")[2], proxies):
        return None
    for scheme in (parts.scheme, "all"):
        if address := proxies.get(scheme):
            name = f"{scheme}_proxy"
            variable = name if os.environ.get(name) else name.upper()
            return Proxy(variable, address if "://" in address else f"http://{address}")
    return None


def client_options(proxy: Proxy | None) -> dict[str, Any]:
    """Return the options that make an HTTP client use this proxy, or none, and ignore the environment.

    By default the client also prepares the proxies of other servers, and fails if one of them cannot be used.
    """
    if proxy is not None:
        return {"proxy": proxy.address}
    if not getproxies_environment():
        return {}
    # The environment's certificates are still those to trust.
    own = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    return {"trust_env": False, **({"verify": ssl.create_default_context()} if own else {})}


def unusable(proxy: Proxy, error: Exception) -> SolverMisconfigured:
    """Return the error for a proxy that the client cannot use; the message does not repeat its address."""
    if isinstance(error, ImportError):
        return SolverMisconfigured(
            f"solver.base_url: {proxy.variable} names a SOCKS proxy ({proxy.place}), for which the package socksio is "
            "missing; allowed: pip install socksio, an HTTP proxy, or the server's host in NO_PROXY"
        )
    return SolverMisconfigured(
        f"solver.base_url: {proxy.variable} names no proxy that can be used; allowed: http://HOST:PORT, or the "
        "server's host in NO_PROXY"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _is_excepted(host: str, netloc: str, proxies: dict[str, str]) -> bool:
    """Return whether NO_PROXY names the host, its domain or its network."""
    if proxy_bypass_environment(netloc, proxies) or proxy_bypass_environment(host, proxies):
        return True
    for entry in proxies.get("no", "").split(","):
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip().strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False
