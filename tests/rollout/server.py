"""An OpenAI-compatible server on 127.0.0.1 that misbehaves as told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from rollout.solvers import program

# Given the number of the request and its body: how to answer it.
Plan = Callable[[int, dict[str, Any]], str]


# The body of an error as servers send it, by the name that a kind has after the status, as "422 tgi: too long".
BODIES: dict[str, Callable[[str], Any]] = {
    "": lambda said: {"error": {"message": said, "code": None}},
    "vllm": lambda said: {"error": {"message": said, "type": "BadRequestError", "param": None, "code": 400}},
    "sglang": lambda said: {"object": "error", "message": said, "type": "BadRequestError", "code": 400},
    "tgi": lambda said: {"error": said, "error_type": "validation"},
    "gemini": lambda said: [{"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}],
    "fastapi": lambda said: {"detail": said},
    "fields": lambda said: {"detail": [{"type": "missing", "loc": ["body", "x"], "msg": said, "input": "too long"}]},
}


def completion(body: dict[str, Any], text: str | None, finish: str = "stop", **message: Any) -> dict[str, Any]:
    chat = "messages" in body
    choice = {"message": {"role": "assistant", "content": text, **message}} if chat else {"text": text}
    return {
        "id": "c", "object": "chat.completion" if chat else "text_completion", "created": 1, "model": body["model"],
        "choices": [{"index": 0, "finish_reason": finish, **choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }  # fmt: skip


class Server:
    """``async with Server(plan) as server``; what it saw is in ``requests`` (monotonic time, body) and ``headers``."""

    def __init__(
        self, plan: Plan, retry_after: str = "0.1", hang_s: float = 30.0, models: list[str] | None = None, port: int = 0
    ) -> None:
        self.plan, self.retry_after, self.hang_s = plan, retry_after, hang_s
        self.models, self.port = models, port
        self.requests: list[tuple[float, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.kinds: list[str] = []
        self.running = self.most_running = 0
        self.url = ""

    async def __aenter__(self) -> Server:
        application = web.Application()
        application.router.add_post("/v1/{path:.*}", self._answer)
        if self.models is not None:
            application.router.add_get("/v1/{path:.*}", self._list)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _list(self, request: web.Request) -> web.Response:
        assert self.models is not None
        if request.match_info["path"] != "models":
            raise web.HTTPNotFound
        data = [{"id": name, "object": "model", "created": 1, "owned_by": "us"} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        kind = self.plan(len(self.requests), body)
        self.requests.append((time.monotonic(), body))
        self.headers.append(dict(request.headers))
        self.kinds.append(kind)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0.005)
            return await self._respond(kind, request, body)
        finally:
            self.running -= 1

    async def _respond(self, kind: str, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        prompt = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if kind == "429":
            error = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
            return web.json_response(error, status=429, headers={"Retry-After": self.retry_after})
        if ": " in kind:  # a status and what the server says
            head, _, said = kind.partition(": ")
            status, _, sender = head.partition(" ")
            if sender in ("text", "html"):
                text = said if sender == "text" else f"<html>{said}</html>"
                content = "text/plain" if sender == "text" else "text/html"
                return web.Response(text=text, status=int(status), content_type=content)
            return web.json_response(BODIES[sender](said), status=int(status))
        if kind.isdigit():
            # A server that repeats the key, as some do in part.
            error = {"error": {"message": f"no: Bearer {key} and {prompt}", "code": None}}
            return web.json_response(error, status=int(kind))
        if kind in ("context_length_exceeded", "content_filter", "insufficient_quota"):
            error = {"error": {"message": "no", "code": kind}}
            return web.json_response(error, status=429 if kind == "insufficient_quota" else 400)
        if kind in ("closed", "half"):
            if kind == "half":
                response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "500"})
                await response.prepare(request)
                await response.write(b'{"id": "c", "choices": [{"te')
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if kind == "hang":
            await asyncio.sleep(self.hang_s)
        if kind == "garbage":
            return web.Response(text="<html>not here", content_type="application/json")
        if kind == "page":
            return web.Response(text="<html>not here", content_type="text/html")
        if kind == "no_choices":
            return web.json_response(completion(body, "") | {"choices": []})
        if kind == "cut_before_any_text":
            response = completion(body, "", finish="length")
            response["usage"]["completion_tokens"] = body.get("max_tokens") or body["max_completion_tokens"]
            return web.json_response(response)
        if kind == "thought_only":  # all its tokens went into what it thought
            thought = {"reasoning_content": "Let me see", "content": ""}
            return web.json_response(completion(body, "", finish="length", **thought))
        if kind in ("blank", "no_content"):
            return web.json_response(completion(body, None if kind == "no_content" else " \n"))
        if kind == "broken_off":  # as a router says it of a provider
            response = completion(body, "half of", finish="error")
            response["choices"][0]["error"] = {"code": 502, "message": f"the provider of {key} went away"}
            return web.json_response(response)
        if kind == "refusal":
            return web.json_response(completion(body, None, refusal="I would rather not."))
        if kind == "filtered":
            return web.json_response(completion(body, "", finish="content_filter"))
        if kind == "cut":
            return web.json_response(completion(body, "half of", finish="length"))
        if kind == "no_usage":
            return web.json_response(completion(body, "one two three four") | {"usage": None})
        if kind == "program":
            return web.json_response(completion(body, program.answer(prompt)))
        if kind == "echo_key":
            return web.json_response(completion(body, f"your key is {key}"))
        return web.json_response(completion(body, f" reply to {prompt}\n"))
