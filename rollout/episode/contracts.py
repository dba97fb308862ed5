"""The interfaces that a strategy works with: the roles of an episode, what they are asked and what they reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rollout.records import Decomposition, PolicyCall, Problem
from rollout.words import encodable


class SolverFailure(Exception):
    """A role gave no usable reply, or its episode reached a limit; ``outcome`` is the name it is counted under."""

    def __init__(self, outcome: str, detail: str = "") -> None:
        super().__init__(detail or outcome)
        self.outcome = outcome


@dataclass(frozen=True)
class Written:
    """What a role wrote earlier, as a piece of a later prompt: its text and, if the policy wrote it, its token ids,
    which are passed on as they were sampled."""

    text: str
    token_ids: tuple[int, ...] | None = None


# A text, or its pieces in order.
Prompt = str | tuple[str | Written, ...]


@dataclass(frozen=True)
class Reply:
    """A role's text, how many tokens it wrote, and how many it read. ``call`` is the policy's own record of it, None
    where a frozen backend spoke; ``written`` is what later prompts hold of it, None where that is
    its text. ``cut``: a frozen backend's text was cut off at its limit of tokens.

    Half of a surrogate pair, which a server's JSON may hold, is a question mark here: no tokenizer, file or screen
    takes it."""

    text: str
    tokens: int
    prompt_tokens: int = 0
    call: PolicyCall | None = None
    written: Written | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", encodable(self.text))

    @property
    def truncated(self) -> bool:
        """Whether the policy's text was cut off at its limit of tokens."""
        return self.call is not None and self.call.finish_reason == "length"


class Role(Protocol):
    """Who speaks in an episode, as ``decomposer``, ``solver`` or ``verifier``: the policy, or a frozen backend, of
    which only the text is seen."""

    async def ask(self, prompt: Prompt, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt.

        ``purpose``: the decomposer's ``decompose``, ``concepts`` and ``next``; the solver's ``subquestion``, ``solve``,
        ``decompose_alone`` and ``whole``; the verifier's ``verify``. They differ in length and stop. ``sample`` 0 is
        the configured reply; k > 0 is the k-th independent draw, of a frozen backend the same whenever the same prompt
        and k are asked again.

        Raises SolverFailure for what the role did wrong; any other exception is an infrastructure error.
        """
        ...


class Solver(Protocol):
    """A frozen model behind a pool: it reads texts, and knows the purposes ``subquestion`` and ``solve`` alone."""

    async def ask(self, prompt: str, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt; see ``Role``."""
        ...


@dataclass(frozen=True)
class Likelihood:
    """A text's log-probability after a prompt, in nats, summed over its tokens, and the number of tokens that the model
    read for it."""

    logprob: float
    prompt_tokens: int = 0


@runtime_checkable
class LikelihoodSolver(Protocol):
    """A frozen model that can tell log-probabilities, which not every backend can."""

    async def log_likelihood(self, prompt: str, completion: str) -> Likelihood:
        """Return the log-probability of ``completion`` after ``prompt``; nothing is sampled. Raises like ``Role``."""
        ...


class Decomposer(Protocol):
    """Whoever has all sub-questions at once."""

    async def decompose(self, problem: Problem, attempt: str) -> tuple[Decomposition, PolicyCall | None]:
        """Return sub-questions for a problem that the solver first answered with ``attempt``."""
        ...


@dataclass(frozen=True)
class Writer:
    """A role as decomposer: it writes sub-questions for the prompts it is given, all at once or one at a time."""

    role: Role


def text_of(prompt: Prompt) -> str:
    """Return a prompt as one text."""
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces_of(prompt))


def pieces_of(prompt: Prompt) -> list[str | Written]:
    """Return a prompt's pieces: neighbouring texts are one, and after a completion that ends in a line break the text
    that follows loses its own, so that the break is there once."""
    merged: list[str | Written] = []
    for piece in (prompt,) if isinstance(prompt, str) else prompt:
        if merged and isinstance(piece, str) and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    found: list[str | Written] = []
    for before, piece in zip(["", *merged], merged, strict=False):
        broken = isinstance(before, Written) and before.text.endswith("\n")
        found.append(piece.removeprefix("\n") if broken and isinstance(piece, str) else piece)
    return [piece for piece in found if piece != ""]
