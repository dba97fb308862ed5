"""Raise an alarm if the engines' log-probabilities differ from the learner's: then the samples come from a policy that
the learner does not know."""

from __future__ import annotations

from conf.schema.config import Config
from rollout.engine.weight_update import Gap

GAP, ALARM = "policy/engine_logprob_gap_mean", "policy/engine_gap_alarm"
LARGEST = "policy/engine_logprob_gap"


def with_proof(metrics: dict[str, float], loaded: float, proof: Gap | None) -> dict[str, float]:
    """Return a step's gaps: the largest of the gaps in its metrics and the gaps found after its weight push, ``loaded``
    (measured at once) and ``proof``. Without a proof only the largest single gap is returned."""
    if proof is None:
        return {LARGEST: max(metrics.get(LARGEST, loaded), loaded)} if LARGEST in metrics or loaded else {}
    largest = max(metrics.get(LARGEST, 0.0), loaded, proof.largest)
    return {LARGEST: largest, GAP: max(metrics.get(GAP, 0.0), proof.mean)}


def largest_healthy(config: Config) -> float:
    """Return the largest mean gap, in nats per token, that rounding can explain: ``controller.engine_gap_alarm`` or, if
    that is not set, a limit that depends on the types of the weights."""
    if config.controller.engine_gap_alarm is not None:
        return config.controller.engine_gap_alarm
    return 0.1 if "bfloat16" in (config.learner.dtype, config.model.dtype) else 1e-3


def alarm(metrics: dict[str, float], limit: float) -> dict[str, float]:
    """Return the metric that says whether a step's gap is above the limit; empty if no gap was measured. NaN is above
    every limit."""
    return {ALARM: float(not metrics[GAP] <= limit)} if GAP in metrics else {}


def alarm_line(step: int, metrics: dict[str, float], limit: float) -> str:
    """Return the alarm's line for the screen."""
    return (
        f"step {step}: engine and learner differ by {metrics[GAP]:.2g} nats a token, more than {limit:g} "
        "(controller.engine_gap_alarm): weights or types are no longer the same; docs/troubleshooting.md"
    )
