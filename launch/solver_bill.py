"""Estimate what a run asks its served solvers and what that costs at most, by stage, from the configuration alone.

The counts are those of episodes in which nothing fails: what is asked again is not in them, and what the cache answers
is. docs/solvers.md has the formula.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from conf.schema.config import Config
from conf.schema.own_parts import is_own
from conf.schema.solver import OpenAISolver
from conf.schema.strategy import UNGATED
from rollout.data.source import Source
from rollout.episode.prompts import Prompts
from rollout.options import with_options
from rollout.solvers.openai import BYTES_A_TOKEN, TEMPLATE_TOKENS
from rollout.strategies import DECOMPOSE_ONLY
from rollout.strategies.self_consistency import MAX_DRAWS
from trainer.stages.evaluation import kinds_at_start, kinds_before
from trainer.stages.fine_tuning import with_subquestions
from trainer.stages.fine_tuning_examples import decomposing, is_run, screened, shares
from trainer.workers.solver_account import priced

# Of a sub-question, where it is put and where a later prompt shows it.
SUBQUESTION_TOKENS = 32
# Problems that are looked at for the length of a question and the number of the data's own sub-questions.
LOOKED_AT = 100
# Strategies that ask for no whole answer before the sub-questions, and those that ask for no other.
WITHOUT_ATTEMPT, WITHOUT_SUBQUESTIONS = ("daslam_no_feedback",), ("direct", "monolith", "self_consistency")


@dataclass(frozen=True)
class Data:
    """Figures of the data that the estimate needs: tokens of the longest question, the fewest and most sub-questions
    that it has itself, the kinds of the first evaluation; and, as far as a run counts them, the held-out problems,
    those of them that have sub-questions, and the training problems, None without end."""

    question_tokens: int
    subquestions: tuple[int, int]
    kinds: Sequence[str]
    held_out: int
    with_subquestions: int
    training: int | None


@dataclass(frozen=True)
class Asked:
    """Requests, the fewest and the most, and the tokens that are read and written at most."""

    fewest: int = 0
    most: int = 0
    read: int = 0
    written: int = 0

    def __add__(self, other: Asked) -> Asked:
        return Asked(
            self.fewest + other.fewest, self.most + other.most, self.read + other.read, self.written + other.written
        )

    def times(self, count: float) -> Asked:
        """Return this as often as that, in whole numbers."""
        return Asked(*(round(count * value) for value in (self.fewest, self.most, self.read, self.written)))

    def cost(self, solver: OpenAISolver) -> float:
        """Return what the tokens cost."""
        return (self.read * solver.price_prompt + self.written * solver.price_completion) / 1e6


@dataclass(frozen=True)
class Episodes:
    """Episodes of a stage that go the same way; ``subquestions``: the fewest and the most."""

    stage: str
    count: int
    strategy: str
    subquestions: tuple[int, int] = (0, 0)


def looked_at(config: Config, source: Source) -> Data:
    """Return what the estimate takes from the data."""
    evaluation, measured = config.evaluation, config.sft.held_out
    problems = source.held_out(max(LOOKED_AT, evaluation.problems, evaluation.subset))
    looked, evaluated = problems[:LOOKED_AT], problems[: evaluation.problems]
    longest = max((len(with_options(one.question, one.choices, one.answer_type).encode()) for one in looked), default=0)
    given = [len(problem.subquestions) for problem in looked if problem.subquestions is not None] or [0]
    lessons = with_subquestions(source, max(measured.problems, measured.scored)) if "sft" in config.stages else []
    kinds = [*kinds_at_start(config, evaluated), *kinds_before(config, evaluated)[0]]
    return Data(
        -(-longest // BYTES_A_TOKEN), (min(given), max(given)), kinds, len(problems), len(lessons),
        len(source.rows) or None,
    )  # fmt: skip


def episodes(config: Config, data: Data) -> Iterator[Episodes]:
    """Yield the episodes of each stage of a run."""
    name, sft, stages = config.strategy.name, config.sft, config.stages
    own, written = (0, config.strategy.max_subquestions), decomposing(config.strategy)
    if "sft" in stages:
        attempts = min(sft.held_out.problems, data.with_subquestions)
        for key, share in shares(sft.problems, {key: one.weight for key, one in sft.sources.items()}).items():
            source = sft.sources[key]
            if is_run(config, source):
                count = share * (source.samples if source.kind == "distilled" else 1)
                given = (0, data.subquestions[1] + 1) if source.kind == "data" else own
                yield Episodes("stage 1", count, name if screened(config, source) else written, given)
            else:
                # A problem that is drawn again has its attempt.
                attempts += share if source.kind == "file" or data.training is None else min(share, data.training)
        if sft.role == "decomposer":
            if Prompts(config.strategy).read_attempt:
                yield Episodes("stage 1", attempts, "direct")
            scored = sft.held_out.scored
            compared = 2 * (min(scored, data.with_subquestions) + scored * len(sft.held_out.also))
            yield Episodes("stage 1", compared, written, own)
    evaluated, subset = (min(one, data.held_out) for one in (config.evaluation.problems, config.evaluation.subset))
    if "evaluate" in stages:
        for kind in data.kinds:
            given = data.subquestions if kind in ("gold", "filler") else own
            strategy = "direct" if kind == "direct" else name
            yield Episodes("evaluation", evaluated, strategy, given)
    if "ppo" in stages:
        steps, on_the_way = config.algorithm.steps, config.evaluation.every
        yield Episodes("stage 2 (PPO)", steps * config.algorithm.batch_size, name, own)
        if on_the_way:
            yield Episodes("evaluations on the way", steps // on_the_way * subset, name, own)
        if "evaluate" in stages:
            yield Episodes("last evaluation", evaluated, name, own)


def of_solver(config: Config, solver: OpenAISolver, kind: Episodes, question_tokens: int) -> Asked:
    """Return what an episode asks the solver."""
    few, many = kind.subquestions
    settings, name = config.strategy, kind.strategy
    wholes, finals = 1 - (name in WITHOUT_ATTEMPT), 1
    fewest = wholes + few + finals
    if name == DECOMPOSE_ONLY:
        wholes, many, finals = int(Prompts(settings).read_attempt), 0, 0
        fewest = wholes
    elif name in WITHOUT_SUBQUESTIONS:
        draws = name == "self_consistency"
        wholes, many, finals = ((settings.samples or MAX_DRAWS) if draws else 1), 0, 0
        fewest = (settings.samples or 1) if draws else 1
    if settings.gate != "always" and name not in (*UNGATED, DECOMPOSE_ONLY):  # its draws may agree, which ends it
        fewest, wholes = settings.gate_samples, wholes + settings.gate_samples
    alone, turn, answers = _alone(config, question_tokens), _turn(solver), many * _written(config)
    read = wholes * alone + _written(config) * _in_sequence(many, alone, turn) + finals * (alone + many * turn)
    written = (wholes + finals) * solver.max_tokens_solve + answers * solver.max_tokens_subquestion
    return Asked(fewest, wholes + answers + finals, read, written)


def of_verifier(config: Config, verifier: OpenAISolver, kind: Episodes, question_tokens: int) -> Asked:
    """Return what an episode asks the verifier: of every answer to a sub-question, with those before in view."""
    few, many = kind.subquestions if kind.strategy not in (*WITHOUT_SUBQUESTIONS, DECOMPOSE_ONLY) else (0, 0)
    longest = max((_turn(solver) for solver in config.solvers.values()), default=0)
    times = _written(config)
    read = times * _in_sequence(many, _alone(config, question_tokens) + longest, longest)
    gated = config.strategy.gate != "always"
    return Asked(0 if gated else few, many * times, read, many * times * verifier.max_tokens_solve)


def _written(config: Config) -> int:
    """Return how often a sub-question is written and answered at most."""
    return 1 + (config.strategy.retries if config.strategy.name == "lm2" and config.verifier is not None else 0)


def _alone(config: Config, question_tokens: int) -> int:
    """Return the tokens of a prompt without sub-questions: examples, question, template, concepts."""
    settings = config.strategy
    shown = sum(len(example.model_dump_json().encode()) for example in settings.examples) // BYTES_A_TOKEN
    concepts = settings.max_tokens if settings.name == "lm2" and settings.concepts else 0
    return shown + question_tokens + TEMPLATE_TOKENS + concepts


def _turn(solver: object) -> int:
    """Return the tokens of a sub-question and its answer at most, as later prompts show them."""
    return SUBQUESTION_TOKENS + int(getattr(solver, "max_tokens_subquestion", 0))


def _in_sequence(count: int, alone: int, turn: int) -> int:
    """Return the tokens that ``count`` sub-questions read, each with those before it in view."""
    return count * (alone + SUBQUESTION_TOKENS) + turn * count * (count - 1) // 2


def bill(config: Config, role: str, data: Data) -> dict[str, Asked]:
    """Return by stage what is asked of a served role, by its dotted key; nothing where that is not known beforehand, or
    where the role is not asked."""
    served, found = config.frozen[role], dict[str, Asked]()
    if not isinstance(served, OpenAISolver) or is_own(config.strategy.name) or config.rollout.replay is not None:
        return {}
    if role != "verifier" and config.policy.solves:
        return {}
    count = of_verifier if role == "verifier" else of_solver
    share = getattr(served, "weight", 1.0) / sum(getattr(one, "weight", 1.0) for one in config.solvers.values())
    for kind in episodes(config, data):
        one = count(config, served, kind, data.question_tokens).times(kind.count)
        found[kind.stage] = found.get(kind.stage, Asked()) + (one if role == "verifier" else one.times(share))
    return {stage: asked for stage, asked in found.items() if asked.most}


def show_bill(config: Config, source: Source, console: Console, *, without_prices: bool = False) -> None:
    """Print a table for each served role that has prices; ``without_prices`` for the others too."""
    asked_of = {
        role: served
        for role, served in config.frozen.items()
        if isinstance(served, OpenAISolver) and (without_prices or priced(served))
    }
    if not asked_of:
        return
    data = looked_at(config, source)
    for role, served in asked_of.items():
        stages = bill(config, role, data)
        if not stages:
            console.print(f"what the {role} will be asked cannot be said beforehand", markup=False, soft_wrap=True)
            continue
        whole = sum(stages.values(), Asked())
        table = Table(title=f"What the {role} will be asked", title_justify="left")
        for column in ("stage", "requests", "tokens at most", *(["cost at most"] if priced(served) else [])):
            table.add_column(column, justify="right" if table.columns else "left")
        for stage, asked in (*stages.items(), ("together", whole)):
            if stage == "together":
                table.add_section()
            requests = f"{asked.most:,}" if asked.fewest == asked.most else f"{asked.fewest:,} – {asked.most:,}"
            cost = [f"{asked.cost(served):.3g}"] if priced(served) else []
            table.add_row(stage, requests, f"{asked.read + asked.written:,}", *cost)
        console.print(table)
        if served.budget_cost is not None and whole.cost(served) > served.budget_cost:
            said = f"the budget may end the run before that ({role}.budget_cost={served.budget_cost:g})"
            console.print(said, highlight=False, markup=False, soft_wrap=True)
