"""Loading weights into a vLLM model on the CPU with next to no pause.

There vLLM computes with copies of the weights that oneDNN has packed, and lets go of what it packed. Its ordinary
reload therefore packs everything anew while nothing is generated, which takes ten times as long as copying the
weights. Here the weights stay beside what is packed, in a linear method that vLLM is given through its own registry,
so that a load has two halves: the new weights are copied and packed while generation goes on with the old packed ones
(``stage``); between two tokens the few weights that are read as they are get copied, and the packed ones change
places (``commit``).

Import it only after ``rollout.engine_settings.prepare_process``: it imports vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from vllm import _custom_ops
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.layers.vocab_parallel_embedding import (
    ParallelLMHead,
    UnquantizedEmbeddingMethod,
    VocabParallelEmbedding,
)

from rollout.engine.weight_update import Entry, WeightMismatch, digest

METHOD = "kept"
# Rows of an identity matrix that packed weights are read back through at a time.
PROBE_ROWS = 64

Linear = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]


def packed(weight: Tensor, bias: Tensor | None) -> Linear:
    """vLLM's choice of a matrix product for the weight ``[out, in]``, over a packed copy of it."""
    layer: Any = SimpleNamespace(weight=weight, bias=bias)
    dispatch_cpu_unquantized_gemm(layer, remove_weight=False)
    linear: Linear = layer.cpu_linear
    return linear


