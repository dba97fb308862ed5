"""Loading weights into a vLLM model on the CPU with next to no pause.

There vLLM computes with copies of the weights that oneDNN has packed, and lets go of what it packed. Its ordinary
reload therefore packs everything anew while nothing is generated, which takes some twenty times as long as copying the
weights. Here the weights stay beside what is packed of them, through methods that vLLM is given by its own registry,
so that a load has two halves: the new weights are copied and packed while generation goes on with the old packed ones;
between two tokens the few weights that are read as they are get copied, and the packed ones change places.

Import it only after ``rollout.engine.vllm_arguments.prepare_process``: it imports vLLM.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
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

METHOD = "unpacked_weights"
# Rows of an identity matrix that packed weights are read back through at a time.
PROBE_ROWS = 64

Linear = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]


class UnpackedLinear(UnquantizedLinearMethod):
    """vLLM's own linear method, except that the weight stays beside what is packed of it."""

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """Pack a copy of the weight."""
        dispatch_cpu_unquantized_gemm(layer, remove_weight=False)


class UnpackedEmbedding(UnquantizedEmbeddingMethod):
    """vLLM's own embedding method, which keeps the weight; it is packed for an output head only."""

    def process_weights_after_loading(self, layer: nn.Module) -> None:
        """Pack a copy of the weight if the layer is a head. Some models use the embedding itself as one."""
        if isinstance(layer, ParallelLMHead):
            super().process_weights_after_loading(layer)
        else:
            layer.cpu_linear = nn.functional.linear


@register_quantization_config(METHOD)
class UnpackedWeights(QuantizationConfig):
    """No quantisation: vLLM's name for what may choose the methods of a model's layers."""

    def get_name(self) -> str:
        """Return the name it is registered under."""
        return METHOD

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        """Return what vLLM computes in on a CPU."""
        return [torch.float32, torch.bfloat16, torch.float16]

    @classmethod
    def get_min_capability(cls) -> int:
        """Return the least capability of a GPU: none is needed."""
        return -1

    @staticmethod
    def get_config_filenames() -> list[str]:
        """Return the files of a checkpoint to read: none."""
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> UnpackedWeights:
        """Make it; there is nothing to configure."""
        return cls()

    def get_quant_method(self, layer: nn.Module, prefix: str) -> Any:
        """Return the method of a layer, or None where it has none."""
        if isinstance(layer, LinearBase):
            return UnpackedLinear()
        return UnpackedEmbedding() if isinstance(layer, VocabParallelEmbedding) else None


def applies(hf_config: Any) -> bool:
    """Return whether a model of this Hugging Face configuration can be loaded so: it is neither quantised nor a mixture
    of experts, whose layers have methods of their own, and nor does this machine have one."""
    text = hf_config.get_text_config()
    special = ("quantization_config", "compression_config", "num_experts", "num_local_experts", "n_routed_experts")
    plain = not any(getattr(part, name, None) for part in (hf_config, text) for name in special)
    return plain and not hasattr(torch.ops.zentorch, "zentorch_linear_unary")


class _Copies(TorchDispatchMode):
    """Notes where copies go. Those into memory that is ``read`` are put off, and those of tensors without data are not
    made at all."""

    def __init__(self, read: Collection[int] = ()) -> None:
        super().__init__()
        self.places: list[Tensor] = []
        self.put_off: list[tuple[Tensor, Tensor]] = []
        self._read = read

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is not torch.ops.aten.copy_.default:
            return function(*args, **(kwargs or {}))
        place, source = args[:2]
        self.places.append(place)
        if _address(place) in self._read:
            self.put_off.append((place, source))
        elif not source.is_meta:
            place.copy_(source)
        return place


