"""The settings of DeepSpeed that the learner makes itself, which ``learner.deepspeed`` may not make again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MICROBATCHES = "learner.max_tokens_per_microbatch"
OPTIMIZER = "learner.lr, betas and weight_decay"
ITSELF = "the learner itself"
# By their dotted names, what sets them. What is below such a name is set with it.
OURS = {
    "train_batch_size": MICROBATCHES,
    "train_micro_batch_size_per_gpu": MICROBATCHES,
    "gradient_accumulation_steps": MICROBATCHES,
    "gradient_clipping": "learner.grad_clip",
    "optimizer": OPTIMIZER,
    "scheduler": "learner.lr_schedule",
    "zero_optimization.stage": "learner.zero_stage",
    "zero_optimization.offload_optimizer.device": "learner.offload_optimizer",
    "zero_optimization.offload_optimizer.pin_memory": "learner.offload_optimizer",
    "bf16.enabled": "learner.dtype",
    "fp16": "learner.dtype",
    "amp": "learner.dtype",
    "zero_allow_untested_optimizer": ITSELF,
    "zero_force_ds_cpu_optimizer": ITSELF,
    "steps_per_print": ITSELF,
}


def flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings that are no mappings with something in them, by their dotted names."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse a setting that is made elsewhere, or that leaves no place for one below it. Raises ValueError."""
    for name, value in flat(settings):
        for ours, by in OURS.items():
            if f"{name}.".startswith(f"{ours}."):
                raise ValueError(f"'{name}' is set by {by}; allowed: what no other key of learner sets")
            if ours.startswith(f"{name}.") and not isinstance(value, Mapping):
                raise ValueError(f"'{name}' must be a map of settings, found {value!r}")


def merged(settings: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, also where they have a map of the same name; neither has what the other has."""
    both = dict(settings)
    for name, value in more.items():
        own = both.get(name)
        both[name] = merged(own, value) if isinstance(own, Mapping) and isinstance(value, Mapping) else value
    return both
