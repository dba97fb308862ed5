"""Say which key of the configuration a server's refusal is about. Pure: a status and texts in, one line out.

A line begins with the key, says what was found, and says what is allowed; the server's own words come last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from conf.schema.solver import OpenAISolver

ADDRESS = "the server's address with its version, without /chat/completions, as in http://127.0.0.1:8000/v1"
OTHER_API = {"chat": "completions", "completions": "chat"}
# What servers say of a model that can be asked by the other interface alone.
WRONG_API = {
    "chat": ("chat template", "chat_template", "template not found", "template error", "not a chat model",
             "support chat", "use v1/completions", "use /v1/completions"),
    "completions": ("this is a chat model", "only supports chat", "only support chat", "support completion",
                    "support generate", "use v1/chat/completions", "use /v1/chat/completions"),
}  # fmt: skip
UNKNOWN_MODEL = ("does not exist", "not exist", "not found", "unknown model", "invalid model", "no such model")
# Where the words of an error are; FastAPI has "msg" in the "detail" of a request with wrong fields.
WORDS = ("message", "error", "detail", "msg")
# So many names of models are shown.
NAMED = 8


def refusal(settings: OpenAISolver, status: int, said: str, text: str) -> str:
    """Return the line for a request that a server turns down. ``said`` is its code and message in lower case, ``text``
    the message as it is shown."""
    if wrong_api(settings, said):
        return f"solver.api: '{settings.api}' does not go with this server; allowed: {OTHER_API[settings.api]}; {text}"
    if 300 <= status < 400:
        return f"solver.base_url: {settings.base_url} points elsewhere; allowed: {ADDRESS}; {text}"
    if (key := _refused_key(settings, said)) is not None:
        return f"{key}; {text}"
    return f"solver: {settings.base_url} does not take the request; {text}"


def wrong_api(settings: OpenAISolver, said: str) -> bool:
    """Return whether a refusal says that the model is asked by the other interface."""
    return any(words in said for words in WRONG_API[settings.api])


def not_served(settings: OpenAISolver, models: Sequence[str] | None, text: str) -> str:
    """Return the line for a 404, given the names that the server's list of models has; None: it has no such list."""
    if models is None:
        return (
            f"solver.model: '{settings.model}' is not known at {settings.base_url}, or solver.api: "
            f"'{settings.api}' is not served there, or solver.base_url is not {ADDRESS}; {text}"
        )
    if settings.model in models:
        return (
            f"solver.api: '{settings.api}' is not served at {settings.base_url}, which knows the model; allowed: "
            f"{OTHER_API[settings.api]}; {text}"
        )
    named = ", ".join(models[:NAMED]) + (f" and {len(models) - NAMED} more" if len(models) > NAMED else "")
    return f"solver.model: '{settings.model}' is not known at {settings.base_url}; allowed: {named or 'none'}; {text}"


def no_list(settings: OpenAISolver, text: str) -> str:
    """Return the line for a server that knows neither the path of the interface nor that of its list of models."""
    return f"solver.base_url: {settings.base_url} has neither models nor completions; allowed: {ADDRESS}; {text}"


def no_reply(settings: OpenAISolver, text: str) -> str:
    """Return the line for a server that gives no completion at all."""
    scheme, _, rest = settings.base_url.partition("://")
    if scheme == "https" and "ssl" in text.lower():
        return (
            f"solver.base_url: no secure connection to {settings.base_url}; allowed: http://{rest} for a server "
            f"without TLS, or a certificate that SSL_CERT_FILE names; {text}"
        )
    return f"solver.base_url: no reply from {settings.base_url}: {text}; allowed: {ADDRESS}"


def no_text(settings: OpenAISolver, text: str) -> str:
    """Return the line for a short question whose reply holds nothing to read."""
    return (
        f"solver.max_tokens_subquestion: the reply to a short question held no text within "
        f"{settings.max_tokens_subquestion} tokens, as that of a reasoning model which is cut off; allowed: more "
        f"tokens, or solver.extra_body with what switches its reasoning off; {text}"
    )


def words(body: object) -> str:
    """Return what a server says in the body of an error, read from JSON; empty if it says nothing. OpenAI has the words
    in an object's ``message``; other servers have a text, ``error`` or ``detail`` in its place, or a list of those."""
    if isinstance(body, str):
        return "" if body.lstrip().startswith("<") else body  # a page is for browsers
    if isinstance(body, list):
        return ", ".join(filter(None, map(words, body)))
    if isinstance(body, dict):
        said = next((said for name in WORDS if (said := words(body.get(name)))), "")
        place = body.get("loc")
        return f"{said} ({'/'.join(map(str, place))})" if said and isinstance(place, list) else said
    return ""


def _refused_key(settings: OpenAISolver, said: str) -> str | None:
    """Return the key, with what is allowed, of the part of the request that a refusal names."""
    unknown = re.search(r"(unknown|unsupported|unrecognized|extra)[^.]{0,80}max_tokens", said)
    if unknown or "max_completion_tokens" in said:
        other = "max_tokens" if settings.max_tokens_field == "max_completion_tokens" else "max_completion_tokens"
        return f"solver.max_tokens_field: '{settings.max_tokens_field}' is not accepted; allowed: {other}"
    if settings.model.lower() in said and any(words in said for words in UNKNOWN_MODEL):
        return f"solver.model: '{settings.model}' is not known at {settings.base_url}; allowed: a name that it serves"
    if named := [name for name in settings.extra_body if name.lower() in said]:
        return f"solver.extra_body: '{named[0]}' is not accepted; allowed: fields that this server knows"
    if "temperature" in said:
        return f"solver.temperature: {settings.temperature:g} is not accepted; allowed: what the server names"
    if re.search(r"\bstop\b", said):
        return "solver.stop_subquestion, solver.stop_solve: not accepted; allowed: fewer texts, or []"
    return None
