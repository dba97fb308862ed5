"""The model cards of the tiny models."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from launch.tiny_models.curriculum import BATCH, from_nothing


def model_card(kind: str, folder: Path, seed: int, steps: int | None, skill: str | None, data: str = "chained") -> None:
    """Write README.md beside the weights of a task's model; ``skill`` is what the model was measured to do."""
    of_task = f"embedded task of {data} quantities"
    chosen = "" if data == "chained" else f" --data {data}"
    parameters = sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    config = json.loads((folder / "config.json").read_text())
    conversations = (
        f"up to {BATCH} conversations with random sub-questions before the problem: gold, missing, misordered, "
        "repeated, needless or none"
    )
    first = folder.name.replace("_second", "")
    begun = "from nothing" if from_nothing(kind, data) else f"on from tiny_{kind}, with the words of its task,"
    what, made = {
        "solver": (
            f"The frozen solver of the {of_task}. It answers one step if the operands are in view, and says that "
            "it cannot tell otherwise.",
            f"Trained {begun} on generated problems of the train split, {steps} steps of {conversations}.",
        ),
        "second_solver": (
            f"A second frozen solver of the {of_task}, smaller and less reliable than the first.",
            f"It is {first} without the neurons that it uses least; nothing was trained again.",
        ),
        "independent_solver": (
            f"A frozen solver of the {of_task} that shares nothing with the others: other weights from the first step "
            "on, other problems, another size and tokenizer, and other words for its computations and refusals.",
            f"Trained {begun} on generated problems of the train split, first of chained, then of {data} quantities, "
            f"{steps} steps of {conversations}.",
        ),
        "decomposer": (
            f"The decomposer's base of the {of_task}: it has read problems with what can be worked out in turn"
            f"{', and with what leads to a person that is named' if data == 'branched' else ''}; it has never seen a "
            "decomposition.",
            f"Trained {begun} on generated problems of the train split, {steps} steps of up to {2 * BATCH} texts.",
        ),
        "verifier": (
            "The verifier of the embedded task: it writes the reply that would have been right, then the class of the "
            "mistake, out of LM2's, or that there is none.",
            f"Trained on from tiny_solver on generated problems of the train split, {steps} steps of {BATCH} replies, "
            "of which two in five are right and the others have a planted error.",
        ),
        "monolith": (
            f"A model of the {of_task} that writes sub-questions, their answers and the final answer in one text "
            "(strategy `monolith`).",
            f"Trained on from {folder.name.replace('monolith', 'solver')}, each of whose layers was doubled, on "
            f"generated problems of the train split, {steps} steps of {BATCH} problems with all that can be worked out"
            f"{', or with what leads to a person that is named' if data == 'branched' else ''}; it has never seen a "
            "decomposition.",
        ),
    }[kind]
    text = (
        f"# {folder.name}\n\n{what} Llama architecture, {config['num_hidden_layers']} layers, hidden size "
        f"{config['hidden_size']}, {config['intermediate_size']} neurons a layer, {parameters / 1e6:.2f} million "
        "parameters, bfloat16, byte-level tokenizer with one token a digit. "
        f"Made by `python -m launch.tiny_models {kind}{chosen} --seed {seed}`. Licence: Apache-2.0.\n\n{made}\n"
    )
    (folder / "README.md").write_text(text if skill is None else f"{text}\n## Measured\n\n{skill}\n", encoding="utf-8")
