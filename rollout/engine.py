"""One vLLM engine, driven token by token on its own thread.

Coroutines put requests in and await whole generations; between two tokens the thread runs whatever else was
asked of it, which is how new weights are loaded while requests stay where they are.

Invariants: a request's result is delivered once, or fails with ``EngineError``; one that nobody waits for any more
leaves the engine; a token is labelled with the version of the weights that produced it, by vLLM itself; a load is
over before the next token begins.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from rollout.sampling import Sampling


class EngineError(RuntimeError):
    """The engine stopped; the work in it has to be done elsewhere or again."""


class PromptTooLong(ValueError):
    """A prompt leaves no room for a reply in the model's context."""


@dataclass(frozen=True)
class EngineSettings:
    """What a vLLM engine is started with. ``kv_cache_gib`` is per engine; ``threads`` matters on the CPU only.

    Without ``logprobs`` generations have none: where the text alone is wanted, a token costs less."""

    path: str
    dtype: str = "float32"
    max_model_len: int = 512
    max_num_seqs: int = 128
    max_num_batched_tokens: int = 4096
    kv_cache_gib: float = 0.5
    prefix_caching: bool = False
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.8
    threads: int = 1
    seed: int = 0
    logprobs: bool = True


@dataclass(frozen=True)
class Generation:
    """One completion: ids as sampled, the log-probability (of an engine that gives them) and weight version of each,
    and the text."""

    prompt_ids: list[int]
    token_ids: list[int]
    text: str
    logprobs: list[float]
    versions: list[int]
    finish_reason: str
    prompt_logprobs: list[float] = field(default_factory=list)


@dataclass
class _Request:
    future: Future[Generation]
    version: int = 0


@dataclass
class EngineStats:
    """Counters since the engine started."""

    generated_tokens: int = 0
    steps: int = 0
    loads: int = 0
    pause_s: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)


def prepare_process(threads: int) -> None:
    """Set what vLLM and torch read from the environment; must run before either is imported in this process."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def engine_arguments(settings: EngineSettings) -> dict[str, Any]:
    """vLLM's own arguments for these settings on this machine."""
    device: dict[str, Any] = (
        {"gpu_memory_utilization": settings.gpu_memory_utilization}
        if torch.cuda.is_available()
        # Prompts are scheduled whole: vLLM 0.32 cannot take back a seeded draw for part of a prompt on the CPU.
        else {"kv_cache_memory_bytes": int(settings.kv_cache_gib * 2**30), "enable_chunked_prefill": False}
    )
    return {
        "model": settings.path,
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": max(settings.max_num_batched_tokens, settings.max_model_len),
        "enable_prefix_caching": settings.prefix_caching,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "enforce_eager": not torch.cuda.is_available(),
        "logprobs_mode": "processed_logprobs",
        "seed": settings.seed,
        **device,
    }


