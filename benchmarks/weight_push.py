"""What a weight push costs: ``python -m benchmarks.weight_push [--model FOLDER] [--lora]``.

The time for which the rollouts stand still, as a ratio to copying the same bytes in memory once, in the same run and on
as many threads; and where the rest of a push goes, from the gathering of the weights to the worker's acknowledgement.
The learner's part is in this process, the worker is the real one, with episodes in flight all the while. Without
``--model`` it is the shipped tiny decomposer, and then a random one of 270 million parameters, of the shape of
Gemma 3 270M, which is made for the purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.episodes import kept_in_flight, running
from benchmarks.processes import Machine
from conf.schema.config import Config
from conf.schema.model import model_path, shipped
from launch.compose import compose
from rollout.engine.weight_update import Update
from trainer.learner.actor_critic import ActorCritic
from trainer.learner.learner import DTYPES, Learner

IN_FLIGHT = 32
TINY = "package:tiny_decomposer"
# What a push goes through, in its order: name, whether the rollouts stand still, and what it is.
STAGES = {
    "gather": "learner: into buckets and the object store",
    "fetch": "worker: out of the object store",
    "stage": "worker: copied, merged and packed beside generation",
    "wait": "worker: for the token boundary",
    "load": "rollouts paused: the rest copied, all of it taken up",
    "reset": "rollouts paused: what the old weights left in the caches",
    "push": "all, from gather to acknowledgement",
}


def random_model(folder: Path) -> None:
    """Save a random model of 268 million parameters, in Gemma 3 270M's shape, with the shipped tokenizer."""
    from transformers import AutoTokenizer, Gemma3ForCausalLM, Gemma3TextConfig

    tokenizer = AutoTokenizer.from_pretrained(shipped("tiny_decomposer"))
    config = Gemma3TextConfig(
        vocab_size=262_144,
        hidden_size=640,
        intermediate_size=2048,
        num_hidden_layers=18,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=256,
        sliding_window=512,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
    )
    torch.manual_seed(0)
    Gemma3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def gatherer(config: Config, path: str) -> Learner:
    """Return a learner that can only gather: the model as it would be trained, without an optimiser."""
    learner = Learner(config, 0)
    learner.model = ActorCritic(path, DTYPES[config.learner.dtype], config.model.lora, critic="none")
    return learner


class CopyOnce:
    """A copy of a model's tensors, to be made again and again in memory that is there already."""

    def __init__(self, model: ActorCritic) -> None:
        self._pairs = [(value, torch.empty_like(value)) for value in (source.make() for source in model.exported())]
        self.nbytes = sum(value.nbytes for value, _ in self._pairs)
        self.seconds()

    def seconds(self) -> float:
        """Return how long it takes."""
        started = time.perf_counter()
        for value, copy in self._pairs:
            copy.copy_(value)
        return time.perf_counter() - started


async def measure(path: str, config: Config, repeats: int, console: Console) -> None:
    """Push again and again, and print the medians."""
    learner = gatherer(config, path)
    copy = CopyOnce(learner.model)
    rows: list[dict[str, float]] = []
    async with (
        running(config, console) as (pipeline, roles),
        kept_in_flight(config, pipeline, roles, IN_FLIGHT),
    ):
        machine = Machine()
        for repeat in range(repeats + 1):
            # The first push is not counted: it pays for memory, and with an adapter for its base.
            while not (stats := await roles.workers[0].stats.remote())["in_flight"]:
                await asyncio.sleep(0.05)
            copied = copy.seconds()
            learner.version = repeat + 1
            started = time.perf_counter()
            update: Update = await asyncio.to_thread(learner.gather)
            gathered = time.perf_counter()
            push = await pipeline.publish(update)
            (load,) = push.loads
            rows.append(
                {
                    "gather": gathered - started,
                    "fetch": load.fetched_s,
                    "stage": load.staged_s,
                    "wait": load.waited_s,
                    "load": load.pause_s - load.reset_s,
                    "reset": load.reset_s,
                    "push": time.perf_counter() - started,
                    "copy": copied,
                    "ratio": load.pause_s / copied,
                    "in flight": stats["in_flight"],
                    "mib": push.mib,
                }
            )
        quiet = machine.line()
    report(path, copy.nbytes, rows, console)
    console.print(quiet, highlight=False)


def report(path: str, nbytes: int, rows: list[dict[str, float]], console: Console) -> None:
    """Print the table of one model."""
    first, counted = rows[0], rows[1:]
    middle = {name: statistics.median(row[name] for row in counted) for name in counted[0]}
    table = Table("", "ms", "× one copy", "", title=f"{path}: {nbytes / 2**20:,.1f} MiB of weights")
    for name, meaning in STAGES.items():
        table.add_row(name, f"{middle[name] * 1e3:.2f}", f"{middle[name] / middle['copy']:.2f}", meaning)
    table.add_section()
    table.add_row("copy", f"{middle['copy'] * 1e3:.2f}", "1", "the same bytes in memory, once")
    console.print(table)
    ratios = sorted(row["ratio"] for row in counted)
    console.print(
        f"rollouts paused: {middle['ratio']:.2f} times one copy (median of {len(counted)} pushes, {ratios[0]:.2f} to "
        f"{ratios[-1]:.2f}), {middle['in flight']:.0f} requests in flight\n"
        f"received by the worker: {middle['mib']:,.2f} MiB a push, {first['mib']:,.2f} MiB in the first",
        highlight=False,
        soft_wrap=True,
    )


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a model folder or package:NAME, instead of the tiny and the random one")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--lora", action="store_true", help="train an adapter of rank 16, and push only that")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        paths = [options.model] if options.model else [TINY, folder]
        if not options.model:
            random_model(Path(folder))
        for path in paths:
            config = compose(
                [
                    f"model.path={path}",
                    *(["+model.lora={rank: 16, alpha: 32}"] if options.lora else []),
                    # Long requests, so that some are always in flight.
                    "strategy.max_tokens=128",
                    "rollout.max_num_batched_tokens=512",
                    f"rollout.concurrency={IN_FLIGHT}",
                    "cluster.object_store_gib=4",
                    *options.overrides,
                ]
            )
            torch.set_num_threads(config.rollout.threads)
            asyncio.run(measure(model_path(path), config, options.repeats, console))


if __name__ == "__main__":
    main()
