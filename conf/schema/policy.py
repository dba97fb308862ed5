"""The schema of the group ``policy``: which roles of an episode the trained model plays."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conf.schema.base import Group, Stops


class Policy(Group):
    """The roles that the policy plays in an episode; the lengths are those of its replies as a solver."""

    plays: Literal["decomposer", "solver", "both"] = "decomposer"
    """The roles that the policy plays: it writes sub-questions, or answers them, or does both."""
    decomposer: Literal["gold", "solver"] = "gold"
    """The decomposer where the policy plays the solver alone: the data's sub-questions, or the model of `solver`."""
    max_tokens_subquestion: int = Field(40, ge=1)
    """Tokens of its answer to a sub-question at most."""
    max_tokens_solve: int = Field(160, ge=1)
    """Tokens of its answer to a whole question at most."""
    stop_subquestion: Stops = Field(["\n"])
    """Texts that end its answer to a sub-question."""
    stop_solve: Stops = Field(["\nQ:"])
    """Texts that end its answer to a whole question."""
    sample_temperature: float = Field(0.7, gt=0)
    """Temperature of independent draws where everything else is greedy, as in an evaluation."""

    @property
    def solves(self) -> bool:
        """Say whether the policy answers the questions."""
        return self.plays != "decomposer"

    @property
    def asks_frozen_solver(self) -> bool:
        """Say whether the model of the group ``solver`` speaks in an episode."""
        return self.plays == "decomposer" or (self.plays == "solver" and self.decomposer == "solver")
