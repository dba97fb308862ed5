"""One vLLM engine, driven token by token on its own thread.

Coroutines put requests in and await whole generations; between two tokens the thread runs whatever else was
asked of it, which is how new weights are loaded while requests stay where they are.

Invariants: a request's result is delivered once, or fails with ``EngineError``; one that nobody waits for any more
leaves the engine; a token is labelled with the version of the weights that produced it, by vLLM itself; a load is
over before the next token begins.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch

from rollout.engine.gpu_staging import Cuda, Device, stage
from rollout.engine.prompt_tokens import encode_prompt
from rollout.engine.sampling import Sampling
from rollout.engine.vllm_arguments import (
    EngineSettings,
    engine_arguments,
    keeps_weights,
    prepare_process,
    starting_alone,
    within_model,
    without_collection,
)
from rollout.engine.weight_transfer import NotEnded, Transfer
from rollout.engine.weight_update import Entry, Loaded

if TYPE_CHECKING:
    from rollout.engine.cpu_reload import Loader


class EngineError(RuntimeError):
    """The engine stopped; the work in it has to be done elsewhere or again."""


class PromptTooLong(ValueError):
    """A prompt leaves no room for a reply in the model's context."""


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


class Generator(Protocol):
    """What an episode needs of an engine."""

    version: int

    @property
    def tokenizer(self) -> Any:
        """The model's Hugging Face tokenizer."""

    async def generate(self, prompt: str | list[int], sampling: Sampling) -> Generation:
        """Complete one prompt. Raises PromptTooLong, EngineError."""


@dataclass
class EngineStats:
    """Counters since the engine started."""

    generated_tokens: int = 0
    steps: int = 0
    loads: int = 0
    pause_s: float = 0.0


