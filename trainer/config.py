"""The configuration's schema: every key, its type and what is allowed. Hydra composes, this validates.

Nothing heavy is imported here, so a bad value is refused in a second, before any actor starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_origin
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from trainer.config_base import ConfigError, Group
from trainer.config_cluster import Cluster
from trainer.config_data import Data
from trainer.config_learning import Algorithm, Learner, Sft
from trainer.config_matrix import Matrix
from trainer.config_solver import BACKENDS, NOT_SHOWN, Solver, VllmSolver
from trainer.config_strategy import UNTRAINED, Strategy

__all__ = ["Config", "ConfigError", "group_keys", "model_path", "shipped", "validate"]

GEMMA = "./models/gemma-3-270m"


class Lora(Group):
    """Low-rank adapters through PEFT instead of full fine-tuning."""

    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)
    targets: list[str] | Literal["all-linear"] = "all-linear"


class Model(Group):
    """The decomposer. ``path`` is a folder, a Hugging Face name, or ``package:NAME`` for a shipped model."""

    path: str
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora: Lora | None = None


class Rewards(Group):
    """The five parts: mode, weights and clips by part, penalties."""

    mode: Literal["paper", "authors_code", "bounded", "outcome"] = "bounded"
    weights: dict[str, float]
    clip: dict[str, tuple[float, float] | None]
    penalty: dict[str, float]
    correctness_baseline: Literal["none", "gain"] = "none"
    vectors: str = "wordllama"
    workers: int = Field(1, ge=1)
    episode_seconds: float = Field(10.0, gt=0)

    @field_validator("weights", "clip")
    @classmethod
    def _parts(cls, value: dict[str, Any]) -> dict[str, Any]:
        from rewards.modes import PARTS

        unknown = sorted(set(value) - set(PARTS))
        if unknown:
            raise ValueError(f"unknown part {unknown[0]!r}; allowed: {', '.join(PARTS)}")
        return value

    @field_validator("penalty")
    @classmethod
    def _penalties(cls, value: dict[str, float]) -> dict[str, float]:
        from rewards.modes import PENALTIES

        unknown = sorted(set(value) - set(PENALTIES))
        if unknown:
            raise ValueError(f"unknown penalty {unknown[0]!r}; allowed: {', '.join(PENALTIES)}")
        return value


class Weights(Group):
    """How new weights get to the rollout workers; docs/weights.md."""

    transport: Literal["object_store", "nccl"] = "object_store"
    bucket_mib: float = Field(64.0, gt=0)
    adapter_only: bool = True
    in_flight: Literal["keep", "recompute"] = "keep"
    verify: bool = False
    tries: int = Field(3, ge=1)


class Rollout(Group):
    """The rollout workers and their policy engines; or, with ``replay``, a file of recorded episodes. An engine holds
    ``kv_cache_gib`` for its cache on the CPU; on a GPU it takes the share ``gpu_memory_utilization`` of the memory,
    weights included. ``episode_timeout_s`` and ``episode_solver_tokens`` limit one episode; null is no limit of tokens.
    """

    workers: int = Field(1, ge=1)
    gpus: float = Field(0.0, ge=0)
    threads: int = Field(1, ge=1)
    concurrency: int = Field(128, ge=1)
    episode_timeout_s: float = Field(3600.0, gt=0)
    episode_solver_tokens: int | None = Field(None, ge=1)
    max_model_len: int = Field(512, ge=16)
    max_num_seqs: int = Field(128, ge=1)
    max_num_batched_tokens: int = Field(4096, ge=1)
    kv_cache_gib: float = Field(0.25, gt=0)
    gpu_memory_utilization: float = Field(0.8, gt=0, lt=1)
    tensor_parallel_size: int = Field(1, ge=1)
    record: bool = False
    replay: str | None = None
    weights: Weights


class Controller(Group):
    """Admission, waiting and retrying. ``max_staleness`` is in weight versions; 0 is synchronous."""

    max_staleness: int = Field(1, ge=0)
    start_timeout_s: float = Field(600.0, gt=0)
    wait_timeout_s: float = Field(600.0, gt=0)
    max_tries: int = Field(3, ge=1)
    learner_restarts: int = Field(3, ge=0)


class Evaluation(Group):
    """Stage 3, on held-out problems; and in stage 2, ``every`` learner steps (0: never), on the first ``subset`` of
    them."""

    problems: int = Field(ge=1)
    every: int = Field(0, ge=0)
    subset: int = Field(64, ge=1)
    gold: bool = True
    filler: bool = True


class Tracking(Group):
    """W&B, and how many episodes of a training batch are kept; ``table_every`` so many learner steps W&B gets those
    since the last time as a table (0: only all of them at the end)."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
    project: str = "decomposer"
    group: str | None = None
    name: str | None = None
    tags: list[str] = Field([])
    episodes_per_step: int = Field(4, ge=0)
    table_every: int = Field(20, ge=0)


