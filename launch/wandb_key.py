"""W&B's key: where it is, and whether it has the form of one. The standard library is enough for what the doctor uses,
which works in a broken environment too."""

from __future__ import annotations

import netrc
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from conf.schema.config import Config

KEY_LENGTH = 40


def find_key() -> tuple[str | None, str]:
    """Return the key, from its variable or else from ~/.netrc, and the name of its source; None if there is none."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key, "WANDB_API_KEY"
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        found = netrc.netrc(file).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        found = None
    return found[2] if found else None, str(file)


def fault(key: str, source: str) -> tuple[str, str] | None:
    """Return what is wrong with the form of a key, and the remedy; None if nothing is. No part of the key is in it."""
    secret = key.partition("-")[2] or key
    if key != key.strip() or not re.fullmatch(r"[A-Za-z0-9_.-]+", key):
        text, remedy = "holds white space or characters that no key has", "set it again as the site shows it"
    elif len(secret) < KEY_LENGTH:
        text, remedy = f"has {len(secret)} characters, fewer than {KEY_LENGTH}", "copy the whole key"
    else:
        return None
    return f"the key of {source} {text} (it is not shown)", remedy


def check_key(config: Config) -> None:
    """Raise ConfigError if the run is to be tracked online with a key that cannot be one. Without a key here W&B may
    have another way to log in."""
    from conf.schema.base import ConfigError

    key, source = find_key()
    if config.tracking.wandb == "online" and key and (wrong := fault(key, source)) is not None:
        raise ConfigError(f"tracking.wandb: online, and {wrong[0]}; {wrong[1]}, or tracking=offline")
