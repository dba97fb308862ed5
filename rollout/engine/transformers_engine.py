"""A model behind the engine's interface without vLLM: slow with many prompts, but there in seconds.

vLLM starts in ten seconds, and so does Ray; a person with one question waits for neither. One prompt is completed after
another, on the CPU.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from rollout.engine.prompt_tokens import encode_prompt
from rollout.engine.sampling import Sampling
from rollout.engine.vllm_arguments import EngineSettings
from rollout.engine.vllm_engine import Generation, PromptTooLong


class PlainEngine:
    """A Hugging Face model of this process. Start it with ``start``. The tokens that it generates have no
    log-probabilities."""

    version = 0

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._lock = asyncio.Lock()
        self._model: Any = None
        self._context = settings.sizes.max_model_len
        self._tokenizer: Any = None

    def start(self) -> None:
        """Load the model; blocks until it is there. Raises what transformers raises."""
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
        from transformers.utils import logging

        logging.disable_progress_bar()
        self._tokenizer = AutoTokenizer.from_pretrained(self.settings.path)
        self._model = AutoModelForCausalLM.from_pretrained(self.settings.path, dtype=self.settings.dtype).eval()
        # Whatever else the folder says of generation, as penalties, lengths and beams, would change the distribution
        # that was trained; where a request leaves something open, transformers takes it from here.
        ends = self._model.generation_config.eos_token_id
        self._model.generation_config = GenerationConfig(eos_token_id=ends)
        # No more than the model reads, as in the other engine.
        reads = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self._context = min(self.settings.sizes.max_model_len, reads or self.settings.sizes.max_model_len)

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._tokenizer

    async def generate(self, prompt: str | list[int], sampling: Sampling) -> Generation:
        """Complete one prompt. Raises PromptTooLong if there is no room for a reply in the context."""
        ids = encode_prompt(self._tokenizer, prompt) if isinstance(prompt, str) else list(prompt)
        room = self._context - len(ids)
        if room < 1:
            raise PromptTooLong(f"prompt of {len(ids)} tokens, context of {self._context}")
        given_up = threading.Event()
        async with self._lock:
            work = asyncio.create_task(
                asyncio.to_thread(self._complete, ids, sampling, min(sampling.max_tokens, room), given_up.is_set)
            )
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:  # the thread ends at its next token; until then the model is not free
                given_up.set()
                await asyncio.wait([work])
                raise

    async def logprobs(self, prompt: list[int], completion: list[int]) -> list[float]:
        """Return the log-probabilities of a completion's tokens, as the other engine does. Raises PromptTooLong."""
        if (length := len(prompt) + len(completion)) + 1 > self._context:
            raise PromptTooLong(f"prompt of {length} tokens, context of {self._context}")
        async with self._lock:
            return (await asyncio.to_thread(self._score, [*prompt, *completion]))[len(prompt) :]

    def stop(self) -> None:
        """As the other engine's; nothing runs between two completions."""

    def _complete(self, ids: list[int], sampling: Sampling, limit: int, given_up: Callable[[], bool]) -> Generation:
        from transformers import GenerationConfig

        ends = self._model.generation_config.eos_token_id
        # Nothing but the temperature changes the distribution, as in training.
        drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
        if sampling.temperature > 0 and sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        prompt = torch.tensor([ids])
        output = self._model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=GenerationConfig(
                max_new_tokens=limit,
                eos_token_id=ends,
                pad_token_id=self._tokenizer.pad_token_id,
                **(drawn if sampling.temperature > 0 else {"do_sample": False}),
            ),
            stopping_criteria=[
                lambda found, *_, **__: torch.tensor([given_up() or self._text(found[0, len(ids) :], sampling.stop)[1]])
            ],
        )
        tokens = output[0, len(ids) :].tolist()
        text, stopped = self._text(tokens, sampling.stop)
        ended = stopped or tokens[-1] in (ends if isinstance(ends, list) else [ends])
        return Generation(ids, tokens, text, [], [self.version] * len(tokens), "stop" if ended else "length")

    def _score(self, ids: list[int]) -> list[float]:
        """Return each token's log-probability after those before it; the first has none and gets 0."""
        with torch.inference_mode():
            table = self._model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        following = torch.tensor(ids[1:], dtype=torch.long)[:, None]
        return [0.0, *table[:-1].gather(1, following)[:, 0].tolist()]

    def _text(self, tokens: Sequence[int], stop: Sequence[str]) -> tuple[str, bool]:
        """Return what tokens say, up to the first of the stop texts, and whether there is one."""
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        cut = min((place for one in stop if (place := text.find(one)) >= 0), default=None)
        return text[:cut], cut is not None
