"""The records that travel between roles: problems, episodes and their parts.

Nothing here imports Ray, torch or vLLM, so a strategy, a reward or a test can be read and run alone.
``Episode.to_json`` is the line format of ``episodes.jsonl`` and the input of ``rewards.score``.
"""

from __future__ import annotations

import pickle
import reprlib
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import StrictFloat, StrictInt, TypeAdapter, ValidationError

from rollout.record_fields import (
    YES_NO,
    AnswerText,
    ChoiceText,
    Concepts,
    Count,
    Equations,
    FilledText,
    IdText,
    Logprob,
    OptionalIndex,
    OptionalText,
    OtherForms,
    Seconds,
    WrittenText,
    described,
)

NUMERIC_TYPES = ("number", "integer", "numeric")
ANSWER_TYPES = ("number", "expression", "choice", "multi_choice", "integer", "numeric", "boolean", "text")

# Outcomes of episodes that may be trained on: too long a prompt, too many replies and too many calls are the policy's
# doing; every other failure is a frozen role's own.
TRAINED_ON = ("ok", "prompt_too_long", "episode_tokens", "episode_calls", "episode_policy_tokens")

# The fields of a policy call that an episode record leaves out.
TOKEN_LEVEL = {"prompt_ids", "token_ids", "logprobs", "versions", "subquestion_ends"}