class KeptLinear(UnquantizedLinearMethod):
    """vLLM's own linear method, but for the weight's being kept."""

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """Pack a copy of the weight."""
        layer.packed = packed(layer.weight, layer.bias)

    def apply(self, layer: nn.Module, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """``x`` ``[..., in]`` times the packed weight: ``[..., out]``."""
        result: Tensor = layer.packed(x, layer.weight, bias)
        return result


class KeptHead(UnquantizedEmbeddingMethod):
    """The same for the output head. An embedding is only read, so nothing is packed for it."""

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """Pack a copy of the weight, if the layer is a head."""
        if isinstance(layer, ParallelLMHead):
            layer.packed = packed(layer.weight, layer.bias)

    def apply(self, layer: nn.Module, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Logits ``[..., vocabulary]`` of ``x`` ``[..., hidden]``. Some models have the embedding itself do it."""
        linear: Linear = getattr(layer, "packed", torch.nn.functional.linear)
        return linear(x, layer.weight, bias)


@register_quantization_config(METHOD)
class Kept(QuantizationConfig):
    """No quantisation: vLLM's name for what may choose the methods of a model's layers."""

    def get_name(self) -> str:
        """The name it is registered under."""
        return METHOD

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        """What vLLM computes in on a CPU."""
        return [torch.float32, torch.bfloat16, torch.float16]

    @classmethod
    def get_min_capability(cls) -> int:
        """Of a GPU: none is needed."""
        return -1

    @staticmethod
    def get_config_filenames() -> list[str]:
        """Of a checkpoint: there is nothing to read."""
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Kept:
        """There is nothing to configure."""
        return cls()

    def get_quant_method(self, layer: nn.Module, prefix: str) -> Any:
        """The method of a layer, or None where it has none."""
        if isinstance(layer, LinearBase):
            return KeptLinear()
        return KeptHead() if isinstance(layer, VocabParallelEmbedding) else None


def applies(hf_config: Any) -> bool:
    """Whether a model of this Hugging Face configuration can be loaded so: oneDNN packs on this machine, and the
    model is neither quantised nor a mixture of experts, whose layers have methods of their own."""
    text = hf_config.get_text_config()
    special = ("quantization_config", "compression_config", "num_experts", "num_local_experts", "n_routed_experts")
    plain = not any(getattr(part, name, None) for part in (hf_config, text) for name in special)
    return plain and _custom_ops._supports_onednn and not hasattr(torch.ops.zentorch, "zentorch_linear_unary")


class _Destinations(TorchDispatchMode):
    """Notes where copies would go, and lets none happen."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.copy_.default:
            self.found.append(args[0])
            return args[0]
        return function(*args, **(kwargs or {}))


@dataclass
class Staged:
    """What ``commit`` has left to do: the layers' new products, and the weights that a forward pass reads as they
    are."""

    linears: dict[nn.Module, Linear] = field(default_factory=dict)
    read: list[tuple[str, Tensor]] = field(default_factory=list)
    verify: bool = False


class Loader:
    """Loads named Hugging Face tensors into a model, and proves what is loaded.

    ``stage`` and ``commit`` are for a model that was made with ``quantization=METHOD``; ``prove`` is for any whose
    parameters are what was loaded into them.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        # Where vLLM's own loading puts a tensor of each name: a part of a merged weight, rows of a padded one.
        self._places: dict[str, list[Tensor]] = {}
        self._layers = {layer.weight.data_ptr(): layer for layer in model.modules() if hasattr(layer, "packed")}
        embeddings = [layer for layer in model.modules() if isinstance(layer, VocabParallelEmbedding)]
        looked_up = {layer.weight.data_ptr() for layer in embeddings if not isinstance(layer, ParallelLMHead)}
        self._tied = looked_up & set(self._layers)

    @torch.no_grad()
    def stage(self, named: Iterable[tuple[str, Tensor]], *, verify: bool = False) -> Staged:
        """Copy and pack all that no forward pass reads in the meantime; safe beside one. With ``verify``, raises
        WeightMismatch before any of it is used if something was copied or packed as other than it was given."""
        staged = Staged(verify=verify)
        touched: dict[nn.Module, Tensor] = {}
        copied: list[tuple[str, Tensor]] = []

        def unread() -> Iterator[tuple[str, Tensor]]:
            """What can be copied at once; the rest is put aside."""
            for name, tensor in named:
                storages = {place.untyped_storage().data_ptr() for place in self._find(name, tensor)}
                layer = self._layers.get(min(storages)) if len(storages) == 1 else None
                if layer is None or storages & self._tied:
                    staged.read.append((name, tensor))
                    if layer is not None:
                        touched[layer] = _padded(layer.weight, tensor)
                    continue
                touched[layer] = layer.weight
                if verify:
                    copied.append((name, tensor))
                yield name, tensor

        self._model.load_weights(unread())
        for name, tensor in copied:
            self.prove(name, tensor)
        for layer, weight in touched.items():
            staged.linears[layer] = packed(weight, layer.bias)
            if verify:
                _prove_packed(staged.linears[layer], weight)
        return staged

    @torch.no_grad()
    def commit(self, staged: Staged) -> None:
        """Take up what was staged; between two forward passes."""
        self._model.load_weights(staged.read)
        for layer, linear in staged.linears.items():
            layer.packed = linear
        for name, tensor in staged.read if staged.verify else ():
            self.prove(name, tensor)

    def prove(self, name: str, tensor: Tensor) -> None:
        """Raise WeightMismatch unless the tensor's bytes are in every place that loading puts it."""
        for place in self._find(name, tensor):
            self._compare(name, place, digest(tensor.to(place.dtype)))

    def prove_entry(self, entry: Entry) -> None:
        """The same of a tensor of which there is only the digest."""
        like = torch.empty(entry.shape, dtype=getattr(torch, entry.dtype), device="meta")
        for place in self._find(entry.name, like):
            self._compare(entry.name, place, entry.digest)

    def _compare(self, name: str, place: Tensor, expected: str) -> None:
        if digest(place) != expected:
            raise WeightMismatch(f"{name} was loaded as other than it was sent")

    def _find(self, name: str, tensor: Tensor) -> list[Tensor]:
        """The places that vLLM's loading copies such a tensor to; none for one that is tied to another."""
        if name not in self._places:
            with _Destinations() as destinations:
                self._model.load_weights([(name, tensor)])
            self._places[name] = destinations.found
        return self._places[name]


def _padded(weight: Tensor, tensor: Tensor) -> Tensor:
    """What the weight will be once the tensor is loaded into its first rows."""
    if tensor.shape == weight.shape and tensor.dtype == weight.dtype:
        return tensor
    copy = weight.detach().clone()
    copy[: len(tensor)] = tensor
    return copy


def _prove_packed(linear: Linear, weight: Tensor) -> None:
    """Raise WeightMismatch unless a product has the weight ``[out, in]``: an identity matrix brings it out."""
    eye = torch.eye(weight.shape[1], dtype=weight.dtype)
    for start in range(0, len(eye), PROBE_ROWS):
        rows = slice(start, start + PROBE_ROWS)
        if not torch.equal(linear(eye[rows], None, None), weight[:, rows].T):
            raise WeightMismatch(f"a weight of shape {tuple(weight.shape)} was packed as other than it was loaded")
