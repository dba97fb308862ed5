"""The schema of the group ``strategy``: how an episode goes, its prompts and limits."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from conf.schema.base import Group, Stops, line_breaks
from conf.schema.own_parts import PartName, is_own
from conf.schema.rewards import Verdict

# The fields of each template; those that must be there come first.
TEMPLATES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "decompose_template": (("question",), ("attempt",)),
    "turn_template": (("answer",), ("question",)),
    "subquestion_template": (("subquestion",), ("question", "turns", "concepts")),
    "solve_template": (("question",), ("turns", "ask", "concepts")),
    "plan_template": (("question",), ()),
    "concepts_template": (("question",), ("attempt",)),
    "next_template": (("question", "turns"), ("attempt", "concepts")),
    "next_concepts_template": (("concepts",), ()),
    "next_turn_template": (("question", "answer"), ()),
    "refused_template": ((), ("question", "verdicts")),
    "solve_concepts_template": (("concepts",), ()),
    "verify_template": (("subquestion", "reply"), ("question", "turns")),
    "monolith_template": (("question",), ()),
    "gold_template": ((), ("answer", "solution")),
}
STRATEGIES = (
    "direct", "self_consistency", "least_to_most", "daslam", "daslam_no_feedback", "independent", "dependency_graph",
    "lm2", "interleaved", "monolith",
)  # fmt: skip
# What the chat template is given by the program itself.
CHAT_OWN = (
    "conversation", "messages", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize",
    "return_tensors", "return_dict",
)  # fmt: skip
# Strategies that ask no decomposer, so that there is nothing to train unless the policy plays the solver.
UNTRAINED = ("direct", "self_consistency", "least_to_most", "monolith")
# Shipped strategies whose decomposer writes one sub-question at a time; others say it (strategy.line_by_line).
ITERATIVE = ("lm2", "interleaved")
# Strategies that drop no repeats: a sub-question is asked, or answered, before it is seen to be one.
ASKED_AS_WRITTEN = (*ITERATIVE, "monolith")
# Strategies that decompose nothing, so that there is nothing to put behind a gate.
UNGATED = ("direct", "self_consistency")
# Strategies that can be held to a budget of tokens.
BUDGETED = ("self_consistency",)
# Strategies that put no single sub-question to a solver, so that a verifier has nothing to judge.
UNJUDGED = (*UNGATED, "monolith")


class Example(Group):
    """A worked example. It is shown in those prompts whose reply it holds (rollout/episode/prompts.py)."""

    question: str
    """The problem."""
    subquestions: list[str] = Field([])
    """Its sub-questions."""
    subanswers: list[str] = Field([])
    """Their answers, one each or none."""
    attempt: str | None = None
    """The solver's first attempt at it."""
    solution: str | None = None
    """The answer to the whole."""

    @model_validator(mode="after")
    def _complete(self) -> Example:
        if self.subanswers and len(self.subanswers) != len(self.subquestions):
            found = f"{len(self.subanswers)} subanswers for {len(self.subquestions)} subquestions"
            raise ValueError(f"{found}; allowed: one each, or none")
        return self


