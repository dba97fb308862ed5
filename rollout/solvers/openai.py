"""The frozen solver behind an OpenAI-compatible server, paid or local.

One actor holds the account: concurrency, requests and tokens a minute, retries, budget. The client's own retries
are off: they would bypass the limits, wait as the client sees fit, ask again where the account is empty, and not ask
again after half a response. What the server got wrong is tried again within bounds and then raised; what the solver
got wrong has a name (docs/solvers.md).

The key comes from the environment, and is taken out of every text that leaves this module.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import random
import time
from contextlib import suppress
from functools import cached_property
from typing import Any

import openai

from conf.schema.solver import OpenAISolver as OpenAISettings
from rollout.engine.sampling import Sampling
from rollout.episode.contracts import Reply, SolverFailure
from rollout.solvers.api_key import ApiKey
from rollout.solvers.base import Backend, SolverMisconfigured, SolverUnavailable
from rollout.solvers.proxies import client_options, proxy_to, unusable
from rollout.solvers.rate_limits import Paused, Permit, RateLimits
from rollout.solvers.refusals import no_list, no_reply, no_text, not_served, refusal, words, wrong_api

RETRIED = (408, 409, 425, 429)
# Of one prompt, once others were answered.
REFUSED = (400, 403, 413, 422)
# As the servers word it: OpenAI and vLLM, llama.cpp, Gemini, TGI, Anthropic.
TOO_LONG = (
    "context_length", "context length", "context window", "maximum context", "too long", "maximum model length",
    "context size", "input token count", "max_new_tokens", "must have less than", "context limit",
)  # fmt: skip
FILTERED = ("content_filter", "content policy", "content management policy")
# What a chat template adds to a prompt, in tokens, generously.
TEMPLATE_TOKENS = 32
BYTES_A_TOKEN = 4
# For a connection; a server that is not there may not even say so.
CONNECT_S = 5.0
QUESTION = "Q: What is 1 + 1?\nA:"
_LOG = logging.getLogger(__name__)


class RetryableError(Exception):
    """Something of the server's that may be gone the next time. ``wait_s`` is how long it asked to wait."""

    def __init__(self, text: str, wait_s: float | None = None, timed_out: bool = False) -> None:
        super().__init__(text)
        self.wait_s, self.timed_out = wait_s, timed_out


class NotServed(SolverMisconfigured):
    """The server does not know the path or the model; its list of models may tell which. ``text`` is its answer."""

    def __init__(self, settings: OpenAISettings, text: str) -> None:
        super().__init__(not_served(settings, None, text))
        self.text = text


