"""The actor and critic: a causal language model, and a value head on its trunk, or on one of its own, or none."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from conf.schema.base import ConfigError
from conf.schema.model import Lora
from rollout.engine.weight_update import LORA_A, LORA_B
from trainer.algorithm.experience import Sequences, pack, pad
from trainer.learner.dropout import turn_off
from trainer.learner.output_head import Chunks, Gather, find_adjustment, not_shared, score

# By the type of the weights, how far apart two log-probabilities may be for the order in which they were summed up.
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 0.05}
# The number of a parameter's layer in its name.
_LAYER = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class ExportedTensor:
    """A tensor that an engine can be given: its name, and what it is made of, which has to be gathered first. It has
    the shape of the first of its ``parts``."""

    name: str
    parts: tuple[nn.Parameter, ...]
    make: Callable[[], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole tensor's, also where ZeRO-3 keeps a part of it on every rank."""
        return tuple(getattr(self.parts[0], "ds_shape", self.parts[0].shape))

    @property
    def nbytes(self) -> int:
        """The whole tensor's."""
        return math.prod(self.shape) * int(self.parts[0].dtype.itemsize)


class Outputs(NamedTuple):
    """Of each completion token ``[batch, completion]``: its log-probability, the value of the state before it
    (zeros without a critic), and the entropy of the distribution it was drawn from (zeros where not asked for).

    A tuple, since DeepSpeed hangs its ZeRO-3 hooks on the tensors of outputs, and looks for them in nothing else.
    """

    logprobs: Tensor
    values: Tensor
    entropies: Tensor


