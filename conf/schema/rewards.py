"""The schema of the group ``rewards``."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

import yaml
from pydantic import Field, field_validator

from conf.schema.base import FREE, MODEL, Group, OneOf
from conf.schema.own_parts import PartName
from conf.schema.places import CONF

Mode = Literal["paper", "authors_code", "bounded", "outcome", "lm2", "lm2_outcome", "solver_likelihood"]
MODES: tuple[str, ...] = get_args(Mode)
PARTS = ("entity_coverage", "answer_consistency", "operation_order", "cot_proximity", "correctness")
# Those that only sub-questions can earn.
OF_SUBQUESTIONS = ("entity_coverage", "answer_consistency")
# A sixth part, which needs the frozen solver's log-probabilities: it is there only where its weight is not 0.
LIKELIHOOD = "solver_likelihood"
# The word vectors that come with their package.
BUNDLED_VECTORS = "wordllama"
# Names under which something else stands beside the parts, in an episode's record and in that of rewards.score.
RECORDED = ("given", "gives_answer", "total", "penalties", "problem_id")
PENALTIES = ("copy", "repeat", "given", "invalid")
# What a verifier may say of a reply (rollout/episode/verdict.py), as far as it is paid.
VERDICTS = (
    "conceptual", "computational", "procedural", "misunderstood",
    "first_step", "first_half", "second_half", "last_step", "no_mistake",
)  # fmt: skip
Part = Annotated[str, OneOf((*PARTS, LIKELIHOOD), own=True)]
Penalty = Annotated[str, OneOf(PENALTIES)]
Verdict = Annotated[str, OneOf(VERDICTS)]


def check_own_name(name: str) -> None:
    """Raise ValueError if no part of the user's own may have this name."""
    if name in (*PARTS, LIKELIHOOD, *RECORDED) or not re.fullmatch(r"\w+", name):
        raise ValueError(
            f"the name {name!r} is not allowed: must be one word, and not that of a shipped part, nor "
            f"{', '.join(RECORDED)}"
        )


class Rewards(Group):
    """The five parts of the reward and the user's own (docs/extending.md), which are weighed and clipped alike."""

    mode: Mode = "bounded"
    """Whose formulas the parts follow (docs/rewards.md)."""
    parts: dict[str, Annotated[str, PartName()]] = Field({})
    """Parts of your own, by name."""
    weights: dict[Part, float]
    """Weight of each part in the sum; one of `solver_likelihood` reads the solver's log-probabilities."""
    clip: dict[Part, tuple[float, float] | None]
    """Lowest and highest value of each part; null: no limit."""
    penalty: dict[Penalty, float]
    """What is taken off for a copied or repeated question, a value that is given away, and an invalid decomposition."""
    verdicts: dict[Verdict, float] = Field({})
    """What each class of a verdict adds to the reward of the call that wrote the sub-question."""
    verdict_gamma: float = Field(1.0, gt=0, le=1)
    """Discount of that reward from one sub-question to the next."""
    likelihood_floor: float = Field(-100.0, lt=0)
    """Nats to which `solver_likelihood` raises every lower log-probability of the gold answer."""
    correctness_baseline: Literal["none", "gain"] = "none"
    """Whether correctness is paid as it is, or only what it gains over the solver's first attempt."""
    vectors: Annotated[str, MODEL] = BUNDLED_VECTORS
    """Word vectors for comparing texts: `wordllama`, or a model for sentence-transformers."""
    workers: Annotated[int, FREE] = Field(1, ge=1)
    """Number of reward actors."""
    episode_seconds: Annotated[float, FREE] = Field(10.0, gt=0)
    """Seconds in which one episode must be scored."""

    @field_validator("clip")
    @classmethod
    def _ends(cls, value: dict[str, tuple[float, float] | None]) -> dict[str, tuple[float, float] | None]:
        for part, ends in value.items():
            if ends is not None and ends[0] >= ends[1]:
                raise ValueError(f"{part} must be the lowest value, then the highest, found {list(ends)}")
        return value

    @classmethod
    def for_mode(cls, mode: str) -> Rewards:
        """Read the mode's own settings from ``conf/rewards``; raises ValueError for an unknown mode."""
        if mode not in MODES:
            raise ValueError(f"unknown rewards mode {mode!r}; allowed: {', '.join(MODES)}")
        return cls.model_validate(yaml.safe_load((CONF / "rewards" / f"{mode}.yaml").read_text(encoding="utf-8")))

    @property
    def formulas(self) -> str:
        """The mode whose formulas the parts follow: those without formulas of their own are ``bounded`` under other
        weights."""
        return self.mode if self.mode in ("paper", "authors_code") else "bounded"

    @property
    def pays_likelihood(self) -> bool:
        """Say whether the frozen solver's log-probabilities of the gold answer are measured and paid."""
        return bool(self.weights.get(LIKELIHOOD))

    @property
    def further_parts(self) -> tuple[str, ...]:
        """Return the names of the parts beside the five."""
        return (*((LIKELIHOOD,) if self.pays_likelihood else ()), *self.parts)

    def clipped(self, part: str, value: float) -> float:
        """Return a part's value within its clip."""
        low, high = self.clip.get(part) or (value, value)
        return min(max(value, low), high)
