"""The plan of a run: its roles, and the GPU memory that they take by the arithmetic of ``gpu_memory``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

from conf.schema.config import Config
from conf.schema.engine import InferenceEngine
from conf.schema.model import model_path
from conf.schema.role_sizes import kind_of, needed, role_sizes
from conf.schema.rollout import Rollout
from conf.schema.rules import engines, weight_transport
from conf.schema.solver import VllmSolver
from trainer.cluster import gpu_memory as sizes
from trainer.cluster.placement import bundles

# Of the project's own models, which say nothing about others.
SHIPPED = "package:"


@dataclass(frozen=True)
class GpuRole:
    """A role with GPUs, and what one of its actors holds on each. ``minimum`` (GiB) is what it cannot do without,
    ``pushed`` (bytes) what the learner sends at every version, ``base`` what it sends once before, ``misfit`` a line
    that says why its model cannot be split over its GPUs."""

    role: str
    parts: list[sizes.Part]
    minimum: float
    limit: str = ""
    pushed: float = 0.0
    base: float = 0.0
    misfit: str = ""

    @property
    def gib(self) -> float:
        """The sum of the parts in GiB."""
        return sizes.gib(self.parts)


def gpu_roles(config: Config, model: str | None = None, solver: str | None = None) -> list[GpuRole]:
    """Return the roles that have GPUs, with their memory.

    ``model`` and ``solver`` name sizes or models instead of those of the configuration. Raises ValueError, OSError for
    a model that cannot be found.
    """
    if solver is not None and config.mixture:
        raise ValueError("one size describes one solver, not a mixture; give each its solver.mixture.NAME.path")
    with_gpus = {role.name for role in role_sizes(config) if role.gpus}
    made = []
    if {"learner", "rollout"} & with_gpus:
        shape = sizes.shape_of(model or model_path(config.start_from or config.model.path))
        if "learner" in with_gpus:
            made.append(_learner(config, shape))
        if "rollout" in with_gpus:
            made.append(_engine(config, "rollout", config.rollout, shape, config.policy_dtype))
    for name, own in config.frozen.items():
        if name in with_gpus and isinstance(own, VllmSolver):
            path = (solver if name == "solver" else None) or model_path(own.path)
            bits = sizes.weight_bits(own.quantization, path)
            made.append(_engine(config, name, own, sizes.shape_of(path), own.dtype, bits))
    return made


def planned_models(config: Config, model: str | None = None, solver: str | None = None) -> dict[str, str]:
    """Return what plays each role that has a model: the size that was given, or its path, name or backend."""
    models = {"decomposer": model or config.start_from or config.model.path}
    for role, own, size in (("solver", config.solver, solver), ("verifier", config.verifier, None)):
        if own is not None:
            models[role] = size or getattr(own, "path", None) or getattr(own, "model", None) or own.backend
    return models


def tiny_models(models: dict[str, str]) -> tuple[list[str], str]:
    """Return which of decomposer and solver the project ships as tiny models, and that in words."""
    tiny = [role for role, name in models.items() if name.startswith(SHIPPED) and role in ("decomposer", "solver")]
    are = "is a tiny model" if len(tiny) == 1 else "are tiny models"
    return tiny, f"the {' and the '.join(tiny)} {are} that the project ships"


def tiny_on_gpus(config: Config) -> str | None:
    """Return a warning if a run takes GPUs for models that the project ships; None if not."""
    gpus = {"decomposer": 0.0, "solver": 0.0}
    for role in role_sizes(config):
        played = {"learner": "decomposer", "rollout": "decomposer", "solver": "solver"}.get(kind_of(role.name))
        if played is not None:
            gpus[played] += role.count * role.gpus
    tiny, said = tiny_models({role: name for role, name in planned_models(config).items() if gpus.get(role)})
    if not tiny:
        return None
    keys = " and ".join({"decomposer": "model.path", "solver": "solver.path"}[role] for role in tiny)
    return f"{said}, and would run on {sum(gpus[role] for role in tiny):g} GPUs: name yours with {keys}"


def _learner(config: Config, shape: sizes.Shape) -> GpuRole:
    lora = config.model.lora
    # As the learner keeps one: only PPO has a reference, and none where nothing is charged for leaving it.
    reference = "ppo" in config.stages and config.algorithm.kl_coef > 0
    rank = lora.rank if lora is not None else None
    parts = sizes.learner_memory(shape, config.learner, rank, layers=config.model.layers, reference=reference)
    whole = sizes.WIDTH[config.learner.dtype] * shape.parameters
    if rank is None or not config.rollout.weights.adapter_only:
        return GpuRole("learner", parts, sizes.gib(parts), pushed=whole)
    adapter = sizes.WIDTH[config.learner.dtype] * shape.adapters(rank)
    return GpuRole("learner", parts, sizes.gib(parts), pushed=adapter, base=whole)


def _engine(
    config: Config, role: str, group: Rollout | VllmSolver, shape: sizes.Shape, dtype: str, bits: float | None = None
) -> GpuRole:
    gpu = gpu_gib(config)
    share, parallel = group.gpu_memory_utilization, group.tensor_parallel_size
    share_gib = share * gpu if gpu is not None else None
    parts = sizes.engine_memory(shape, group, dtype, share_gib, parallel, bits)
    one = group.max_model_len * sizes.token_bytes(shape, group, dtype, parallel)
    minimum = (parts[0].size + one + sizes.ENGINE_OVERHEAD) / sizes.GIB
    limit = f", {share:g} of {gpu:g} (gpu_memory_utilization)" if gpu is not None else ""
    return GpuRole(role, parts, minimum, limit, misfit=_misfit(role, group, shape))


def _misfit(role: str, group: InferenceEngine, shape: sizes.Shape) -> str:
    """Say in one line why a model cannot be split as configured; nothing if it can."""
    parallel, stages = group.tensor_parallel_size, group.stages
    if shape.heads % parallel:
        allowed = ", ".join(str(count) for count in range(1, 17) if shape.heads % count == 0)
        return f"{role}.tensor_parallel_size: {parallel} does not divide the {shape.heads} heads; allowed: {allowed}"
    if stages > shape.layers:
        return f"{role}.pipeline_parallel_size: {stages} is more than the {shape.layers} layers; allowed: up to those"
    return ""


def gpu_gib(config: Config) -> float | None:
    """Return the memory of a GPU in GiB: as described, or that of the smallest here, where the run would be here; None
    if neither is known."""
    if config.cluster.gpu_gib is not None or config.cluster.address is not None:
        return config.cluster.gpu_gib
    import torch

    if not torch.cuda.is_available():
        return None
    found = [torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count())]
    return round(float(min(found)) / sizes.GIB, 1)


def without_gpu(config: Config) -> str | None:
    """Say in one line which engines have no GPU to compute on, where the vLLM that is installed here needs one; None if
    none, or where the run would be elsewhere."""
    try:
        built_for_gpus = "cpu" not in version("vllm")
    except PackageNotFoundError:  # the one for the CPU has another name
        built_for_gpus = False
    if built_for_gpus and config.cluster.address is None:
        for name, group in engines(config).items():
            if kind_of(name) in needed(config) and not group.gpus:
                # A layout of GPUs gives some to rollout and one solver, not to the verifier or those of a mixture.
                layout = "" if config.rollout.gpus else "cluster=gpu1 and others, "
                more = "" if name == "rollout" else f"{name}.gpus=SHARE, a {kind_of(name)} without an engine, "
                return (
                    f"{name}.gpus: 0 is not allowed with the vLLM that is installed, which computes on GPUs alone; "
                    f"allowed: {layout}{more}or the environment of requirements/cpu.lock"
                )
    return None


def over_full(config: Config, memory: list[GpuRole]) -> str | None:
    """Say in one line which role's model its GPUs cannot hold; return None where all fit. What needs the size of the
    GPUs is left out where nobody knows it."""
    for one in memory:
        if one.misfit:
            return one.misfit
    gpu = gpu_gib(config) if memory else None
    if gpu is None:
        return None
    found = {one.role: one for one in memory}
    whose = "cluster.gpu_gib" if config.cluster.gpu_gib is not None else "this machine's"
    for name, group in engines(config).items():
        if name not in found:
            continue
        share = group.gpu_memory_utilization * gpu
        if found[name].minimum > share:
            return (
                f"GPU memory: {name} needs {found[name].minimum:.1f} GiB for weights and one sequence, and has "
                f"{share:.1f} ({name}.gpu_memory_utilization of {whose} {gpu:g})"
            )
    if "learner" in found:
        together = ["learner", *(name for name in found if kind_of(name) in config.cluster.beside)]
        need = sum(found[name].gib for name in together)
        if need > gpu:
            parts = ", ".join(f"{name} {found[name].gib:.1f}" for name in together)
            verb = "needs" if len(together) == 1 else "need"
            return f"GPU memory: {' and '.join(together)} {verb} {need:.1f} GiB on a GPU ({parts}), which has {gpu:g}"
    return None


def show(config: Config, memory: list[GpuRole], console: Console) -> None:
    """Print the plan: a row a role, and under it what each role's share of a GPU is made of."""
    table = Table(title="The plan", title_justify="left")
    for column in ("role", "count", "CPUs each", "GPUs each", "GiB a GPU"):
        table.add_column(column, justify="left" if column == "role" else "right")
    found = {one.role: f"{one.gib:.1f}" for one in memory}
    for role in role_sizes(config):
        table.add_row(role.name, str(role.count), f"{role.cpus:g}", f"{role.gpus:g}", found.get(role.name, ""))
    wanted = bundles(config)
    table.add_section()
    table.add_row("reserved", "", *(f"{sum(getattr(one, kind) for one in wanted):g}" for kind in ("cpus", "gpus")), "")
    console.print(table)
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    for one in memory:
        say(f"{one.role}: {one.gib:.1f} GiB a GPU{one.limit}")
        for part in one.parts:
            say(f"  {part.name:<12}{part.size / sizes.GIB:8.2f} GiB  {part.formula}")
        if one.role == "learner":
            say(f"  {_pushes(one, weight_transport(config)[0])}")


def _pushes(learner: GpuRole, transport: str) -> str:
    """Say in one line what new weights take on their way."""
    version, base = (f"{size / sizes.GIB:.2f} GiB" for size in (learner.pushed, learner.base))
    if transport != "object_store":
        return f"a version that is pushed is {version}, from GPU to GPU ({transport}), not by the object store"
    of, twice = "of the object store of every node with a learner or rollout worker", "two may be there at once"
    if not learner.base:
        return f"a version that is pushed takes {version} {of}, and {twice}"
    return f"the base takes {base} {of} once, and a version that is pushed, the adapter alone, {version}; {twice}"
