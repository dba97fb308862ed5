"""Turn off dropout and similar noise: PPO compares log-probabilities of two passes, which must not differ by chance."""

from __future__ import annotations

import re
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

# Probabilities of leaving something out, and the strength of a router's noise, as transformers' models name them.
_NAMES = re.compile(r"drop|jitter")


def turn_off(model: nn.Module) -> None:
    """Set every dropout probability and noise strength to 0: in dropout modules, in the numbers that other modules pass
    to functions, and in the configurations that some modules read while they run. The model can then stay in training
    mode, which recomputing activations needs."""
    for module in model.modules():
        if isinstance(module, _DropoutNd):
            module.p = 0.0
        _zero(module)
        _zero_config(getattr(module, "config", None))


def _zero_config(config: Any) -> None:
    """Do the same for a configuration and the configurations inside it."""
    if not hasattr(config, "to_dict"):
        return
    _zero(config)
    for inner in vars(config).values():
        _zero_config(inner)


def _zero(owner: Any) -> None:
    for name, value in vars(owner).items():
        if isinstance(value, float) and _NAMES.search(name):
            setattr(owner, name, 0.0)
