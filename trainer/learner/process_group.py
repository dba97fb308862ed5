"""The process group of the learner's ranks: connect them, and compute sums over all of them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist
from torch import Tensor

from trainer.learner.compiled_extensions import compile_extension
from trainer.run_folder.shared_folder import check_shared


class NonFiniteLoss(RuntimeError):
    """A loss or gradient was NaN or infinite. The optimiser step was not taken, so the weights have not changed.

    ``step`` is the learner step, ``problems`` are the ids of the minibatch; in stage 1 it is that stage's step, and
    there are none. ``found`` names what was not finite on the rank that raises this.
    """

    def __init__(self, message: str, step: int = 0, problems: Sequence[str] = (), found: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.step, self.problems, self.found = step, list(problems), list(found)

    @classmethod
    def told(
        cls, what: str, where: str, step: int, problems: Sequence[str], rank: int, found: Sequence[str]
    ) -> NonFiniteLoss:
        """Return the error that a ``what`` is not finite, with a message of all that is known."""
        of = [f"problems {', '.join(problems)}"] if problems else []
        of.append(f"not finite on rank {rank}: {', '.join(found) or 'none of what goes into it'}")
        message = f"{what} of {where} is NaN or infinite: its optimiser step was not taken; {'; '.join(of)}"
        return cls(message, step, problems, found)

    def __reduce__(self) -> tuple[type[NonFiniteLoss], tuple[str, int, list[str], list[str]]]:
        return type(self), (str(self), self.step, self.problems, self.found)


class Rank:
    """One of the ``ranks`` processes. ``host``: where they meet; None: at this node's address in the cluster."""

    def __init__(self, rank: int, ranks: int, *, cuda: bool, host: str | None = None) -> None:
        self.rank, self.ranks, self.cuda, self.host = rank, ranks, cuda, host
        if not cuda:
            os.environ["DS_ACCELERATOR"] = "cpu"

    def check_folder(self, mark: str) -> None:
        """Find the file that the driver left in the run's folder, and write one there; raises FolderNotShared."""
        node = ray.util.get_node_ip_address() if ray.is_initialized() else socket.gethostname()
        check_shared(Path(mark), f"learner-{self.rank}", node)

    def address(self) -> tuple[str, int]:
        """Return the host and port at which the ranks meet; this rank listens there from now on, and nowhere else."""
        # With a socket of its own, because the store would listen at every address of the machine.
        host, port, listening = self._listen()
        # Kept and shared with the process group: a port that was only found to be free may be another's by then.
        self._meeting = dist.TCPStore(
            host, port, is_master=True, wait_for_workers=False, multi_tenant=True, master_listen_fd=listening.detach()
        )
        return host, port

    def free_address(self) -> tuple[str, int]:
        """Return a host and port at which nothing listens, for what listens there by itself: vLLM's first rank."""
        host, port, listening = self._listen()
        listening.close()
        return host, port

    def _listen(self) -> tuple[str, int, socket.socket]:
        host = self.host or ray.util.get_node_ip_address()
        listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        return host, listening.getsockname()[1], listening

    def connect(self, host: str, port: int) -> int:
        """Join the process group of all ranks; return the process id."""
        os.environ |= {
            "MASTER_ADDR": host,
            "MASTER_PORT": str(port),
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.ranks),
            "LOCAL_RANK": "0",
            # DeepSpeed builds an extension with the ninja of this environment, activated or not.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        }
        import deepspeed

        compile_extension("ShareMemCommBuilder")
        deepspeed.init_distributed(dist_backend="nccl" if self.cuda else "gloo", verbose=False)
        return os.getpid()

    def _sum_tensor(self, values: Tensor, operation: Any = dist.ReduceOp.SUM) -> Tensor:
        if self.ranks > 1:
            dist.all_reduce(values, op=operation)
        return values

    def _sum(self, value: float, operation: Any = dist.ReduceOp.SUM) -> float:
        tensor = torch.tensor([value], dtype=torch.float64, device="cuda" if self.cuda else "cpu")
        return float(self._sum_tensor(tensor, operation)[0])

    def _max(self, value: float) -> float:
        return self._sum(value, dist.ReduceOp.MAX)
