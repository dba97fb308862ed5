"""What a vLLM engine is started with, and what that is in vLLM's own arguments on the machine at hand."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from conf.schema.config import Config
from conf.schema.engine import InferenceEngine
from conf.schema.rules import DIRECT, weight_transport

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineSettings:
    """The settings of one engine: a model, the keys of the group that it belongs to, and what is no key.

    ``quantization`` is a solver's. ``recompute``: requests in flight at a load have their keys and values computed anew
    with the loaded weights, instead of going on from those of the weights before. ``transfer``: the backend of vLLM's
    weight transfer. ``frozen``: only the text is wanted and nothing is ever loaded, so that tokens come without
    log-probabilities, which cost time, and no memory is spent on quick loads.
    """

    path: str
    sizes: InferenceEngine
    dtype: str = "float32"
    seed: int = 0
    prefix_caching: bool = False
    quantization: str | None = None
    frozen: bool = False
    recompute: bool = False
    transfer: str | None = None


def policy_engine(config: Config) -> EngineSettings:
    """Return what the policy's engines are started with."""
    rollout, (transport, _) = config.rollout, weight_transport(config)
    return EngineSettings(
        config.decomposer_path,
        rollout,
        config.policy_dtype,
        config.seed,
        recompute=rollout.weights.in_flight == "recompute",
        transfer=transport if transport in DIRECT else None,
    )


def prepare_process(threads: int) -> None:
    """Set what vLLM and torch read from the environment; must run before either is imported in this process."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    os.environ["VLLM_NO_USAGE_STATS"] = "1"
    # On GPUs vLLM samples with FlashInfer unless told otherwise, and ends where that is not installed or cannot compile
    # its kernels. It is for top-k and top-p, which no request here has.
    os.environ["VLLM_USE_FLASHINFER_SAMPLER"] = "0"
    os.environ["OMP_NUM_THREADS"] = str(threads)
    # oneDNN keeps a kernel for every number of tokens that a step had: by default 1,024 of them, 300 MiB, which made no
    # step faster.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


@contextmanager
def starting_alone(gpus: float) -> Iterator[None]:
    """Hold the block back while another engine starts on the same GPU, if an engine has but a part of one. vLLM sees
    how much is free before and after it has loaded, and would count what the other takes meanwhile as its own."""
    if not 0 < gpus < 1:
        yield
        return
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    with FileLock(Path(tempfile.gettempdir()) / f"engine-start-{os.getuid()}-{device}.lock"):
        yield


@contextmanager
def without_collection() -> Iterator[None]:
    """Hold Python's garbage collection back. The start of an engine then takes a tenth less: what is imported is looked
    through again and again, and vLLM collects five times."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def engine_arguments(settings: EngineSettings) -> dict[str, Any]:
    """Return vLLM's own arguments for these settings on this machine; to be called in a prepared process."""
    import torch

    sizes = settings.sizes
    device: dict[str, Any] = (
        {"gpu_memory_utilization": sizes.gpu_memory_utilization}
        if torch.cuda.is_available()
        else {
            "kv_cache_memory_bytes": int(sizes.kv_cache_gib * 2**30),
            # Prompts are scheduled whole: vLLM 0.32 cannot take back a seeded draw for part of a prompt on the CPU.
            "enable_chunked_prefill": False,
            # Only whole blocks are found again, and an episode's prompts share fewer tokens than the CPU's default of
            # 128; vLLM asks for multiples of 32 here.
            "block_size": 32,
        }
    )
    if settings.transfer is not None:
        from vllm.config import WeightTransferConfig

        device["weight_transfer_config"] = WeightTransferConfig(backend=settings.transfer)
    return {
        "model": settings.path,
        "dtype": settings.dtype,
        "max_model_len": sizes.max_model_len,
        "max_num_seqs": sizes.max_num_seqs,
        "max_num_batched_tokens": max(sizes.max_num_batched_tokens, sizes.max_model_len),
        "enable_prefix_caching": settings.prefix_caching,
        "tensor_parallel_size": sizes.tensor_parallel_size,
        "pipeline_parallel_size": sizes.stages,
        "distributed_executor_backend": executor(sizes),
        "quantization": settings.quantization or _kept(settings),
        "enforce_eager": not torch.cuda.is_available(),
        "logprobs_mode": "processed_logprobs",
        "seed": settings.seed,
        # Else vLLM has a batch on the GPU between two steps, and a load would give its tokens a version too new.
        "async_scheduling": None if settings.frozen else False,
        **device,
        **sizes.engine_arguments,
    }


def within_model(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return vLLM's arguments with a ``max_model_len`` of at most what the model reads: vLLM refuses a longer one.

    A layout's length is for large models, and the layout then does for small ones too. Raises what vLLM raises.
    """
    from vllm.engine.arg_utils import EngineArgs

    asked = arguments["max_model_len"]
    try:
        own = EngineArgs(**arguments).create_model_config().max_model_len
    except ValueError:  # if it is not the length, it comes again
        own = EngineArgs(**arguments | {"max_model_len": None}).create_model_config().max_model_len
    if own < asked:
        _LOG.warning("%s reads %d tokens: max_model_len is not %d", arguments["model"], own, asked)
    return arguments | {"max_model_len": min(asked, own)}


def executor(sizes: InferenceEngine) -> str:
    """Return vLLM's name for how an engine runs on its GPUs.

    One GPU is driven from this process. Several are driven by processes below it, which see the GPUs that Ray gave to
    this actor, all on its node. Left alone, vLLM would find the actor in the run's placement group and start Ray actors
    there, on GPUs that are reserved for other roles.
    """
    return "mp" if sizes.parallel > 1 else "uni"


def keeps_weights(arguments: dict[str, Any]) -> bool:
    """Return whether an engine with these arguments keeps its weights beside what is packed of them."""
    if arguments["quantization"] is None:
        return False
    from rollout.engine.cpu_reload import METHOD

    return bool(arguments["quantization"] == METHOD)


def _kept(settings: EngineSettings) -> str | None:
    """Return the name of the method with which a model keeps its weights beside what is packed of them, or None."""
    import torch

    if settings.frozen or torch.cuda.is_available() or settings.sizes.parallel > 1:
        return None
    from transformers import AutoConfig

    from rollout.engine.cpu_reload import METHOD, applies

    return METHOD if applies(AutoConfig.from_pretrained(settings.path)) else None
