"""The alarm for engines whose log-probabilities are no longer the learner's: then what is trained on is of no policy
that the learner knows."""

from __future__ import annotations

from conf.schema.config import Config
from rollout.engine.weight_update import Gap

GAP, ALARM = "policy/engine_logprob_gap_mean", "policy/engine_gap_alarm"
LARGEST = "policy/engine_logprob_gap"


def with_proof(metrics: dict[str, float], loaded: float, proof: Gap | None) -> dict[str, float]:
    """Return a step's gaps, the largest of those in its metrics and those that its push showed, at once and with the
    proof; without a proof only the former."""
    if proof is None:
        return {LARGEST: max(metrics.get(LARGEST, loaded), loaded)} if LARGEST in metrics or loaded else {}
    largest = max(metrics.get(LARGEST, 0.0), loaded, proof.largest)
    return {LARGEST: largest, GAP: max(metrics.get(GAP, 0.0), proof.mean)}


def largest_healthy(config: Config) -> float:
    """Return the mean gap, in nats a token, that rounding explains: ``controller.engine_gap_alarm``, or what the types
    of the weights allow."""
    if config.controller.engine_gap_alarm is not None:
        return config.controller.engine_gap_alarm
    return 0.1 if "bfloat16" in (config.learner.dtype, config.model.dtype) else 1e-3


def alarm(metrics: dict[str, float], limit: float) -> dict[str, float]:
    """Return the metric that says whether the gap of a step is above the limit; none where no gap was measured. What is
    not a number is above every limit."""
    return {ALARM: float(not metrics[GAP] <= limit)} if GAP in metrics else {}


def alarm_line(step: int, metrics: dict[str, float], limit: float) -> str:
    """Return the line that says so on the screen."""
    return (
        f"step {step}: engine and learner differ by {metrics[GAP]:.2g} nats a token, more than {limit:g} "
        "(controller.engine_gap_alarm): weights or types are no longer the same; docs/troubleshooting.md"
    )
