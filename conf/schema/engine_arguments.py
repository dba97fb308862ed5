"""The arguments of vLLM that a configuration passes through by name, checked against vLLM's own list.

The list is read from vLLM's source, since importing vLLM takes seconds and needs torch. Where vLLM is not installed
nothing is known of it, and the engine itself refuses what is wrong.
"""

from __future__ import annotations

import ast
from collections.abc import Collection
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# What the program sets and no key of the group does.
SET_BY_THE_PROGRAM = frozenset(
    ("model", "seed", "dtype", "async_scheduling", "block_size", "distributed_executor_backend",
     "enable_chunked_prefill", "enable_prefix_caching", "enforce_eager", "kv_cache_memory_bytes", "logprobs_mode",
     "skip_tokenizer_init", "weight_transfer_config")
)  # fmt: skip
# What would take GPUs, or nodes, that are not reserved for the engine.
PLACED_BY_THE_PROGRAM = frozenset(
    ("device_ids", "master_addr", "master_port", "nnodes", "node_rank", "prefill_context_parallel_size")
)


def check_arguments(given: dict[str, Any], keys: Collection[str], refused: Collection[str] = ()) -> dict[str, Any]:
    """Return engine arguments if all are vLLM's and free; ``keys`` are those of the group that they stand in, and
    ``refused`` what this group does not allow. Raises ValueError that names the first that is not free."""
    for name in given:
        if name in keys:
            raise ValueError(f"'{name}' has a key of its own; allowed: {name} beside engine_arguments")
        if name in SET_BY_THE_PROGRAM or name in refused:
            raise ValueError(f"'{name}' is set by the program; allowed: engine arguments that it does not set")
        if name in PLACED_BY_THE_PROGRAM or name.startswith("data_parallel_"):
            raise ValueError(
                f"'{name}' would take GPUs that are not reserved for the engine; allowed: workers for more engines, "
                "tensor_parallel_size for larger ones"
            )
        check_name("engine argument", name, fields("engine/arg_utils.py", "EngineArgs"))
    return given


def check_quantization(name: str) -> str:
    """Return the name of a method of quantisation if vLLM has it. Raises ValueError."""
    check_name("quantization", name, literals("model_executor/layers/quantization/__init__.py", "QuantizationMethods"))
    return name


def check_name(kind: str, name: str, known: tuple[str, ...]) -> None:
    """Raise ValueError, with the names that are near, unless vLLM knows this one or is not at hand."""
    if known and name not in known:
        near = get_close_matches(name, known) or known
        raise ValueError(f"vLLM has no {kind} '{name}'; allowed, among {len(known)}: {', '.join(near[:8])}")


@cache
def fields(file: str, of: str) -> tuple[str, ...]:
    """Return the names of a dataclass's fields, in a file of vLLM; nothing where there is no vLLM."""
    for node in _statements(file):
        if isinstance(node, ast.ClassDef) and node.name == of:
            targets = [line.target for line in node.body if isinstance(line, ast.AnnAssign)]
            return tuple(one.id for one in targets if isinstance(one, ast.Name) and not one.id.startswith("_"))
    return ()


@cache
def literals(file: str, of: str) -> tuple[str, ...]:
    """Return the texts of a ``Literal`` that a file of vLLM gives a name; nothing where there is no vLLM."""
    for node in _statements(file):
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == of for one in node.targets):
            return tuple(str(one.value) for one in ast.walk(node.value) if isinstance(one, ast.Constant))
    return ()


def _statements(file: str) -> list[ast.stmt]:
    spec = find_spec("vllm")
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(folders[0]) / file if folders else None
    return ast.parse(path.read_text(encoding="utf-8")).body if path is not None and path.is_file() else []
