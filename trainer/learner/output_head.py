"""A language model taken apart before its head, so that not all tokens need be projected onto the vocabulary at once.

Some models scale or cap their logits after the head. Which of the numbers in its configuration a model uses, and how,
is found by trying: the parts must give the whole's logits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from trainer.algorithm.experience import Sequences, pad
from trainer.learner.token_logprobs import projected_logprobs, token_logprobs

# How transformers' configurations call what is done to logits.
_NAMES = re.compile(r"logit|head_mult|output_mult")
# The spread of the logits that are tried: a cap must show.
SPREAD = 20.0


@dataclass(frozen=True)
class Adjustment:
    """The operations of a model on its head's output: logits times ``scale``, over ``divisor``, softly capped."""

    scale: float = 1.0
    divisor: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the model's logits."""
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.divisor != 1.0:
            logits = logits / self.divisor
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)


@dataclass(frozen=True)
class Chunks:
    """The cutting of a projection: at most so many ``tokens`` at once, and what the model does to the logits. With
    ``words``, ids in rising order, only those of the vocabulary are projected onto, and every target is one of them."""

    tokens: int
    adjust: Adjustment
    words: Tensor | None = None


class Scores(NamedTuple):
    """The log-probabilities of targets and entropies ``[tokens]``, and the hidden states before the head that they are
    of ``[tokens, size]``, None where they were not asked for."""

    logprobs: Tensor
    entropies: Tensor
    hidden: Tensor | None


def parts(lm: Any) -> tuple[nn.Module, nn.Module]:
    """Return a causal language model's trunk and head; with adapters in them if it has any."""
    whole = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
    return whole.base_model, whole.get_output_embeddings()


# Given parameters, the context in which they are whole.
Gather = Callable[[Sequence[nn.Parameter]], AbstractContextManager[Any]]


def not_shared(parameters: Sequence[nn.Parameter]) -> AbstractContextManager[Any]:
    """Return the context for parameters that are whole."""
    return nullcontext()


def find_adjustment(lm: Any, whole: Gather = not_shared) -> Adjustment | None:
    """Return what a model does to its head's output; None if the parts do not make up the whole, or the head is no
    plain linear layer. The model is left in evaluation mode. ``whole`` gathers what is shared out over the ranks."""
    trunk, head = parts(lm)
    if type(head) is not nn.Linear:
        return None
    weight, bias = head.weight, head.bias
    # Of two lengths, so that there is padding.
    inputs: dict[str, Any] = {"use_cache": False, **pad([([1, 2, 3], [4, 5]), ([5], [6])], weight.device).inputs}
    hidden = torch.randn(2, 5, head.in_features, generator=torch.Generator().manual_seed(0)).to(weight)
    taken: list[Tensor] = []

    def replace(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        taken.append(given[0])
        return (hidden,)

    lm.eval()
    hook = head.register_forward_pre_hook(replace)
    try:
        with torch.no_grad():
            with whole([weight, *([] if bias is None else [bias])]):
                hidden = hidden * (SPREAD / linear(hidden, weight).float().std())
                found = linear(hidden, weight, bias)
            logits = lm(**inputs).logits
            state = getattr(trunk(**inputs), "last_hidden_state", None)
    except TypeError:  # a trunk that takes other arguments than the whole
        return None
    finally:
        hook.remove()
    tolerance = 1e-5 if weight.dtype == torch.float32 else 1e-2
    near = partial(torch.allclose, rtol=tolerance, atol=tolerance)
    seen = inputs["attention_mask"].bool()
    if len(taken) != 1 or state is None or taken[0].shape != state.shape or not near(taken[0][seen], state[seen]):
        return None
    return next((one for one in _candidates(lm.config) if near(one(found).float(), logits.float())), None)


def _candidates(config: Any) -> Iterator[Adjustment]:
    """Yield what a model of this configuration may do to its logits, the plainest first."""
    values = config.get_text_config().to_dict().items()
    numbers = {float(value) for name, value in values if _NAMES.search(name) and isinstance(value, int | float)}
    numbers -= {0.0}
    for cap in (None, *sorted(numbers)):
        yield Adjustment(cap=cap)
        for number in sorted(numbers):
            yield Adjustment(scale=number, cap=cap)
            yield Adjustment(divisor=number, cap=cap)


def predicting_logits(lm: Any, batch: Sequences, *, states: bool) -> tuple[Tensor, Tensor | None]:
    """Return the logits that predict a batch's targets ``[tokens, words]``, and with ``states`` the hidden states that
    they are of ``[tokens, size]``. Columns in which no sequence has one are not projected."""
    columns = batch.ids.shape[1]
    kept, places = (batch.before % columns).unique(return_inverse=True)
    output = lm(**batch.inputs, logits_to_keep=kept, output_hidden_states=states, use_cache=False)
    logits = output.logits[batch.before // columns, places]
    return logits, batch.predicting(output.hidden_states[-1]) if states else None


def score(
    lm: Any, batch: Sequences, temperature: float, entropy: str, chunks: Chunks | None, *, states: bool = False
) -> Scores:
    """Return what a language model says of a batch's targets; ``entropy`` as for ``token_logprobs``. Without ``chunks``
    all tokens are projected onto the vocabulary at once. ``states``: the hidden states are wanted too."""
    if chunks is None:
        logits, hidden = predicting_logits(lm, batch, states=states)
        return Scores(*token_logprobs(logits.float() / temperature, batch.targets, entropy), hidden)
    trunk, head = parts(lm)
    hidden = batch.predicting(trunk(**batch.inputs, use_cache=False).last_hidden_state)
    size, adjust, words = chunks.tokens, chunks.adjust, chunks.words

    def forward(hidden: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias, targets = head.weight, head.bias, batch.targets
        if words is not None:
            weight, bias = weight[words], None if bias is None else bias[words]
            targets = torch.searchsorted(words, targets)
        return projected_logprobs(hidden, weight, bias, targets, temperature, entropy, chunk=size, adjust=adjust)

    # Called as the head, for DeepSpeed's hooks: they gather its weight here, and once more for the backward pass.
    with _answering(head, forward):
        logprobs, entropies = head(hidden)
        return Scores(logprobs, entropies, hidden)


@contextmanager
def _answering(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Have a module compute something else when it is called."""
    own = vars(module).get("forward")
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
        if own is not None:
            vars(module)["forward"] = own
