"""DeepSpeed's engine around the actor and critic, with its optimiser and schedule."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from conf.schema.config import Config
from conf.schema.deepspeed import merged
from conf.schema.learning import Learner
from trainer.learner.actor_critic import ActorCritic


def lr_factor(step: int, warmup: int, total: int, schedule: str, begin: int = 0) -> float:
    """Return the share of the learning rate at optimiser step ``step`` (from 0) of ``total``: nothing before ``begin``,
    linear warm-up from there, then constant or falling linearly to 0 at the end."""
    factor = min(1.0, max(0, step - begin + 1) / (warmup + 1))
    return factor if schedule == "constant" else factor * max(0.0, 1.0 - step / max(1, total))


def lr_factors(config: Config, groups: int) -> list[Callable[[int], float]]:
    """Return the schedule of stage 2 for each of the optimiser's ``groups`` of parameters, the actor's first. While its
    critic warms up the actor's rate is 0: without a gradient, weight decay would still change it. Its own warm-up comes
    after that, when its first gradients do."""
    settings, algorithm = config.learner, config.algorithm
    steps = algorithm.epochs * algorithm.minibatches

    def factor(step: int, begin: int = 0) -> float:
        return lr_factor(step, settings.warmup_steps, algorithm.steps * steps, settings.lr_schedule, begin)

    def of_actor(step: int) -> float:
        return factor(step, settings.critic_warmup_steps * steps)

    return [of_actor, *[factor] * (groups - 1)]


def deepspeed_config(config: Config) -> dict[str, Any]:
    """Return DeepSpeed's configuration: the learner's own settings and those of ``learner.deepspeed``."""
    settings = config.learner
    zero: dict[str, Any] = {"stage": settings.zero_stage}
    if settings.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": settings.gpus_per_rank > 0}
    own = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": settings.grad_clip,
        "zero_optimization": zero,
        "bf16": {"enabled": settings.dtype == "bfloat16"},
        "zero_allow_untested_optimizer": True,
        # DeepSpeed would insist on its own AdamW where the optimiser is offloaded.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }
    return merged(own, settings.deepspeed)


@contextmanager
def loading_shares(config: Config) -> Iterator[bool]:
    """Have transformers share the weights of a model out over the ranks while it loads them, under ZeRO-3; say whether
    that is so. No rank then has a whole model, neither in the host's memory nor on its GPU: each layer is gathered for
    itself, and the first rank reads it from the file. All ranks have to load together."""
    if config.learner.zero_stage < 3:
        yield False
        return
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    _held = HfDeepSpeedConfig(deepspeed_config(config))  # transformers looks at it for as long as somebody holds it
    try:
        yield True
    finally:
        unset_hf_deepspeed_config()


def make_optimizer(groups: list[dict[str, Any]], settings: Learner) -> torch.optim.Optimizer:
    """Return AdamW over groups of parameters, fused on a GPU and where it is offloaded."""
    options: dict[str, Any] = {"betas": settings.betas, "weight_decay": settings.weight_decay}
    if settings.gpus_per_rank > 0 or settings.offload_optimizer:
        # In one kernel, without temporaries of the parameters' size. Offloaded, it is no slower than DeepSpeed's own
        # (30 ms against 35 for 30 million parameters on a core) and needs no compiler.
        options["fused"] = True
    return torch.optim.AdamW(groups, **options)


def make_engine(model: ActorCritic, config: Config, stage: str) -> Any:
    """Return the engine that trains a model in ``sft`` or ``ppo``; DeepSpeed takes the model apart for it."""
    import deepspeed

    settings = config.learner
    if model.shares:  # what is the model's own was made beside its shares
        for value in model.parameters():
            if not hasattr(value, "ds_id"):
                value.data = value.data.to(deepspeed.get_accelerator().current_device_name())
    actor, critic = model.trained()
    groups: list[dict[str, Any]] = [{"params": actor, "lr": config.sft.lr if stage == "sft" else settings.lr}]
    if critic:
        groups.append({"params": critic, "lr": settings.critic_lr})
    optimizer = make_optimizer(groups, settings)
    schedule = None
    if stage == "ppo":
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factors(config, len(groups)))
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=optimizer, lr_scheduler=schedule, config=deepspeed_config(config)
    )
    return engine


def place_reference(reference: nn.Module, config: Config, device: torch.device) -> nn.Module:
    """Return a frozen module ready to be called on ``device``. Under ZeRO-3 its weights are shared out over the ranks
    like the policy's, all of which have to call it together, and offloaded where the policy's are."""
    if config.learner.zero_stage < 3:
        return reference.to(device)
    import deepspeed

    settings = deepspeed_config(config)
    settings["zero_optimization"].pop("offload_optimizer", None)
    engine, *_ = deepspeed.initialize(model=reference, config=settings)
    engine.eval()  # returns nothing
    sharded: nn.Module = engine
    return sharded


def release(held: list[Any]) -> None:
    """Free the memory of engines and of what else is in the list, which is emptied: nobody else may hold them.
    DeepSpeed's hooks on gradients would keep an engine for good, in a circle that Python cannot see."""
    for one in held:
        if hasattr(one, "destroy"):
            one.destroy()
    held.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
