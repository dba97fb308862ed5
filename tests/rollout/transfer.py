"""A backend of vLLM's weight transfer that moves nothing and keeps what it is asked. It imports vLLM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo

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