class Loader:
    """Loads named Hugging Face tensors into a model, and proves what is loaded.

    ``stage`` is for a model that was made with ``quantization=METHOD``; ``prove`` is for any whose parameters are what
    was loaded into them.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        methods = UnpackedLinear | UnpackedEmbedding
        layers = [layer for layer in model.modules() if isinstance(getattr(layer, "quant_method", None), methods)]
        self._packed = [layer for layer in layers if _is_packed(layer)]
        # What a forward pass reads as it is: all but what is packed, which a tied head's weight is for the head alone.
        self._read = {_address(tensor) for tensor in [*model.parameters(), *model.buffers()]}
        self._read -= {_address(layer.weight) for layer in self._packed}
        self._read |= {_address(layer.weight) for layer in layers if layer not in self._packed}

    @torch.no_grad()
    def stage(self, named: Iterable[tuple[str, Tensor]], *, verify: bool = False) -> Callable[[], None]:
        """Copy and pack all that no forward pass reads in the meantime, beside generation. Returns what is left to do,
        to be called between two tokens. With ``verify``, both raise WeightMismatch if something was copied or packed
        as other than it was given, this one before any of it is used."""
        given = list(named) if verify else []
        with _Copies(self._read) as staged:
            self._model.load_weights(given or named)
        for name, tensor in given:
            self.prove(name, tensor, read=False)
        touched = {_address(place) for place in staged.places}
        linears: dict[nn.Module, Linear] = {}
        for layer in self._packed:
            weight = layer.weight
            if _address(weight) not in touched:
                continue
            for place, source in staged.put_off:
                if _address(place) == _address(layer.weight):
                    weight = _padded(weight, source)
            linears[layer] = packed(weight)
            if verify:
                _prove_packed(linears[layer], weight)

        def commit() -> None:
            with torch.no_grad():
                for place, source in staged.put_off:
                    place.copy_(source)
            for layer, linear in linears.items():
                layer.cpu_linear = linear
            for name, tensor in given:
                self.prove(name, tensor, read=True)

        return commit

    def prove(self, name: str, tensor: Tensor, *, read: bool | None = None) -> None:
        """Raise WeightMismatch unless the tensor's bytes are in every place that loading puts it, or in those only that
        a forward pass reads, or in the others."""
        for place in self._places(name, tensor):
            if read is None or read == (_address(place) in self._read):
                _compare(name, place, digest(tensor.to(place.dtype)))

    def prove_entry(self, entry: Entry) -> None:
        """Raise WeightMismatch unless a tensor of which there is only the digest is in its places."""
        like = torch.empty(entry.shape, dtype=getattr(torch, entry.dtype), device="meta")
        for place in self._places(entry.name, like):
            _compare(entry.name, place, entry.digest)

    @torch.no_grad()
    def _places(self, name: str, tensor: Tensor) -> list[Tensor]:
        """Return where vLLM's loading copies such a tensor to: parts of merged weights, rows of padded ones; nothing
        for one that is tied to another."""
        with _Copies() as found:
            self._model.load_weights([(name, tensor.to("meta"))])
        places: list[Tensor] = found.places
        return places


def packed(weight: Tensor) -> Linear:
    """Return vLLM's choice of a matrix product for the weight ``[out, in]``, over a packed copy of it."""
    layer: Any = SimpleNamespace(weight=weight)
    dispatch_cpu_unquantized_gemm(layer, remove_weight=False)
    linear: Linear = layer.cpu_linear
    return linear


def _is_packed(layer: Any) -> bool:
    """Return whether a layer goes without its weight: oneDNN packs some types on some machines only."""
    try:
        layer.cpu_linear(layer.weight[:1], None, None)
    except TypeError:
        return False
    return True


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage().data_ptr()
    return address


def _padded(weight: Tensor, tensor: Tensor) -> Tensor:
    """Return what the weight will be once the tensor is loaded into its first rows."""
    if tensor.shape == weight.shape and tensor.dtype == weight.dtype:
        return tensor
    copy = weight.detach().clone()
    copy[: len(tensor)] = tensor
    return copy


def _compare(name: str, place: Tensor, expected: str) -> None:
    if digest(place) != expected:
        raise WeightMismatch(f"{name} was loaded as other than it was sent")


def _prove_packed(linear: Linear, weight: Tensor) -> None:
    """Raise WeightMismatch unless a product has the weight ``[out, in]``: an identity matrix brings it out."""
    eye = torch.eye(weight.shape[1], dtype=weight.dtype)
    for start in range(0, len(eye), PROBE_ROWS):
        rows = slice(start, start + PROBE_ROWS)
        if not torch.equal(linear(eye[rows], None, None), weight[:, rows].T):
            raise WeightMismatch(f"a weight of shape {tuple(weight.shape)} was packed as other than it was loaded")