Record = TypeVar("Record")


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
    ``meta`` carries what only one data set knows (the generator's graph, a subject, a level); of
    that, these are read as the fields are: ``answer_aliases``, other forms of the answer, and ``equations`` as a list
    of texts, ``concepts`` as one text.
    """

    id: IdText
    question: FilledText
    answer: AnswerText
    answer_type: str = "number"
    choices: Annotated[
        dict[str, ChoiceText] | list[ChoiceText] | None, described("a list or an object of strings, or null")
    ] = None
    solution: WrittenText = None
    subquestions: Annotated[list[FilledText] | None, described("a list of non-empty strings or null")] = None
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, row: Any) -> Problem:
        """Build a problem from a decoded JSON object; raises RecordError naming the offending field."""
        if isinstance(row, dict) and row.get("answer_type", "number") not in ANSWER_TYPES:
            raise RecordError(f"field 'answer_type' is {row['answer_type']!r}; allowed: {', '.join(ANSWER_TYPES)}")
        given = _given(row)
        if given.get("answer_type") == "boolean" and isinstance(given.get("answer"), bool):
            given["answer"] = YES_NO[given["answer"]]
        extra = {name: value for name, value in given.items() if name not in cls.__dataclass_fields__}
        meta = {**extra, **(given["meta"] if isinstance(given.get("meta"), dict) else {})}
        meta |= read_of_meta(meta)
        if not _are_answers(meta.get("subanswers")):
            raise RecordError(
                f"field 'subanswers' must be a list of texts or numbers, found {meta['subanswers']!r:.80}"
            )
        return _read(_PROBLEM, {**given, "meta": meta})


def _are_answers(value: Any) -> bool:
    """Return whether a value is a list of texts, numbers and nulls, or null."""
    kinds = (str, int, float, type(None))
    return value is None or (isinstance(value, list) and all(isinstance(one, kinds) for one in value))


@dataclass
class Attempt:
    """A solver text and the answer that was read from it (None where none was found)."""

    text: str
    answer: OptionalText = None


@dataclass
class Turn:
    """One sub-question, and the solver's reply. ``asked`` is what was put to the solver where that is not the
    sub-question as written: its references replaced by answers.

    ``call`` and ``answer_call`` are indices in ``Episode.calls``: of the policy call that wrote the sub-question, and
    of the one that answered it where the policy plays the solver. ``verdicts`` are the classes that were read from
    the verifier's ``verdict_text``; empty where nobody judged.
    """

    question: str
    text: str
    answer: OptionalText = None
    asked: OptionalText = None
    call: OptionalIndex = None
    answer_call: OptionalIndex = None
    verdicts: list[str] = field(default_factory=list)
    verdict_text: str = ""

    @property
    def policy_call(self) -> int | None:
        """The policy call that wrote the sub-question, or where that was none, the one that answered it."""
        return self.answer_call if self.call is None else self.call


@dataclass
class PolicyCall:
    """One prompt and one completion of the policy, exactly as sampled: ids travel, text is never tokenised again.

    ``purpose`` says what was asked for: ``decompose``, ``concepts``, ``next``, ``subquestion``, ``solve``,
    ``decompose_alone`` or ``whole``. ``logprobs`` and ``versions`` have one entry a completion token: the behaviour
    log-probability and the weight version that produced the token. ``subquestion_ends`` are indices into ``token_ids``
    of the last token of each kept sub-question. ``finish_reason`` is vLLM's (``stop`` or ``length``).
    """

    purpose: str
    prompt_ids: list[StrictInt]
    token_ids: list[StrictInt]
    logprobs: list[StrictFloat]
    versions: list[StrictInt]
    finish_reason: str = "stop"
    subquestion_ends: list[StrictInt] = field(default_factory=list)
    text: str = ""


@dataclass
class Decomposition:
    """The policy's text and the sub-questions parsed from it; ``invalid`` holds a reason or None.

    Where some of what was written was left out, ``numbers`` has the number of the sub-question that each of the written
    ones is, counted from 1: that of its first mention for a repeat, None for one that is not there. Else it is empty.
    """

    text: str
    subquestions: list[str]
    invalid: OptionalText = None
    numbers: list[int | None] = field(default_factory=list)


@dataclass
class Episode:
    """One whole exchange on one problem.

    ``outcome`` is ``ok`` or the name of what the solver did wrong (``solver_timeout``, ``solver_refused``,
    ``solver_empty``, ``prompt_too_long``), of the episode's own limit that it reached (``episode_timeout``,
    ``episode_tokens``), or ``solver_budget`` for one that was not begun; an infrastructure error is never stored here,
    it is raised and retried. ``gate`` is ``open`` if the solver's draws disagreed and the question was decomposed,
    ``closed`` if their majority answered it, None where there is no gate. ``draws`` are the solver's independent
    attempts, of the gate or of self-consistency. ``note`` says what the strategy did that the rest does not show.
    ``calls`` are the policy's, in the order spoken; ``concepts`` is what a decomposer said that the question needs.
    ``refused`` are the turns whose sub-question the verifier had written again; they are not in ``turns``. ``solver``
    is the name of the mixture's solver that answered, None where there is one solver. ``solver_cut`` counts the
    solver's replies that were cut off at their limit of tokens.

    Tokens are counted by role, whoever plays it: generated ones, and of solver and verifier those read as well
    (``..._prompt_tokens``). ``policy_tokens`` are those of all policy calls. Replies that were not waited for are in
    none.

    ``gold_logprobs`` are the frozen solver's log-probabilities of the gold answer, in nats: before any turn is in view,
    and after each turn. There are none where nobody asked for them, and fewer where a prompt was too long.
    """

    problem: Problem
    strategy: str
    initial: Attempt | None = None
    decomposition: Decomposition | None = None
    turns: list[Turn] = field(default_factory=list)
    final: Attempt = field(default_factory=lambda: Attempt(""))
    weight_version: Count = 0
    outcome: str = "ok"
    calls: list[PolicyCall] = field(default_factory=list)
    solver_tokens: Count = 0
    seconds: Seconds = 0.0
    solver_prompt_tokens: Count = 0
    policy_tokens: Count = 0
    draws: list[Attempt] = field(default_factory=list)
    gate: OptionalText = None
    note: OptionalText = None
    concepts: OptionalText = None
    refused: list[Turn] = field(default_factory=list)
    decomposer_tokens: Count = 0
    verifier_tokens: Count = 0
    verifier_prompt_tokens: Count = 0
    solver: OptionalText = None
    gold_logprobs: list[Logprob] = field(default_factory=list)
    solver_cut: Count = 0

    @property
    def subquestions(self) -> list[str]:
        """The sub-questions of the decomposition; none where there is no decomposition."""
        return self.decomposition.subquestions if self.decomposition else []

    @property
    def numbers(self) -> list[int | None]:
        """The numbers of what the decomposition's text lists; see ``Decomposition``."""
        return self.decomposition.numbers if self.decomposition else []

    @property
    def token_versions(self) -> list[int]:
        """The weight version of every token of all policy calls, in the order spoken."""
        return [version for call in self.calls for version in call.versions]

    def place_of(self, refused: Turn) -> int:
        """Return the number, from 0, of the sub-question in whose place a refused one was written."""
        at, calls = refused.policy_call, [turn.policy_call for turn in self.turns]
        return sum(at is not None and call is not None and call < at for call in calls)

    def to_json(self) -> dict[str, Any]:
        """Return the episode record; token-level data stays out of it."""
        record: dict[str, Any] = _EPISODE.dump_python(self, warnings=False, exclude={"calls": {"__all__": TOKEN_LEVEL}})
        if not self.gold_logprobs:
            del record["gold_logprobs"]  # only the runs that ask for them have this field
        if self.decomposition is not None and not self.decomposition.numbers:
            del record["decomposition"]["numbers"]
        return record

    @property
    def facts(self) -> EpisodeFacts:
        """What the controller needs to know of the episode."""
        decomposition, versions = self.decomposition, self.token_versions
        return EpisodeFacts(
            self.outcome,
            None if decomposition is None else decomposition.invalid,
            None if decomposition is None else len(decomposition.subquestions),
            sum(len(call.token_ids) for call in self.calls),
            self.solver_tokens,
            (min(versions), max(versions)) if versions else (),
            len(self.calls),
            self.solver,
            self.gate,
        )

    def packed(self) -> PackedEpisode:
        """Return the episode for travelling through processes that need not open it."""
        return PackedEpisode(self.facts, pickle.dumps(self, protocol=pickle.HIGHEST_PROTOCOL))

    @classmethod
    def from_json(cls, row: Any) -> Episode:
        """Read an episode record, with one ``policy`` sample in place of calls too; raises RecordError naming the
        offending field."""
        given = {"strategy": "", **_given(row)}
        if "problem" in given:
            given["problem"] = Problem.from_json(given["problem"])
        if isinstance(given.get("decomposition"), dict):
            given["decomposition"] = {"text": "", **given["decomposition"]}
        given |= _calls(given)
        return _read(_EPISODE, given)