class Config(Group):
    """The whole configuration of ``launch.train``."""

    seed: int = Field(0, ge=0)
    run_dir: str | None = None
    resume: Literal["auto"] | None = None
    mirror: str | None = None
    stages: list[Literal["sft", "ppo", "evaluate"]] = Field(["sft", "ppo", "evaluate"])
    start_from: str | None = None
    model: Model
    solver: Solver
    data: Data
    strategy: Strategy
    rewards: Rewards
    algorithm: Algorithm
    sft: Sft
    learner: Learner
    rollout: Rollout
    controller: Controller
    evaluation: Evaluation
    cluster: Cluster
    tracking: Tracking
    matrix: Matrix | None = None

    @field_validator("run_dir")
    @classmethod
    def _folder(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            raise ValueError("must be a folder; mirror=URL keeps a copy of it in a bucket")
        return value

    @field_validator("mirror")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and ("://" not in value or urlsplit(value).password is not None):
            raise ValueError("must be a URL, as s3://BUCKET/runs, without a password: keys belong in the environment")
        return value

    @model_validator(mode="after")
    def _together(self) -> Config:
        algorithm, learner = self.algorithm, self.learner
        if algorithm.minibatches * learner.ranks > algorithm.batch_size:
            raise ValueError(
                "algorithm.minibatches times learner.ranks must be at most algorithm.batch_size: "
                "every rank needs a sequence of every minibatch"
            )
        if (algorithm.advantage == "gae") != (learner.critic != "none"):
            allowed = "shared, separate" if algorithm.advantage == "gae" else "none"
            raise ValueError(
                f"learner.critic: '{learner.critic}' cannot go with algorithm.advantage {algorithm.advantage}; "
                f"allowed: {allowed}"
            )
        if learner.critic_warmup_steps and learner.critic != "separate":
            raise ValueError(
                f"learner.critic_warmup_steps must be 0 with learner.critic {learner.critic}: "
                "only a critic of its own can learn while the policy stands still"
            )
        if self.learner.dtype == "bfloat16" and self.learner.gpus_per_rank == 0:
            raise ValueError("learner.dtype: bfloat16 needs GPUs; allowed on the CPU: float32")
        self._transport()
        if not any(weight > 0 for weight in self.rewards.weights.values()):
            raise ValueError(f"rewards.weights must have a part above 0, found {dict(self.rewards.weights)}")
        for role in self.cluster.beside:
            count = getattr(getattr(self, role), "workers", 1)
            if count > learner.ranks:
                raise ValueError(
                    f"cluster.beside: '{role}' has {count} workers, of which each needs a learner rank to lie beside; "
                    f"allowed with it: {role}.workers up to learner.ranks ({learner.ranks})"
                )
        if self.strategy.name in UNTRAINED and "ppo" in self.stages:
            raise ValueError(
                f"stages: ppo has nothing to train with strategy.name '{self.strategy.name}', which asks no "
                "decomposer; allowed with it: sft, evaluate"
            )
        if self.data.source == "files":
            if not self.data.train and {"sft", "ppo"} & set(self.stages):
                raise ValueError("stages: data.train is empty, there is nothing to train on; allowed: [evaluate]")
            if not self.data.held_out and not self.data.held_out_share and "evaluate" in self.stages:
                raise ValueError("data.held_out: empty; it or data.held_out_share must be given for stage evaluate")
        if "sft" in self.stages:
            self._stage_1()
        if self.resume and self.run_dir is None:
            raise ValueError("run_dir must be given with resume: the folder of the run to go on with")
        if self.rollout.replay and self.stages != ["ppo"]:
            raise ValueError(
                f"stages: {self.stages} is not allowed with rollout.replay, which starts no engine; allowed: [ppo]"
            )
        if self.rollout.replay and self.algorithm.resample_flat_groups:
            raise ValueError(
                "algorithm.resample_flat_groups must be false with rollout.replay: what was recorded is trained on"
            )
        return self

    def _stage_1(self) -> None:
        """Refuse what stage 1 could not do."""
        if self.sft.batch_size < self.learner.ranks:
            raise ValueError(
                f"sft.batch_size must be at least learner.ranks ({self.learner.ranks}), found {self.sft.batch_size}: "
                "every rank needs an example"
            )
        asking = self.strategy.name in UNTRAINED
        for name, source in self.sft.sources.items():
            if asking and source.weight and (source.kind == "distilled" or source.screened):
                raise ValueError(
                    f"sft.sources.{name}: strategy.name '{self.strategy.name}' asks no decomposer, so there is nothing "
                    "to sample or to screen; allowed with it: kind data or file, unscreened"
                )

    def _transport(self) -> None:
        """Refuse a way for the weights that these machines or this model do not have."""
        weights, key = self.rollout.weights, "rollout.weights"
        if weights.verify and self.rollout.tensor_parallel_size > 1:
            raise ValueError(f"{key}.verify: true reads whole tensors back; allowed: rollout.tensor_parallel_size 1")
        if weights.transport != "nccl":
            return
        gpus = (self.rollout.gpus, self.learner.gpus_per_rank)
        if min(gpus) < 1:
            raise ValueError(
                f"{key}.transport: 'nccl' needs a GPU of its own on either side (rollout.gpus and "
                f"learner.gpus_per_rank at least 1, found {gpus[0]:g} and {gpus[1]:g}); allowed without: object_store"
            )
        if self.model.lora is not None and weights.adapter_only:
            raise ValueError(f"{key}.adapter_only: true is for object_store; allowed with transport nccl: false")
        if self.model.dtype != self.learner.dtype:
            raise ValueError(
                f"{key}.transport: 'nccl' sends weights as they are, and model.dtype is {self.model.dtype} where "
                f"learner.dtype is {self.learner.dtype}; allowed: the same, or object_store"
            )


def shipped(name: str) -> Path:
    """The folder of a model that ships with the package."""
    return Path(__file__).resolve().parent.parent / "rollout" / "assets" / name


def model_path(path: str) -> str:
    """What Hugging Face loads for a configured path: ``package:NAME`` becomes the shipped folder."""
    return str(shipped(path.removeprefix("package:"))) if path.startswith("package:") else path


def validate(values: dict[str, Any]) -> Config:
    """Check a composed configuration; raises ConfigError with one line that names the key."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(_line(first)) from None
    _check_model("model.path", config.model.path)
    if isinstance(config.solver, VllmSolver):
        _check_model("solver.path", config.solver.path)
    if config.data.source == "files":
        for name in ("train", "held_out"):
            for path in config.data.files(name):
                if not path.is_file():
                    raise ConfigError(
                        f"data.{name}: '{path}' does not exist; data.root must be the folder of data sets"
                    )
    if "sft" in config.stages:
        named = {f"sources.{name}.path": source.path for name, source in config.sft.sources.items() if source.weight}
        named |= {f"held_out.also.{name}": path for name, path in config.sft.held_out.also.items()}
        for key, given in named.items():
            if given is not None and not Path(given).expanduser().is_file():
                raise ConfigError(f"sft.{key}: '{given}' does not exist; allowed: a file of problems (docs/sft.md)")
    if config.rollout.replay is not None and not Path(config.rollout.replay).expanduser().is_file():
        raise ConfigError(
            f"rollout.replay: '{config.rollout.replay}' does not exist; allowed: a file that rollout.record wrote"
        )
    if config.start_from is not None:
        _check_model("start_from", config.start_from)
    return config


def group_keys(group: str, backend: str) -> list[str]:
    """The keys of a group (dotted, "" is the top; empty if there is none), with the solver of this backend."""
    fields: Any = Config
    named = False
    for part in group.split(".") if group else []:
        if named or part.isdigit():  # a name or a place among groups
            named = False
            continue
        annotation = getattr(fields.model_fields.get(part), "annotation", None)
        named, known = get_origin(annotation) is dict, _group(annotation)
        fields = BACKENDS.get(backend) if part == "solver" else known
        if not hasattr(fields, "model_fields"):
            return []
    return list(fields.model_fields)


def _line(error: Any) -> str:
    message = error["msg"].removeprefix("Value error, ")
    location = [str(part) for part in error["loc"]]
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = error["ctx"].get("tag")
        return f"solver.backend: {found!r} is not allowed: must be one of {', '.join(BACKENDS)}"
    backend = location.pop(1) if location[0:1] == ["solver"] and len(location) > 1 else ""
    key = ".".join(location) or "configuration"
    if error["type"] == "extra_forbidden":
        group, _, name = key.rpartition(".")
        return f"{key}: unknown key '{name}'; allowed: {', '.join(group_keys(group, backend))}"
    if error["type"] == "missing":
        return f"{key}: missing; it must be given"
    value = error["input"]
    shown = "" if isinstance(value, dict) or key in NOT_SHOWN else f" {value!r} is not allowed:"
    return f"{key}:{shown} {message[0].lower()}{message[1:]}"


def _group(annotation: Any) -> Any:
    """The group that a key holds, in a list or not, optional or not."""
    members = getattr(annotation, "__args__", ())
    return next((member for member in members if hasattr(member, "model_fields")), annotation)


def _check_model(key: str, path: str) -> None:
    """A local folder must hold a model; a bare ``owner/name`` is left to the hub."""
    folder = Path(model_path(path)).expanduser()
    looks_local = path.startswith(("package:", "/", ".", "~")) or path.count("/") != 1
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{key}: '{path}' holds no config.json; allowed: a Hugging Face model folder")
    elif path == GEMMA:
        raise ConfigError(
            f"{key}: '{path}' does not exist; fetch it with: python -m launch.get_gemma "
            "(about 253 MB to download, 536 MB on disk, Gemma Terms of Use)"
        )
    elif looks_local:
        raise ConfigError(
            f"{key}: '{path}' does not exist; allowed: a Hugging Face model folder, owner/name on the hub, "
            + ", ".join(f"package:{model.name}" for model in sorted(shipped(".").iterdir()))
        )