class Strategy(Group):
    """How an episode goes, its prompts and its limits."""

    name: Annotated[str, PartName(STRATEGIES)] = "daslam"
    """The order of an episode's steps (docs/strategies.md)."""
    line_by_line: bool | None = None
    """Whether the decomposer writes one sub-question at a time; null: as it does in the shipped strategy, else no."""
    decompose_template: str
    """What the decomposer reads."""
    turn_template: str
    """How an earlier sub-question and its answer are shown."""
    subquestion_template: str
    """What the solver reads for a sub-question."""
    solve_template: str
    """What the solver reads for the whole question."""
    plan_template: str = "{question}\nSub-questions:\n"
    """What a solver reads that decomposes by itself (least_to_most)."""
    concepts_template: str = "{question}\nFirst attempt: {attempt}\nConcepts:\n"
    """What the decomposer reads that writes the concepts a question needs (lm2)."""
    next_template: str = "{question}\nFirst attempt: {attempt}\n{concepts}Sub-questions:\n{turns}"
    """What the decomposer reads that writes the next sub-question (lm2, interleaved)."""
    next_concepts_template: str = "Concepts:\n{concepts}\n"
    """How `next_template` shows the concepts."""
    next_turn_template: str = "{question}\nA: {answer}\n"
    """How `next_template` shows a sub-question that was answered."""
    refused_template: str = "{question}\nRefused: {verdicts}\n"
    """How `next_template` shows a sub-question that is to be written again."""
    solve_concepts_template: str = "\nConcepts: {concepts}"
    """How the concepts are shown to the solver, where its templates hold {concepts}."""
    verify_template: str = "{question}{turns}\nQ: {subquestion}\nA: {reply}\nVerdict:"
    """What the verifier reads."""
    monolith_template: str = "{question}\n"
    """What the policy reads that writes sub-questions, answers and the final answer at once (monolith)."""
    gold_template: str = "The answer is {answer}."
    """Continuation of `solve_template` whose part from {answer} or {solution} on is scored
    (rewards.weights.solver_likelihood)."""
    examples: list[Example] = Field([])
    """Worked examples that prompts begin with."""
    chat: Literal["auto", "never"] = "auto"
    """Whether prompts go through a model's chat template, where it has one, or never."""
    chat_arguments: dict[str, Any] = Field({})
    """Arguments of the chat templates, such as `enable_thinking`."""
    gate: Literal["always", "disagree"] = "always"
    """Whether every question is decomposed, or only one about which the solver's draws disagree."""
    gate_samples: int = Field(3, ge=2)
    """Draws that the gate compares."""
    samples: int | None = Field(None, ge=1)
    """Draws of self_consistency."""
    token_budget: int | None = Field(None, ge=1, validate_default=True)
    """Solver's tokens an episode that self_consistency spends, instead of `samples`."""
    drop_repeats: bool = False
    """Leave a sub-question out that stands in the list already; not with lm2, interleaved or monolith."""
    max_subquestions: int = Field(8, ge=1)
    """Sub-questions that are kept at most."""
    max_subquestion_chars: int = Field(300, ge=1)
    """Characters of a sub-question at most."""
    max_tokens: int = Field(96, ge=1)
    """Tokens of a decomposition at most."""
    stop: Stops = Field([])
    """Texts that end a decomposition."""
    end_mark: str = Field("Done.", min_length=1)
    """What the decomposer writes in place of a next sub-question when there is none."""
    concepts: bool = True
    """Whether lm2, or a line-by-line strategy of your own, begins with the concepts that the question needs."""
    retries: int = Field(1, ge=0)
    """How often a sub-question is written again that the verifier refuses."""
    rewrite_on: list[Verdict] = Field(["conceptual", "procedural", "misunderstood", "first_step"])
    """Classes of a verdict that refuse a sub-question."""
    max_calls: int | None = Field(None, ge=1)
    """Calls of the policy in an episode at most, then it ends as `episode_calls`; null: no limit."""
    max_policy_tokens: int | None = Field(None, ge=1)
    """Tokens of the policy after which it is called no more and the episode ends as `episode_policy_tokens`."""

    @property
    def writes_lines(self) -> bool:
        """Return whether the decomposer writes one sub-question at a time, and reads `next_template`."""
        return self.name in ITERATIVE if self.line_by_line is None else self.line_by_line

    @property
    def writes_concepts(self) -> bool:
        """Return whether the decomposer writes concepts first, as far as the configuration says of an own strategy."""
        return self.concepts and (self.name == "lm2" or (is_own(self.name) and self.writes_lines))

    def check_marks(self) -> None:
        """Raise ValueError where the program as verifier could not tell sub-questions from the rest of what it reads:
        the last line that begins with "Q:" is to it the one that was answered, and those above it are earlier ones."""
        turn = self.turn_template.format(question="asked", answer="told")
        reads = self.verify_template.format(question="problem", turns="", subquestion="asked", reply="told")
        for key, shown in (("turn_template", turn), ("verify_template", reads)):
            marked = [line.removeprefix("Q:").strip() for line in shown.splitlines() if line.startswith("Q:")]
            if marked != ["asked"]:
                raise ValueError(
                    f"verifier.backend: 'program' reads sub-questions on lines that begin with \"Q:\", and so "
                    f"strategy.{key} does not show them; allowed with it: the templates of strategy=daslam or lm2"
                )

    @field_validator("line_by_line")
    @classmethod
    def _known_of_shipped(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        name = info.data.get("name", "")
        if value is None or name not in STRATEGIES:
            return value
        if value != (name in ITERATIVE):
            way = "one sub-question at a time" if name in ITERATIVE else "no sub-questions one by one"
            raise ValueError(f"name '{name}' has its decomposer write {way}; allowed with it: null")
        return None  # a run from before this key is gone on with

    @field_validator(*TEMPLATES)
    @classmethod
    def _fields(cls, value: str, info: ValidationInfo) -> str:
        line_breaks(value)
        needed, optional = TEMPLATES[str(info.field_name)]
        allowed = ", ".join(f"{{{name}}}" for name in (*needed, *optional))
        try:
            found = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        except ValueError as error:
            known = f"{allowed}, and braces doubled to stand for themselves"
            raise ValueError(f"{error}; allowed fields: {known}") from None
        if unknown := found - {*needed, *optional}:
            raise ValueError(f"unknown field {{{min(unknown)}}}; allowed: {allowed}")
        if missing := [name for name in needed if name not in found]:
            raise ValueError(f"{{{missing[0]}}} must be in it; allowed: {allowed}")
        try:
            value.format(**dict.fromkeys(found, "a text"))
        except (LookupError, ValueError) as error:
            raise ValueError(f"its fields cannot be written so ({error}); allowed: {allowed}") from None
        if info.field_name == "gold_template" and not found:
            raise ValueError("{answer} or {solution} must be in it")
        return value

    @field_validator("chat_arguments")
    @classmethod
    def _template_arguments(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in CHAT_OWN or not name.isidentifier():
                raise ValueError(f"'{name}' cannot be given to a chat template; allowed: its own, as enable_thinking")
        return value

    @field_validator("decompose_template")
    @classmethod
    def _no_attempt(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("name") == "daslam_no_feedback" and "{attempt" in value:
            raise ValueError("must not hold {attempt} with name 'daslam_no_feedback', which makes none")
        return value

    @field_validator("gate")
    @classmethod
    def _gated(cls, value: str, info: ValidationInfo) -> str:
        if (name := info.data.get("name")) in UNGATED and value != "always":
            raise ValueError(f"name '{name}' decomposes nothing; allowed with it: 'always'")
        return value

    @field_validator("drop_repeats")
    @classmethod
    def _repeats(cls, value: bool, info: ValidationInfo) -> bool:
        if value and (name := info.data.get("name")) in ASKED_AS_WRITTEN:
            raise ValueError(f"name '{name}' writes no list to take repeats out of; allowed with it: false")
        return value

    @field_validator("stop")
    @classmethod
    def _ends_lines(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if (name := info.data.get("name")) in ITERATIVE and "\n" not in value:
            raise ValueError(
                f"name '{name}' has its decomposer write one line at a time; allowed with it: a list with \"\\n\" in "
                f"it, as strategy={name} has, from which to start"
            )
        return value

    @field_validator("concepts")
    @classmethod
    def _shows_concepts(cls, value: bool, info: ValidationInfo) -> bool:
        shown = [info.data.get(key, "{concepts") for key in ("solve_template", "subquestion_template")]
        if value and info.data.get("name") == "lm2" and not any("{concepts" in template for template in shown):
            raise ValueError(
                "name 'lm2' has concepts written for the solver, and neither solve_template nor subquestion_template "
                "has {concepts}; allowed with it: false, or {concepts} in one of them, as strategy=lm2 has, from which "
                "to start"
            )
        return value

    @field_validator("samples", "token_budget")
    @classmethod
    def _drawn(cls, value: int | None, info: ValidationInfo) -> int | None:
        name = info.data.get("name")
        if name not in BUDGETED and value is not None:
            raise ValueError(f"name '{name}' makes no such draws; allowed with it: null")
        if name in BUDGETED and info.field_name == "token_budget" and "samples" in info.data:
            samples = info.data["samples"]
            if (samples is None) == (value is None):
                raise ValueError(f"strategy.samples is {samples!r}; allowed: one of the two, and null for the other")
        return value