@dataclass(frozen=True)
class EpisodeFacts:
    """What the controller needs to know of an episode. ``invalid`` is the decomposition's, ``subquestions`` its number
    of them (None if there is no decomposition). ``policy_tokens`` are those of all ``calls``; ``versions`` are the
    oldest and the newest that sampled one of them. ``solver`` and ``gate`` are the episode's."""

    outcome: str
    invalid: str | None
    subquestions: int | None
    policy_tokens: int
    solver_tokens: int
    versions: tuple[int, int] | tuple[()]
    calls: int = 0
    solver: str | None = None
    gate: str | None = None


@dataclass(frozen=True)
class PackedEpisode:
    """An episode on its way through the controller, which reads its facts alone. It is carried by value: whoever holds
    it needs neither the process that made it nor an object store."""

    facts: EpisodeFacts
    data: bytes

    def open(self) -> Episode:
        """Return the episode."""
        episode: Episode = pickle.loads(self.data)
        return episode


def opened(episode: Episode | PackedEpisode) -> Episode:
    """Return an episode, opened if it is packed."""
    return episode.open() if isinstance(episode, PackedEpisode) else episode


def read_of_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """Return those of ``Problem.meta`` that are read as fields are; raises RecordError naming the offending one."""
    found: dict[str, Any] = {}
    for name, adapter in _OF_META.items():
        if meta.get(name) is not None:
            read: dict[str, Any] = _read(adapter, {name: meta[name]})
            found |= read
    return found


_PROBLEM, _EPISODE = TypeAdapter(Problem), TypeAdapter(Episode)
_OF_META: dict[str, TypeAdapter[dict[str, Any]]] = {
    "answer_aliases": TypeAdapter(dict[str, OtherForms]),
    "concepts": TypeAdapter(dict[str, Concepts]),
    "equations": TypeAdapter(dict[str, Equations]),
}
_REASONS = {
    "missing": "is missing",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "dataclass_type": "must be an object",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
}


def _given(row: Any) -> dict[str, Any]:
    """Return the fields of a JSON object; a null is as good as an absent field."""
    if not isinstance(row, dict):
        raise RecordError(f"expected an object, found {type(row).__name__}")
    return {name: value for name, value in row.items() if value is not None}


def _calls(given: dict[str, Any]) -> dict[str, Any]:
    """Return the policy calls of an episode record, and the count of tokens that a record of one call does not name."""
    calls, decomposition = given.get("calls", []), given.get("decomposition")
    if "calls" not in given and isinstance(given.get("policy"), dict):
        text = decomposition.get("text", "") if isinstance(decomposition, dict) else ""
        calls = [{"purpose": "decompose", "text": text, **given["policy"]}]
    if isinstance(calls, list):
        without: dict[str, list[int]] = {name: [] for name in TOKEN_LEVEL}
        bare = [isinstance(call, dict) and TOKEN_LEVEL.isdisjoint(call) for call in calls]
        calls = [without | call if missing else call for call, missing in zip(calls, bare, strict=True)]
    return {"calls": calls, "decomposer_tokens": given.get("decomposer_tokens", given.get("policy_tokens", 0))}


def _read(adapter: TypeAdapter[Record], row: dict[str, Any]) -> Record:
    """Build a record from a JSON object; raises RecordError naming the first field that is wrong."""
    try:
        return adapter.validate_python(row)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])[1:]
    reason = _REASONS.get(first["type"], first["msg"].removeprefix("Value error, "))
    found = "" if "found" in reason or first["type"] == "missing" else f", found {reprlib.repr(first['input'])}"
    raise RecordError(f"field '{place}' {reason}{found}")