class Engine:
    """A vLLM engine whose calls are awaited. Start it with ``start`` and end it with ``stop``."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self.version = 0
        self.stats = EngineStats()
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._requests: dict[str, _Request] = {}
        self._ids = itertools.count()
        self._failure: BaseException | None = None
        self._engine: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Load the model; blocks until the engine is ready. Raises what vLLM raises."""
        prepare_process(self.settings.threads)
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        self._engine = LLMEngine.from_engine_args(EngineArgs(**engine_arguments(self.settings)))
        if not torch.cuda.is_available():
            torch.set_num_threads(self.settings.threads)
        self._engine.set_weight_version("0")
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def tokenizer(self) -> Any:
        """The model's Hugging Face tokenizer."""
        return self._engine.get_tokenizer()

    @property
    def in_flight(self) -> int:
        """Requests that are waiting or running."""
        return len(self._requests)

    async def generate(self, prompt: str | list[int], sampling: Sampling) -> Generation:
        """Complete one prompt.

        Raises PromptTooLong if prompt and ``max_tokens`` do not fit the context, EngineError if the engine died.
        """
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        if len(ids) + 1 > self.settings.max_model_len:
            raise PromptTooLong(f"prompt of {len(ids)} tokens, context of {self.settings.max_model_len}")
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            max_tokens=min(sampling.max_tokens, self.settings.max_model_len - len(ids)),
            temperature=sampling.temperature,
            stop=list(sampling.stop),
            seed=sampling.seed,
            logprobs=0 if self.settings.logprobs else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        return await self._complete(ids, parameters)

    async def score(self, prompt: list[int], completion: list[int]) -> list[float]:
        """Log-probabilities of a completion's tokens under the loaded weights, at temperature 1."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            max_tokens=1, temperature=0.0, prompt_logprobs=0, output_kind=RequestOutputKind.FINAL_ONLY
        )
        return (await self._complete([*prompt, *completion], parameters)).prompt_logprobs[len(prompt) :]

    async def call(self, function: Callable[[Any], Any]) -> Any:
        """Run ``function(llm_engine)`` on the engine's thread, between two tokens."""
        future: Future[Any] = Future()

        def command() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(self._engine))
            except Exception as error:  # noqa: BLE001 - belongs to whoever asked
                future.set_exception(error)

        self._put(command, future)
        return await asyncio.wrap_future(future)

    async def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Load named tensors as ``version`` at the next token boundary; requests in flight go on with them."""
        named = _with_tied_head(list(weights))

        def load(engine: Any) -> None:
            started = time.perf_counter()
            engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(named)})
            engine.set_weight_version(str(version))
            if self.settings.prefix_caching:
                engine.reset_prefix_cache()
            self.version = version
            self.stats.loads += 1
            self.stats.pause_s += time.perf_counter() - started

        await self.call(load)

    async def checksum(self) -> Any:
        """vLLM's own checksums of what is loaded."""
        return await self.call(lambda engine: engine.collective_rpc("compute_weight_checksums"))

    def stop(self) -> None:
        """End the thread; outstanding requests fail with EngineError."""
        self._commands.put(None)
        if self._thread is not None:
            self._thread.join(timeout=10)

    async def _complete(self, ids: list[int], parameters: Any) -> Generation:
        """One request; if the caller is cancelled it is taken out of the engine, where it would hold a place."""
        future: Future[Generation] = Future()
        request_id = str(next(self._ids))
        self._put(lambda: self._add(request_id, ids, parameters, future), future)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self._commands.put(lambda: self._abort(request_id))
            raise

    def _put(self, command: Callable[[], None], future: Future[Any]) -> None:
        if self._failure is not None:
            future.set_exception(EngineError(f"the engine stopped: {self._failure}"))
            return
        self._commands.put(command)

    def _add(self, request_id: str, ids: list[int], parameters: Any, future: Future[Generation]) -> None:
        # From here on the future cannot be cancelled from outside, so that its result can always be set.
        if not future.set_running_or_notify_cancel():
            return
        self._requests[request_id] = _Request(future, self.version)
        try:
            self._engine.add_request(request_id, {"prompt_token_ids": ids}, parameters)
        except ValueError as error:
            del self._requests[request_id]
            future.set_exception(error)

    def _abort(self, request_id: str) -> None:
        if self._requests.pop(request_id, None) is not None:
            self._engine.abort_request([request_id])

    def _run(self) -> None:
        try:
            while self._commands_done():
                if not self._engine.has_unfinished_requests():
                    continue
                for output in self._engine.step():
                    if output.finished:
                        self._deliver(output)
                self.stats.steps += 1
        except Exception as error:  # noqa: BLE001 - every waiting request is told
            self._failure = error
        else:
            self._failure = EngineError("stopped")
        for request in self._requests.values():
            request.future.set_exception(EngineError(f"the engine stopped: {self._failure}"))
        self._requests.clear()

    def _commands_done(self) -> bool:
        """Run the waiting commands, blocking for one when there is nothing to generate; False to stop."""
        idle = not self._engine.has_unfinished_requests()
        while True:
            try:
                command = self._commands.get(block=idle)
            except queue.Empty:
                return True
            if command is None:
                return False
            command()
            idle = False

    def _deliver(self, output: Any) -> None:
        request = self._requests.pop(output.request_id)
        completion = output.outputs[0]
        ids = list(completion.token_ids)
        logprobs = [step[token].logprob for step, token in zip(completion.logprobs or (), ids, strict=False)]
        versions = [request.version] * len(ids)
        for span in completion.weight_versions or ():
            versions[span.start : span.end] = [int(span.version)] * (span.end - span.start)
        prompt_ids = list(output.prompt_token_ids)
        scored = [
            0.0 if step is None else step[token].logprob
            for step, token in zip(output.prompt_logprobs or (), prompt_ids, strict=False)
        ]
        self.stats.generated_tokens += len(ids)
        request.future.set_result(
            Generation(
                prompt_ids=prompt_ids,
                token_ids=ids,
                text=completion.text,
                logprobs=logprobs,
                versions=versions,
                finish_reason=completion.finish_reason or "stop",
                prompt_logprobs=scored,
            )
        )


def _with_tied_head(named: list[tuple[str, torch.Tensor]]) -> list[tuple[str, torch.Tensor]]:
    """Weights without an output head have it tied to the embedding. vLLM's reload treats the two as layers of
    their own, and would go on with the old head if it were not named."""
    names = [name for name, _ in named]
    embedding = [tensor for name, tensor in named if name.endswith("embed_tokens.weight")]
    if "lm_head.weight" in names or not embedding:
        return named
    return [*named, ("lm_head.weight", embedding[0])]