class ActorCritic(nn.Module):
    """A Hugging Face causal LM and its critic.

    ``shared``: a linear value head over the language model's last hidden state (the paper's trunk); ``separate``: the
    same over a second trunk loaded from the same folder, adapted as the first is; ``none``. ``attention`` is
    transformers' implementation of it, None its own choice. ``dropout`` keeps the model's own, which is off otherwise.
    ``shares``: transformers loads weights as shares of the ranks (``loading_shares``). ``layers``: only the last so
    many are trained, None: the whole model. ``compiled``: torch compiles the layers.
    ``chunks`` cuts the projection onto the vocabulary (``project_in_chunks``); None: all tokens at once.
    """

    def __init__(
        self,
        path: str,
        dtype: torch.dtype,
        lora: Lora | None,
        *,
        critic: str = "shared",
        gradient_checkpointing: bool = False,
        attention: str | None = None,
        dropout: bool = False,
        shares: bool = False,
        layers: int | None = None,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        load = partial(_load, path, dtype, lora, gradient_checkpointing, attention, shares, layers=layers)
        self.shares, self._load_reference = shares, partial(_load, path, dtype, None, False, attention, shares)
        self.lm, hidden = load()
        self.written_config = copy.deepcopy(self.lm.config)
        self.lora = lora is not None
        self.critic = critic
        if critic == "separate":
            self.critic_trunk, _ = load(trunk=True)
        if critic != "none":
            self.value_head = nn.Linear(hidden, 1, dtype=dtype)
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)
        if not dropout:
            turn_off(self)
        if compiled:
            _compile_layers(self)
        self.chunks: Chunks | None = None

    def project_in_chunks(self, tokens: int, whole: Gather = not_shared, words: Tensor | None = None) -> bool:
        """Have at most ``tokens`` tokens projected onto the vocabulary at once; return whether this model allows it.
        ``whole`` gathers parameters that are shared out over the ranks. The softmax goes over ``words`` alone, ids in
        rising order among which every target must be; None: over all."""
        adjust = find_adjustment(self.lm, whole)
        self.chunks = None if adjust is None else Chunks(tokens, adjust, words)
        return adjust is not None

    @property
    def words(self) -> int:
        """The size of the vocabulary."""
        return int(self.written_config.get_text_config().vocab_size)

    def forward(self, batch: Sequences, temperature: float = 1.0, *, entropy: str = "value") -> Outputs:
        """Return log-probabilities, values and entropies of a batch's completions. ``entropy``: ``none``, its
        ``value``, or with its ``gradient``."""
        shared = self.critic == "shared"
        logprobs, entropies, hidden = score(self.lm, batch, temperature, entropy, self.chunks, states=shared)
        if self.critic == "none":
            values = torch.zeros_like(logprobs)
        else:
            if self.critic == "separate":
                hidden = batch.predicting(self.critic_trunk(**batch.inputs, use_cache=False).last_hidden_state)
            values = self.value_head(hidden).squeeze(-1).float()
        return Outputs(*map(batch.by_sequence, (logprobs, values, entropies)))

    def trained(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Return the trainable parameters of the actor, and of the critic's own."""
        actor = [p for p in self.lm.parameters() if p.requires_grad]
        return actor, [p for name, p in self.named_parameters() if p.requires_grad and not name.startswith("lm.")]

    def reference(self) -> Reference | None:
        """Return the language model as it was loaded, frozen; None under LoRA, where switching the adapter off gives
        it. It is loaded again: the ranks of a node then share the pages of its file, which copies of it would not, and
        shares of the ranks cannot be copied. All ranks have to load them together."""
        return None if self.lora else Reference(self._load_reference()[0], self.chunks)

    @torch.no_grad()
    def reference_logprobs(self, frozen: nn.Module | None, batch: Sequences, temperature: float) -> Tensor:
        """Return the log-probabilities of the completions under the reference ``[batch, completion]``."""
        if frozen is not None:
            judged: Tensor = frozen(batch, temperature)
            return judged
        with _adapters_off(self.lm):
            return batch.by_sequence(score(self.lm, batch, temperature, "none", self.chunks).logprobs)

    def exported(self, *, merge: bool = True) -> list[ExportedTensor]:
        """Return the language model's tensors by their Hugging Face names, tied ones once. Adapters are merged, or left
        out without ``merge``."""
        if not self.lora:
            return [_exported(name, value) for name, value in self.lm.named_parameters()]
        adapted = {f"{name}.base_layer.weight": module for name, module in self._adapted()} if merge else {}
        return [
            _exported(name.replace(".base_layer", ""), value, adapted.get(name))
            for name, value in self.lm.get_base_model().named_parameters()
            if "lora_" not in name
        ]

    def adapters(self) -> tuple[list[ExportedTensor], dict[str, float]]:
        """Return the adapter's tensors, named after the weights they change, and each weight's scale."""
        tensors, scales = [], {}
        for name, module in self._adapted():
            scales[f"{name}.weight"] = module.scaling["default"]
            for suffix, part in ((LORA_A, module.lora_A), (LORA_B, module.lora_B)):
                value = part["default"].weight
                tensors.append(ExportedTensor(f"{name}.weight{suffix}", (value,), value.detach))
        return tensors, scales

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the language model's tensors by their Hugging Face names, adapters merged, tied ones once."""
        return ((tensor.name, tensor.make()) for tensor in self.exported())

    def _adapted(self) -> list[tuple[str, Any]]:
        modules = self.lm.get_base_model().named_modules()
        return [(name, module) for name, module in modules if "default" in getattr(module, "lora_A", ())]

    def save(self, folder: str, tokenizer: Any, weights: Mapping[str, Tensor] | None = None) -> None:
        """Write an ordinary Hugging Face folder, adapters merged. ``weights``: those of ``weights()``, where they are
        whole elsewhere."""
        lm = self.lm.get_base_model() if self.lora else self.lm
        state = {name: value.contiguous() for name, value in (weights or dict(self.weights())).items()}
        plain = copy.deepcopy(self.written_config)
        plain.dtype = next(self.parameters()).dtype
        from safetensors.torch import save_file

        plain.save_pretrained(folder)
        if getattr(lm, "generation_config", None) is not None:
            lm.generation_config.save_pretrained(folder)
        save_file(state, f"{folder}/model.safetensors", metadata={"format": "pt"})
        tokenizer.save_pretrained(folder)


class Reference(nn.Module):
    """A frozen language model. It is called whole, since DeepSpeed's hooks on it see where a pass ends."""

    def __init__(self, lm: nn.Module, chunks: Chunks | None) -> None:
        super().__init__()
        self.lm, self.chunks = lm, chunks
        self.requires_grad_(False).eval()

    def forward(self, batch: Sequences, temperature: float) -> Tensor:
        """Return the log-probabilities of a batch's completions ``[batch, completion]``."""
        return batch.by_sequence(score(self.lm, batch, temperature, "none", self.chunks).logprobs)


@contextmanager
def _adapters_off(lm: Any) -> Iterator[None]:
    """Switch the adapters off for the block. PEFT then trains all that it switches on again, so those of layers which
    are not trained are frozen anew."""
    frozen = [value for value in lm.parameters() if not value.requires_grad]
    try:
        with lm.disable_adapter():
            yield
    finally:
        for value in frozen:
            value.requires_grad_(False)


def check_packing(model: ActorCritic, engine: Any) -> None:
    """Refuse a model that does not keep the sequences of a packed row apart: not every architecture goes by the
    positions. It is left in evaluation mode. Raises ConfigError."""
    model.eval()
    second, found = ([6, 7], [8, 9]), []
    for first in (([1, 2, 3], [4]), ([5, 4, 2], [3])):
        with torch.no_grad():
            found.append(engine(pack([first, second], engine.device), entropy="none").logprobs[1])
    # Experts get their tokens in batches, which another batch's tokens change in size: sums are then rounded otherwise.
    rounding = ROUNDING[next(model.parameters()).dtype] if _has_experts(model.written_config) else 0.0
    if not torch.allclose(*found, rtol=0.0, atol=rounding):
        raise ConfigError(
            "learner.packing: 'packed' is not allowed for this model, whose sequences see each other in a packed row; "
            "allowed: padded"
        )


def check_repeats(model: ActorCritic, engine: Any) -> None:
    """Refuse a model whose log-probabilities in training are other than in evaluation: it draws at random somewhere,
    and the first ratio of a step would not be 1. It is left in training mode. Raises ConfigError."""
    batch, found = pad([([1, 2, 3], [4, 5]), ([6], [7, 8, 9])], engine.device), []
    for training in (False, True):
        model.train(training)
        with torch.no_grad():
            found.append(engine(batch, entropy="none").logprobs)
    if not torch.allclose(*found, atol=1e-3, equal_nan=True):
        raise ConfigError(
            "model.path: this model draws at random while it is trained, in more than its dropout, so that its "
            "log-probabilities do not repeat; allowed: a model that does not"
        )


def _has_experts(config: Any) -> bool:
    """Return whether a router sends each token to some of several experts."""
    values = config.get_text_config().to_dict().items()
    return any("expert" in name and isinstance(value, int) and value > 1 for name, value in values)


def _exported(name: str, value: nn.Parameter, module: Any = None) -> ExportedTensor:
    """Return a weight under this name, merged with the adapter of its ``module`` if it is given."""
    if module is None:
        return ExportedTensor(name, (value,), value.detach)
    parts = (value, module.lora_A["default"].weight, module.lora_B["default"].weight)
    return ExportedTensor(name, parts, lambda: value.detach() + module.get_delta_weight("default").detach())


def _load(
    path: str,
    dtype: torch.dtype,
    lora: Lora | None,
    checkpointing: bool,
    attention: str | None,
    shares: bool,
    *,
    trunk: bool = False,
    layers: int | None = None,
) -> tuple[Any, int]:
    """Return a folder's causal LM, or only its trunk, made trainable as configured; and the size of its hidden
    state."""
    from transformers import AutoConfig, AutoModelForCausalLM

    before = torch.get_rng_state()
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=attention)
    if trunk:
        model = model.base_model
    if shares:
        # What transformers draws for shares it draws on the first rank alone, and adapters are to be everywhere alike.
        torch.set_rng_state(before)
    if lora is not None:
        from peft import LoraConfig, get_peft_model

        task = "FEATURE_EXTRACTION" if trunk else "CAUSAL_LM"
        adapters = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=lora.targets, task_type=task)
        model = get_peft_model(model, adapters)
        _refuse_embeddings(model)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        # Inputs that need a gradient are for the other kind of checkpoints. With them the backward pass would not end
        # at the first layer that is trained. PEFT too turns them on, for a model that has checkpoints before adapters.
        model.disable_input_require_grads()
    sizes = AutoConfig.from_pretrained(path).get_text_config()
    if layers is not None:
        _freeze(model, below=sizes.num_hidden_layers - layers)
    return model, sizes.hidden_size


def _refuse_embeddings(model: Any) -> None:
    """Raise ConfigError where an adapter is on an embedding, or on a head that is one too: neither what is pushed nor
    what is saved would have it."""
    words = model.get_base_model().get_input_embeddings()
    shared = getattr(words, "base_layer", words).weight
    for name, module in model.named_modules():
        tied = "default" in getattr(module, "lora_A", ()) and module.weight is shared
        if tied or getattr(module, "lora_embedding_A", None):
            raise ConfigError(
                f"model.lora.targets: {name.rpartition('.')[2]} is an embedding, or a head that shares its weights "
                "with one, and neither engines nor checkpoints would have its adapter; allowed: modules of the layers"
            )


def _freeze(model: nn.Module, below: int) -> None:
    """Leave only the layers from number ``below`` on to be trained; what is in no layer is not."""
    for name, value in model.named_parameters():
        found = _LAYER.search(name)
        if found is None or int(found[1]) < below:
            value.requires_grad_(False)


def _compile_layers(model: nn.Module) -> None:
    """Have torch compile each layer by itself. Most are alike, and one compilation serves these: they differ in their
    attention, in whether they are trained, and in the mode."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.compile(dynamic=True, recompile_limit=64)
