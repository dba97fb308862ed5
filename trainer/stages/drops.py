"""Count groups with nothing to train on by what was wrong, and end a run that gets no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from conf.schema.solver import solver_role
from rewards.reward import Sample
from trainer.stages.sample_groups import trainable

# What may be wrong, and the keys that change it, for the outcomes where that is known. The role of the solver that it
# was is filled in: a mixture's have keys and logs of their own.
ADVICE = {
    "solver_empty": "the solver's replies held no text, as of a reasoning model cut off: {solver}.max_tokens_solve",
    "prompt_too_long": "the questions do not fit: rollout.max_model_len, {solver}.max_model_len, or a longer model",
    "solver_refused": "the solver refuses to answer: logs/{solver}-0.log",
    "solver_timeout": "the solver is too slow: {solver}.timeout_s",
    "verifier_timeout": "the verifier is too slow: verifier.timeout_s",
    "verifier_refused": "the verifier refuses to judge: logs/verifier-0.log",
    "verifier_empty": "the verifier's replies held no text, as of a reasoning model cut off: verifier.max_tokens_solve",
    "verifier_prompt_too_long": "what is to be judged does not fit: verifier.max_model_len",
    "episode_timeout": "episodes take too long: rollout.episode_timeout_s",
    "not scored": "the reward could not be computed: logs/reward-0.log",
    "closed gate": "the solver's draws agree: harder problems, more strategy.gate_samples, or strategy.gate=always",
    "no policy tokens": "the decomposer wrote nothing",
}
# A row of drops is first reported at this length, and then whenever its length has doubled.
FIRST_TOLD = 16


class NothingToTrainOn(RuntimeError):
    """Too many groups in a row held nothing to train on, so no more are drawn; the message says what was wrong."""


class Drops:
    """Counts of the episodes in dropped groups, by what was wrong; ``limit`` groups in a row are too many."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_a_row = 0
        # By what was wrong and the name of the solver.
        self._row: Counter[tuple[str, str | None]] = Counter()
        self.by_outcome: Counter[str] = Counter()

    def kept(self) -> None:
        """Note that a group is trained on, which ends the row of drops."""
        self.in_a_row = 0
        self._row.clear()

    def dropped(self, group: Sequence[Sample]) -> str | None:
        """Note that a group was dropped; return the line to print, if one is due. Raises NothingToTrainOn."""
        found = Counter((what_was_wrong(item), item.facts.solver) for item in group if not trainable(item))
        self._row += found
        self.by_outcome += _by_outcome(found)
        self.in_a_row += 1
        if self.in_a_row >= self.limit:
            outcome = _by_outcome(self._row).most_common(1)[0][0]
            solvers = Counter({solver: count for (wrong, solver), count in self._row.items() if wrong == outcome})
            advice = ADVICE.get(outcome, "").format(solver=solver_role(solvers.most_common(1)[0][0]))
            said = f"{self._line()}, controller.max_dropped_in_a_row allows {self.limit}"
            raise NothingToTrainOn(f"{said}; {advice}" if advice else said)
        doubled = self.in_a_row >= FIRST_TOLD and (self.in_a_row // FIRST_TOLD).bit_count() == 1
        return self._line() if doubled and self.in_a_row % FIRST_TOLD == 0 else None

    def _line(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in _by_outcome(self._row).most_common())
        return f"{self.in_a_row} groups in a row held nothing to train on ({counts})"


def _by_outcome(row: Counter[tuple[str, str | None]]) -> Counter[str]:
    """Return the counts by what was wrong, whichever solver it was."""
    counts: Counter[str] = Counter()
    for (outcome, _), count in row.items():
        counts[outcome] += count
    return counts


def what_was_wrong(item: Sample) -> str:
    """Return the name under which an episode that cannot be trained on is counted."""
    if item.reward.error is not None:
        return "not scored"
    facts = item.facts
    if facts.outcome != "ok":
        return facts.outcome
    if facts.gate == "closed":
        return "closed gate"
    # Such as a prompt that is too long for the decomposer's context.
    return facts.invalid or "no policy tokens"
