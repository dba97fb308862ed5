"""The records that travel between roles: problems, episodes and their parts.

Nothing here imports Ray, torch or vLLM, so a strategy, a reward or a test can be read and run alone.
``Episode.to_json`` is the line format of ``episodes.jsonl`` and the input of ``rewards.score``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

NUMERIC_TYPES = ("number", "integer", "numeric")
ANSWER_TYPES = ("number", "expression", "choice", "multi_choice", "integer", "numeric", "boolean", "text")


class RecordError(ValueError):
    """A row or line that is not a valid record; the message names the field."""


def change(before: float | None, after: float | None) -> int:
    """Return 1 where an answer marked ``before`` became right, -1 where it became wrong, else 0.

    Only a mark of 1 is right. Between an episode's initial attempt and its final answer 1 is called rescued and -1
    broken; between the baseline and a cell of the matrix, gained and lost.
    """
    return 0 if before is None or after is None else int(after >= 1) - int(before >= 1)


@dataclass(frozen=True)
class Problem:
    """One data-set row.

    ``solution`` holds one reasoning step a line; it and ``subquestions`` are None where nobody wrote them.
    ``meta`` carries what only one data set knows (the generator's graph, a subject, a level).
    """

    id: str
    question: str
    answer: str
    answer_type: str = "number"
    choices: dict[str, str] | list[str] | None = None
    solution: str | None = None
    subquestions: list[str] | None = None
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, row: Any) -> Problem:
        """Build a problem from a decoded JSON object; raises RecordError naming the offending field."""
        if not isinstance(row, dict):
            raise RecordError(f"expected an object, found {type(row).__name__}")
        known = {name: row[name] for name in cls.__dataclass_fields__ if name in row and name != "meta"}
        for name in ("id", "question", "answer"):
            if not isinstance(known.get(name), str) or not known[name].strip():
                raise RecordError(f"field '{name}' must be a non-empty string, found {known.get(name)!r}")
        if known.get("answer_type", "number") not in ANSWER_TYPES:
            raise RecordError(f"field 'answer_type' is {known['answer_type']!r}; allowed: {', '.join(ANSWER_TYPES)}")
        solution = known.get("solution")
        if solution is not None and not isinstance(solution, str):
            raise RecordError(f"field 'solution' must be a string or null, found {type(solution).__name__}")
        subquestions = known.get("subquestions")
        if subquestions is not None and not (
            isinstance(subquestions, list) and all(isinstance(item, str) for item in subquestions)
        ):
            raise RecordError("field 'subquestions' must be a list of strings or null")
        choices = known.get("choices")
        if choices is not None and not isinstance(choices, (list, dict)):
            raise RecordError(f"field 'choices' must be a list, an object or null, found {type(choices).__name__}")
        meta = row["meta"] if isinstance(row.get("meta"), dict) else {}
        extra = {k: v for k, v in row.items() if k not in cls.__dataclass_fields__ and v is not None}
        return cls(**known, meta={**extra, **meta})


@dataclass
class Attempt:
    """A solver text and the answer that was read from it (None where none was found)."""

    text: str
    answer: str | None = None


@dataclass
class Turn:
    """One sub-question, and the solver's reply. ``asked`` is what was put to the solver where that is not the
    sub-question as written: its references replaced by answers."""

    question: str
    text: str
    answer: str | None = None
    asked: str | None = None


@dataclass
class PolicySample:
    """What the policy engine sampled, exactly: ids travel, text is never tokenised again.

    ``logprobs`` and ``versions`` have one entry a completion token: the behaviour log-probability and the
    weight version that produced the token. ``subquestion_ends`` are indices into ``token_ids`` of the last
    token of each kept sub-question. ``finish_reason`` is vLLM's (``stop`` or ``length``).
    """

    prompt_ids: list[int]
    token_ids: list[int]
    logprobs: list[float]
    versions: list[int]
    finish_reason: str = "stop"
    subquestion_ends: list[int] = field(default_factory=list)


@dataclass
class Decomposition:
    """The policy's text and the sub-questions parsed from it; ``invalid`` holds a reason or None."""

    text: str
    subquestions: list[str]
    invalid: str | None = None


@dataclass
class Episode:
    """One whole exchange on one problem.

    ``outcome`` is ``ok`` or the name of what the solver did wrong (``solver_timeout``, ``solver_refused``,
    ``solver_empty``, ``prompt_too_long``), of the episode's own limit that it reached (``episode_timeout``,
    ``episode_tokens``), or ``solver_budget`` for one that was not begun; an infrastructure error is never stored here,
    it is raised and retried. ``gate`` is ``open`` if the solver's draws disagreed and the question was decomposed,
    ``closed`` if their majority answered it, None where there is no gate. ``draws`` are the solver's independent
    attempts, of the gate or of self-consistency. ``note`` says what the strategy did that the rest does not show.
    ``solver_tokens`` and ``policy_tokens`` were generated, ``solver_prompt_tokens`` read; replies that were not waited
    for are in none.
    """

    problem: Problem
    strategy: str
    initial: Attempt | None = None
    decomposition: Decomposition | None = None
    turns: list[Turn] = field(default_factory=list)
    final: Attempt = field(default_factory=lambda: Attempt(""))
    weight_version: int = 0
    outcome: str = "ok"
    policy: PolicySample | None = None
    solver_tokens: int = 0
    seconds: float = 0.0
    solver_prompt_tokens: int = 0
    policy_tokens: int = 0
    draws: list[Attempt] = field(default_factory=list)
    gate: str | None = None
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The episode record; token-level data stays out of it."""
        record = asdict(self)
        del record["policy"]
        return record

    @classmethod
    def from_json(cls, row: Any) -> Episode:
        """Read an episode record; raises RecordError naming the offending field."""
        if not isinstance(row, dict):
            raise RecordError(f"expected an object, found {type(row).__name__}")
        if "problem" not in row:
            raise RecordError("field 'problem' is missing")
        problem = Problem.from_json(row["problem"])
        return cls(
            problem=problem,
            strategy=str(row.get("strategy", "")),
            initial=_attempt(row, "initial"),
            decomposition=_decomposition(row),
            turns=_turns(row),
            final=_attempt(row, "final") or Attempt(""),
            weight_version=int(_number(row, "weight_version")),
            outcome=str(row.get("outcome", "ok")),
            solver_tokens=int(_number(row, "solver_tokens")),
            seconds=_number(row, "seconds"),
            solver_prompt_tokens=int(_number(row, "solver_prompt_tokens")),
            policy_tokens=int(_number(row, "policy_tokens")),
            draws=_draws(row),
            gate=_optional_text(row, "gate", "gate"),
            note=_optional_text(row, "note", "note"),
        )


def _number(row: dict[str, Any], name: str) -> float:
    value = row.get(name) or 0.0
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise RecordError(f"field '{name}' must be a finite number, found {value!r}")
    return value


def _attempt(row: dict[str, Any], name: str) -> Attempt | None:
    value = row.get(name)
    return None if value is None else _as_attempt(value, name)


def _as_attempt(value: Any, name: str) -> Attempt:
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise RecordError(f"field '{name}' must be an object with a string 'text'")
    return Attempt(value["text"], _answer(value, name))


def _draws(row: dict[str, Any]) -> list[Attempt]:
    draws = row.get("draws") or []
    if not isinstance(draws, list):
        raise RecordError(f"field 'draws' must be a list, found {type(draws).__name__}")
    return [_as_attempt(draw, f"draws[{index}]") for index, draw in enumerate(draws)]


def _answer(value: dict[str, Any], name: str) -> str | None:
    return _optional_text(value, "answer", f"{name}.answer")


def _optional_text(row: dict[str, Any], key: str, name: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise RecordError(f"field '{name}' must be a string or null, found {type(value).__name__}")
    return value


def _decomposition(row: dict[str, Any]) -> Decomposition | None:
    value = row.get("decomposition")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise RecordError("field 'decomposition' must be an object")
    subquestions = value.get("subquestions")
    if not isinstance(subquestions, list) or not all(isinstance(item, str) for item in subquestions):
        raise RecordError("field 'decomposition.subquestions' must be a list of strings")
    return Decomposition(str(value.get("text", "")), subquestions, value.get("invalid"))


def _turns(row: dict[str, Any]) -> list[Turn]:
    turns = row.get("turns", [])
    if not isinstance(turns, list):
        raise RecordError("field 'turns' must be a list")
    parsed = []
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in ("question", "text")):
            raise RecordError(f"field 'turns[{index}]' must be an object with string 'question' and 'text'")
        name = f"turns[{index}]"
        asked = _optional_text(turn, "asked", f"{name}.asked")
        parsed.append(Turn(turn["question"], turn["text"], _answer(turn, name), asked))
    return parsed