class Engine:
    """A vLLM engine whose calls are awaited. Start it with ``start`` and end it with ``stop``."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        # Tokens of a prompt and its completion at most; the start finds it out.
        self.context = 0
        self.version = 0
        self.stats = EngineStats()
        # What it is given runs in order, so that what was asked during one token comes before the next.
        self._thread = ThreadPoolExecutor(1, "engine")
        self._requests: dict[str, Future[Generation]] = {}
        self._ids = itertools.count()
        self._engine: Any = None
        self._loader: Loader | None = None
        # Where weights are staged for a load; None where that is no GPU of this process.
        self._gpu: Device | None = None
        # Held for a load, or for a transfer from its start to its end.
        self._loading = asyncio.Lock()
        self._transfer = Transfer()
        self._transferring = self._stepping = False
        self._stopped = ""

    def start(self) -> None:
        """Load the model; blocks until the engine is ready. Raises what vLLM raises."""
        prepare_process(self.settings.sizes.threads)
        with without_collection():
            arguments = within_model(engine_arguments(self.settings))
            self.context = arguments["max_model_len"]
            with starting_alone(self.settings.sizes.gpus):
                self._engine = self._make(arguments)
        if not torch.cuda.is_available():
            torch.set_num_threads(self.settings.sizes.threads)
        elif not self.settings.frozen and self.settings.sizes.parallel == 1:
            self._gpu = Cuda()
        if keeps_weights(arguments):
            self._loader = self._prover(self._engine)
        self._engine.set_weight_version("0")

    def _make(self, arguments: dict[str, Any]) -> Any:
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        gc.freeze()
        return LLMEngine.from_engine_args(EngineArgs(**arguments))

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
        ids = encode_prompt(self.tokenizer, prompt) if isinstance(prompt, str) else list(prompt)
        if len(ids) + 1 > self.context:
            raise PromptTooLong(f"prompt of {len(ids)} tokens, context of {self.context}")
        return await self._complete(
            ids,
            max_tokens=min(sampling.max_tokens, self.context - len(ids)),
            temperature=sampling.temperature,
            stop=list(sampling.stop),
            seed=sampling.seed,
            logprobs=None if self.settings.frozen else 0,
        )

    async def logprobs(self, prompt: list[int], completion: list[int]) -> list[float]:
        """Return the log-probabilities of a completion's tokens under the loaded weights, at temperature 1.

        Raises PromptTooLong if they do not fit the context with one token more, EngineError if the engine died.
        """
        if (length := len(prompt) + len(completion)) + 1 > self.context:
            raise PromptTooLong(f"prompt of {length} tokens, context of {self.context}")
        generation = await self._complete([*prompt, *completion], max_tokens=1, temperature=0.0, prompt_logprobs=0)
        return generation.prompt_logprobs[len(prompt) :]

    async def call(self, function: Callable[[Any], Any]) -> Any:
        """Run ``function(llm_engine)`` on the engine's thread, between two tokens."""

        def command() -> Any:
            if self._stopped:
                raise EngineError(self._stopped)
            return function(self._engine)

        return await asyncio.wrap_future(self._thread.submit(command))

    async def load_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], version: int, *, verify: bool = False
    ) -> Loaded:
        """Load named tensors as ``version`` at the next token boundary; requests in flight go on with them.

        What can be done beside generation is done before. With ``verify``, raises WeightMismatch if a tensor was
        loaded as other bytes. If ``loads_parts``, tensors that are not named stay as they are; after a transfer that is
        given up, all are to be named.
        """
        async with self._loading:
            started = time.perf_counter()
            load = await asyncio.to_thread(self._stage, weights, verify)
            staged = time.perf_counter()

            def between_tokens(engine: Any) -> Loaded:
                began = time.perf_counter()
                load(engine)
                loaded = time.perf_counter()
                self._switch_version(engine, version)
                ended = time.perf_counter()
                return Loaded(
                    version,
                    pause_s=self._end_pause(began),
                    staged_s=staged - started,
                    waited_s=began - staged,
                    reset_s=ended - loaded,
                )

            result: Loaded = await self.call(between_tokens)
            return result

    @property
    def loads_parts(self) -> bool:
        """Whether a load may name some of the tensors only."""
        return self._loader is not None

    async def prove(self, entries: Sequence[Entry]) -> None:
        """Raise WeightMismatch unless these tensors are what is loaded."""

        def proof(engine: Any) -> None:
            loader = self._prover(engine)
            for entry in entries:
                loader.prove_entry(entry)

        await self.call(proof)

    def _prover(self, engine: Any) -> Loader:
        from rollout.engine.cpu_reload import Loader

        return self._loader or Loader(engine.apply_model(lambda model: model)[0])

    def _stage(self, weights: Iterable[tuple[str, torch.Tensor]], verify: bool) -> Callable[[Any], None]:
        """Get a load ready; returns what is left of it, to be run between two tokens."""
        if self._loader is not None:
            commit = self._loader.stage(weights, verify=verify)
            return lambda _: commit()
        given, gpu = list(weights), self._gpu
        near = given if gpu is None else stage(given, gpu, own_gpu=self.settings.sizes.gpus >= 1)
        named = _with_tied_head(near)

        def load(engine: Any) -> None:
            engine.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(named)})
            if gpu is not None:
                gpu.release()
            if verify:
                loader = self._prover(engine)
                # A head that was added is the embedding, whose places are looked at under its own name; vLLM refuses
                # to load it alone.
                for name, tensor in given:
                    loader.prove(name, tensor)

        return load

    def _switch_version(self, engine: Any, version: int) -> None:
        """End a load: tokens are of the new version, and no new request finds an old one's states."""
        engine.set_weight_version(str(version))
        if self.settings.recompute:
            engine.reset_prefix_cache(reset_running_requests=True)
        self.version = version
        self.stats.loads += 1

    @property
    def waits_for_learner(self) -> bool:
        """Tell whether a step of a transfer waits for its learner, and all else for that step."""
        return self._transfer.waits

    async def transfer(self, step: str, argument: Any = None) -> None:
        """Take one step of vLLM's own weight transfer: ``init``, ``start``, ``update``, ``finish``. From ``start`` to
        ``finish``, whose argument is the version, nothing is generated, and nothing else is loaded.

        ``give_up`` and ``init`` end a transfer that its learner does not: nothing is generated then until another is
        finished, or all weights are loaded. Raises EngineError if vLLM cannot be brought to that."""
        if step == "start":
            await self._loading.acquire()
            self._transferring = True
        try:
            await self.call(lambda engine: self._take_step(engine, step, argument))
        finally:
            if self._transferring and not self._transfer.live:
                self._transferring = False
                self._loading.release()

    def _take_step(self, engine: Any, step: str, argument: Any) -> None:
        try:
            self._transfer.take(engine, step, argument)
        except NotEnded as error:
            self._end(str(error))
            raise EngineError(self._stopped) from None
        if step == "finish":
            self._switch_version(engine, argument)
            self._end_pause(time.perf_counter())

    def _end_pause(self, began: float) -> float:
        """Go on with what is loaded; return the seconds of the pause, which began then if not with a transfer."""
        if self._transfer.holds:
            began = self._transfer.release()
            self._go_on()
        pause = time.perf_counter() - began
        self.stats.pause_s += pause
        return pause

    def stop(self) -> None:
        """End generation; outstanding requests fail with EngineError."""
        self._thread.submit(self._end, "stopped").result(timeout=10)

    async def _complete(self, ids: list[int], **parameters: Any) -> Generation:
        """Run one request; if the caller is cancelled it is taken out of the engine, where it would hold a place."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        sampling = SamplingParams(output_kind=RequestOutputKind.FINAL_ONLY, **parameters)
        request_id = str(next(self._ids))
        done: Future[Generation] = Future()

        def add(engine: Any) -> None:
            # Salted, so that a prompt is never continued from what other weights left in the prefix cache.
            prompt = {"prompt_token_ids": ids, "cache_salt": str(self.stats.loads)}
            engine.add_request(request_id, prompt, sampling)
            # From here on it cannot be cancelled from outside, so that its result can always be set.
            done.set_running_or_notify_cancel()
            self._requests[request_id] = done
            self._go_on()

        try:
            await self.call(add)
            return await asyncio.wrap_future(done)
        except asyncio.CancelledError:
            self._thread.submit(self._guard, self._abort, request_id)
            raise

    def _abort(self, request_id: str) -> None:
        if self._requests.pop(request_id, None) is not None:
            self._engine.abort_request([request_id])

    def _go_on(self) -> None:
        """Have the next token generated, after what was asked for in the meantime."""
        if not self._stepping:
            self._stepping = True
            self._thread.submit(self._guard, self._step)

    def _step(self) -> None:
        """Generate a token of every request, as long as there are any."""
        self._stepping = False
        if self._stopped or self._transfer.holds or not self._engine.has_unfinished_requests():
            return
        for output in self._engine.step():
            if output.finished:
                self._deliver(output)
        self.stats.steps += 1
        self._go_on()

    def _guard(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run what nobody waits for; the engine stops if it fails."""
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - every waiting request is told, of an exit too
            self._end(str(error) or type(error).__name__)

    def _end(self, reason: str) -> None:
        """Fail what waits, and whatever is asked for from now on."""
        self._stopped = f"the engine stopped: {reason}"
        for done in self._requests.values():
            done.set_exception(EngineError(self._stopped))
        self._requests.clear()

    def _deliver(self, output: Any) -> None:
        done = self._requests.pop(output.request_id)
        completion = output.outputs[0]
        ids = list(completion.token_ids)
        logprobs = [step[token].logprob for step, token in zip(completion.logprobs or (), ids, strict=False)]
        versions = [int(span.version) for span in completion.weight_versions for _ in range(span.start, span.end)]
        prompt_ids = list(output.prompt_token_ids)
        scored = [
            0.0 if step is None else step[token].logprob
            for step, token in zip(output.prompt_logprobs or (), prompt_ids, strict=False)
        ]
        self.stats.generated_tokens += len(ids)
        done.set_result(
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