class OpenAISolver(Backend):
    """A solver over HTTP. ``minute_s``: the seconds for which the limits a minute hold."""

    settings: OpenAISettings

    def __init__(self, settings: OpenAISettings, seed: int = 0, *, minute_s: float = 60.0) -> None:
        super().__init__(settings, seed)
        self._key = ApiKey(settings.api_key_env)
        self._proxy = proxy_to(settings.base_url)
        # A local server asks for no key: then no header is sent, not an empty one.
        self._headers: dict[str, Any] = {} if self._key.value else {"Authorization": openai.Omit()}
        # Made now, since that takes a moment; what is wrong with it is raised by each request.
        with suppress(SolverMisconfigured):
            _ = self._client
        self._limits = RateLimits(settings.requests_per_minute, settings.tokens_per_minute, minute_s)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._answered = self._failing = False
        # A line a request, with nothing in it that the run does not count anyway, or with a header that was refused.
        for name in ("httpx", "httpx2", "httpcore", "httpcore2", "openai"):
            logging.getLogger(name).setLevel(logging.WARNING)

    @cached_property
    def _client(self) -> openai.AsyncOpenAI:
        """The client. Raises SolverMisconfigured if none can be made of the environment."""
        self._key.check()
        connections = openai.DEFAULT_CONNECTION_LIMITS
        proxy = self._proxy
        try:
            http = openai.DefaultAsyncHttpxClient(
                limits=connections, timeout=None, follow_redirects=False, **client_options(proxy)
            )
        except Exception as error:
            if proxy is None:
                raise
            raise unusable(proxy, error) from None
        key, url = self._key.value or "none", self.settings.base_url
        limit = openai.Timeout(None, connect=CONNECT_S)
        return openai.AsyncOpenAI(api_key=key, base_url=url, max_retries=0, timeout=limit, http_client=http)

    @property
    def identity(self) -> dict[str, Any]:
        """Server, interface and model, and what else every request says."""
        settings = self.settings
        named = {"backend": "openai", "base_url": settings.base_url, "api": settings.api, "model": settings.model}
        # Only where there is something: what an earlier version has cached is still found.
        return named | ({"extra_body": settings.extra_body} if settings.extra_body else {})

    @property
    def spent(self) -> bool:
        """Whether cost or tokens have reached the budget."""
        return self.left <= 0

    @property
    def left(self) -> float:
        """The share of the budget that is left, of cost or of tokens, whichever is less."""
        usage, settings = self.usage, self.settings
        tokens = usage.prompt_tokens + usage.completion_tokens
        budgets = ((usage.cost, settings.budget_cost), (tokens, settings.budget_tokens))
        return min((1.0 - used / budget for used, budget in budgets if budget is not None), default=1.0)

    async def start(self) -> None:
        """Ask one short question, which finds a wrong address, key, model or interface before the run begins."""
        settings = self.settings
        try:
            await self.ask(QUESTION, purpose="subquestion")
        except NotServed as error:
            raise SolverMisconfigured(await self._why_not_served(error.text)) from None
        except SolverUnavailable as error:
            raise SolverMisconfigured(no_reply(settings, str(error))) from None
        except SolverFailure as failure:
            if failure.outcome == "solver_timeout":
                raise SolverMisconfigured(f"solver.request_timeout_s, solver.timeout_s: {failure}") from None
            if failure.outcome == "solver_empty":
                raise SolverMisconfigured(no_text(settings, str(failure))) from None
            if failure.outcome == "prompt_too_long":
                raise SolverMisconfigured(
                    f"solver.max_tokens_subquestion: {settings.max_tokens_subquestion} tokens after a short question "
                    f"are too many for the server; allowed: fewer, or a longer context there; {failure}"
                ) from None

    async def _why_not_served(self, text: str) -> str:
        """Return the line for a 404, with what the server's list of models says of it."""
        settings = self.settings
        try:
            async with asyncio.timeout(settings.request_timeout_s):
                listed = await self._client.models.list(extra_headers=self._headers)
            models = [self._clean(str(model.id)) for model in listed.data]
        except openai.NotFoundError:
            return no_list(settings, text)
        except Exception:  # noqa: BLE001 - whatever a stranger's server answers to this, the question stays unanswered
            return not_served(settings, None, text)
        return not_served(settings, models, text)

    async def check(self) -> None:
        """Ask the short question once, as soon as the limits allow."""
        settings, sampling = self.settings, self.sampling(QUESTION, "subquestion", 0)
        try:
            async with asyncio.timeout(settings.request_timeout_s):
                reserve = len(QUESTION) + TEMPLATE_TOKENS + sampling.max_tokens
                permit = await self._limits.admit(reserve, settings.request_timeout_s)
            await self._reply(QUESTION, sampling, permit)
        except (RetryableError, Paused, TimeoutError) as error:
            said = str(error) or "its limits allow no request now"
            raise SolverUnavailable(f"no reply from {settings.base_url}: {said}") from None
        except SolverFailure:
            return  # poor, but a reply

    async def close(self) -> None:
        """Close the connections."""
        with suppress(SolverMisconfigured):
            await self._client.close()

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt; raises SolverFailure, SolverUnavailable, SolverMisconfigured.

        ``timeout_s`` counts from the first request on: neither the wait for a free place nor that for the limits
        before it is the solver's doing. A pause that the server asked for and that outlasts ``timeout_s`` is not waited
        for: nobody here would know that the solver is away.
        """
        try:
            return await self._ask(prompt, purpose, sample)
        except Paused as paused:
            raise SolverUnavailable(str(paused)) from None

    async def _ask(self, prompt: str, purpose: str, sample: int) -> Reply:
        sampling = self.sampling(prompt, purpose, sample)
        reserve = len(prompt.encode(errors="replace")) + TEMPLATE_TOKENS + sampling.max_tokens
        async with self._slots:
            permit = await self._limits.admit(reserve, self.settings.timeout_s)
            deadline = time.monotonic() + self.settings.timeout_s
            error = RetryableError(f"no reply in {self.settings.timeout_s:g} s (solver.timeout_s)", timed_out=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.timeout_s):
                    for attempt in range(self.settings.max_retries + 1):
                        if attempt:
                            await self._wait(attempt, error, deadline)
                            permit = await self._limits.admit(reserve, self.settings.timeout_s)
                            self.usage.retries += 1
                        try:
                            reply = await self._reply(prompt, sampling, permit)
                        except RetryableError as found:
                            error = found
                            self._note(str(found))
                            self._limits.pause(found.wait_s or 0.0, str(found))
                        else:
                            self._note(None)
                            return reply
        raise SolverFailure("solver_timeout", str(error)) if error.timed_out else SolverUnavailable(str(error))

    def _note(self, error: str | None) -> None:
        """Write to the log when replies begin to fail, and when they come again; a server that has never answered is
        said by whoever asks it first."""
        if (error is None) != self._failing or not self._answered:
            return
        self._failing = error is not None
        if error is None:
            _LOG.warning("%s answers again", self.settings.base_url)
        else:
            _LOG.warning("no reply from %s: %s; tried again up to %d times each", self.settings.base_url, error,
                         self.settings.max_retries)  # fmt: skip

    async def _wait(self, attempt: int, error: RetryableError, deadline: float) -> None:
        """Hold back before an attempt: as long as the server said, else exponentially; both with jitter. Raises
        TimeoutError at once if that would end after the ``deadline``."""
        settings = self.settings
        if error.wait_s is None:
            step = min(settings.backoff_max_s, settings.backoff_s * 2 ** (attempt - 1))
            seconds = step * (0.5 + random.random() / 2)
        else:
            # Those who wait for the same moment do not all come at once.
            seconds = error.wait_s + settings.backoff_s * random.random()
        if time.monotonic() + seconds > deadline:
            raise TimeoutError
        await asyncio.sleep(seconds)

    async def _reply(self, prompt: str, sampling: Sampling, permit: Permit) -> Reply:
        """Send one request; return the reply. What it did not use of its permit is given back, unless there is no
        telling. Raises RetryableError, SolverFailure, SolverMisconfigured."""
        try:
            completion = await self._send(prompt, sampling)
        except SolverFailure:
            self._limits.settle(permit, 0)  # turned down, so nothing was written
            raise
        return self._read(completion, prompt, permit)

    async def _send(self, prompt: str, sampling: Sampling) -> Any:
        """Send one request; return the completion. Raises RetryableError, SolverFailure, SolverMisconfigured."""
        settings, chat = self.settings, self.settings.api == "chat"
        create: Any = self._client.chat.completions.create if chat else self._client.completions.create
        body: dict[str, Any] = {
            "model": settings.model,
            settings.max_tokens_field: sampling.max_tokens,
            "temperature": sampling.temperature,
            "stop": list(sampling.stop) or openai.omit,
            "seed": openai.omit if sampling.seed is None else sampling.seed,
            **({"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}),
        }
        try:
            async with asyncio.timeout(settings.request_timeout_s):
                return await create(**body, extra_headers=self._headers, extra_body=settings.extra_body or None)
        except TimeoutError:
            text = f"no reply in {settings.request_timeout_s:g} s (solver.request_timeout_s)"
            raise RetryableError(text, timed_out=True) from None
        except openai.APIStatusError as error:
            raise self._status(error) from None
        except (openai.APIConnectionError, openai.APIResponseValidationError, ValueError) as error:
            # A ValueError is a body that is no JSON.
            cause = error.__cause__ or error
            said = str(cause) or f"no connection in {CONNECT_S:g} s"
            way = f", through the proxy {self._proxy.place} of {self._proxy.variable}" if self._proxy else ""
            raise RetryableError(self._clean(f"{type(cause).__name__}: {said}") + way) from None

    def _status(self, error: openai.APIStatusError) -> Exception:
        """Return the error that a status of 400 and above means."""
        settings, status = self.settings, error.status_code
        moved = f" (to {error.response.headers['location']})" if "location" in error.response.headers else ""
        told = words(error.body)
        text = self._clean(f"the server answered {status}{moved}" + (f": {told}" if told else ""))
        said = f"{error.code} {told}".lower()
        if status == 401 or (status == 403 and not self._answered):
            held = "is not accepted" if self._key.value else "is not set"
            allowed = f"{settings.api_key_env} with the server's key in it, or the name of another variable"
            return SolverMisconfigured(
                f"solver.api_key_env: the key in {settings.api_key_env} {held}; {text}; allowed: {allowed}"
            )
        if status == 402 or "insufficient_quota" in said:
            return SolverMisconfigured(f"solver.api_key_env: the account of the key in {settings.api_key_env}: {text}")
        if not self._answered and wrong_api(settings, said):
            return SolverMisconfigured(refusal(settings, status, said, text))
        if status in RETRIED or status >= 500:
            return RetryableError(text, retry_after(error.response.headers))
        if any(word in said for word in TOO_LONG):
            return SolverFailure("prompt_too_long", text)
        if status in (404, 405):
            return NotServed(settings, text)
        if any(word in said for word in FILTERED) or (self._answered and status in REFUSED):
            return SolverFailure("solver_refused", text)
        return SolverMisconfigured(refusal(settings, status, said, text))

    def _read(self, completion: Any, prompt: str, permit: Permit) -> Reply:
        """Count and return the reply in a response; raises RetryableError, SolverFailure."""
        choices = getattr(completion, "choices", None)
        if not isinstance(choices, list):
            raise RetryableError("the server's response is no completion")
        self._answered = True
        choice = choices[0] if choices else None
        message = getattr(choice, "message", None)
        text = getattr(message, "content", None) if self.settings.api == "chat" else getattr(choice, "text", None)
        written = self._key.hide(text).strip() if isinstance(text, str) else ""
        finish = getattr(choice, "finish_reason", None)
        reply = Reply(written, *self._tokens(completion, prompt, written), cut=finish == "length")
        self.usage.count(reply)
        self._limits.settle(permit, reply.prompt_tokens + reply.tokens)
        cost = reply.prompt_tokens * self.settings.price_prompt + reply.tokens * self.settings.price_completion
        self.usage.cost += cost / 1e6
        if finish == "error":  # half a text, of a provider that broke off behind a router
            raise RetryableError(self._clean(f"the server gave a reply up: {words(getattr(choice, 'error', None))}"))
        if getattr(message, "refusal", None) or finish == "content_filter":
            raise SolverFailure("solver_refused", self._clean(str(getattr(message, "refusal", None) or "filtered")))
        if not written:
            ended = f"{reply.tokens} tokens were paid, finish_reason is {finish}"
            raise SolverFailure("solver_empty", self._clean(f"the reply holds no text; {ended}"))
        return reply

    def _tokens(self, completion: Any, prompt: str, text: str) -> tuple[int, int]:
        """Return the tokens written and read; estimated from the texts where the server does not tell."""

        def count(name: str, said: str) -> int:
            told = getattr(getattr(completion, "usage", None), name, None)
            return told if isinstance(told, int) else -(-len(said.encode(errors="replace")) // BYTES_A_TOKEN)

        return count("completion_tokens", text), count("prompt_tokens", prompt)

    def _clean(self, text: str) -> str:
        """Return one short line without the key."""
        return " ".join(self._key.hide(text).split())[:300]


def retry_after(headers: Any) -> float | None:
    """Return the seconds that a response asks to wait (Retry-After as seconds or date, RFC 9110; or in milliseconds);
    None if it does not."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        with suppress(KeyError, ValueError):
            return max(0.0, float(headers[name]) * unit)
    with suppress(KeyError, ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    return None
