"""Backends of vLLM's weight transfer: one that moves nothing and keeps what it is asked, and one that loads what it is
told of as vLLM's own do. It imports vLLM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

CALLS: list[Any] = []


@dataclass
class Init(WeightTransferInitInfo):
    address: str


@dataclass
class Update(WeightTransferUpdateInfo):
    names: list[str] = field(default_factory=list)


class Recorder(WeightTransferEngine[Init, Update]):
    init_info_cls = Init
    update_info_cls = Update

    def init_transfer_engine(self, init_info: Init) -> None:
        CALLS.append(("init", init_info.address))

    def start_weight_update(self) -> None:
        CALLS.append("start")

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: Update) -> None:
        CALLS.append(("update", update_info.names))

    def finish_weight_update(self) -> None:
        CALLS.append("finish")

    def shutdown(self) -> None:
        CALLS.append("shutdown")


# Versions of named weights, for ``Layerwise``.
WEIGHTS: dict[int, dict[str, torch.Tensor]] = {}
BROKEN = "broken"


@dataclass
class Named(WeightTransferUpdateInfo):
    version: int
    names: list[str]


class Layerwise(WeightTransferEngine[Init, Named]):
    """Loads in this process's memory as vLLM loads over NCCL and IPC: layer by layer, each when all of it is there."""

    init_info_cls = Init
    update_info_cls = Named

    def init_transfer_engine(self, init_info: Init) -> None:
        pass

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: Named) -> None:
        weights = WEIGHTS[update_info.version]
        self.model.load_weights([(name, weights[name].clone()) for name in update_info.names if name != BROKEN])
        if BROKEN in update_info.names:
            raise RuntimeError("the learner is gone")

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        pass
