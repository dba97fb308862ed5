"""Explain a reward: ``python -m rewards.explain EPISODES.jsonl [--problem ID | --line N] [--mode MODE]``.

For one episode of the file (by default the first), print what each part looked at and what it computed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from conf.schema.rewards import LIKELIHOOD, Rewards
from rewards.actor import time_limit
from rewards.leak import handed_in_concepts, handed_over
from rewards.nouns_and_vectors import TextResources
from rewards.parts import answer_consistency, cot_proximity, entity_coverage, operation_order, solver_likelihood
from rewards.parts.arithmetic_in_text import aligned
from rewards.parts.gold_steps import gold_steps
from rewards.reward import Reward
from rewards.score import arguments_of, read_episodes, settings_of
from rewards.total import score_episode, spoken
from rewards.verdicts import judged_turns
from rollout.answers import extract
from rollout.options import with_options
from rollout.records import Episode
from rollout.show import write

ROWS = 40  # of a sequence or a list of steps; more is no account


def explain(episode: Episode, resources: TextResources, settings: Rewards) -> RenderableType:
    """Return the explanation of one episode, for rich to print. Raises ValueError if the episode cannot be scored."""
    given = [attempt.answer if attempt else None for attempt in (episode.initial, episode.final)]
    reward = score_episode(episode, resources, settings)
    episode = spoken(episode)
    problem = episode.problem
    question = with_options(problem.question, problem.choices, problem.answer_type)
    accounts: dict[str, RenderableType] = {
        "entity_coverage": _entities(episode, resources, settings.formulas),
        "answer_consistency": _consistency(episode, resources, settings),
        "operation_order": _order(episode, settings.formulas),
        "cot_proximity": _proximity(episode, resources, settings.formulas),
        "correctness": _correctness(episode, given, reward),
        LIKELIHOOD: _likelihood(episode, settings),
    }
    return Group(
        _panel("problem", Text(f"{problem.id} ({problem.source or 'no source'})\n{question}")),
        *(_panel(f"{name} {_shown(value)}", accounts.get(name, "")) for name, value in reward.parts.items()),
        *([_panel("handed over", _handed(episode, reward.measures))] if reward.measures else []),
        *([_panel("verdicts", _verdicts(episode, settings))] if settings.verdicts else []),
        _panel(f"total ({settings.mode})", *_total(episode, reward, settings)),
    )


def _shown(value: float | None) -> str:
    return "absent" if value is None else f"{value:.3f}"


def _panel(title: str, *content: RenderableType) -> Panel:
    return Panel(Group(*content), title=title, title_align="left")


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _words(nouns: frozenset[str]) -> Text:
    return Text(", ".join(sorted(nouns)) or "none")


def _entities(episode: Episode, resources: TextResources, mode: str) -> Table:
    wanted, each = entity_coverage.nouns_of(episode, resources, mode)
    found: frozenset[str] = frozenset().union(*each)
    table = _table("", "nouns")
    table.add_row("in the question", _words(wanted))
    table.add_row("covered", _words(wanted & found))
    table.add_row("missed", _words(wanted - found))
    table.add_row("only in sub-questions", _words(found - wanted))
    return table


def _consistency(episode: Episode, resources: TextResources, settings: Rewards) -> RenderableType:
    if settings.formulas == "bounded":
        return _replies(episode, resources, settings)
    table = _table("sub-question", "reply", "entity asked", "entity answered", "same", "cosine", "value")
    for entry in answer_consistency.consistency_entries(episode, resources, settings)[0]:
        table.add_row(
            Text(entry.question),
            Text(entry.reply),
            _words(entry.asked),
            _words(entry.answered),
            "yes" if entry.match else "no",
            f"{entry.cosine:.2f}",
            f"{entry.value:.3f}",
        )
    return table if episode.subquestions else "no sub-questions"


def _replies(episode: Episode, resources: TextResources, settings: Rewards) -> RenderableType:
    entries, missing = answer_consistency.consistency_entries(episode, resources, settings)
    table = _table("sub-question", "reply", "asked for", "expected", "value")
    gold = gold_steps(episode.problem)
    for entry in entries:
        expected = gold.expected(entry.question)
        table.add_row(Text(entry.question), Text(entry.reply), entry.kind, Text(expected or "-"), f"{entry.value:.3f}")
    if missing:
        table.add_row(Text(f"steps of the gold solution that nobody took: {missing}", "yellow"), "", "", "", "0.000")
    return table if entries else "no sub-questions"


def _handed(episode: Episode, measured: dict[str, float]) -> Table:
    table = _table("", *(f"{name} {value:.3f}" for name, value in measured.items()))
    texts, found = list(episode.subquestions), handed_over(episode)
    if episode.concepts:
        texts, found = [f"concepts: {episode.concepts}", *texts], [handed_in_concepts(episode), *found]
    for question, one in zip(texts, found, strict=True):
        values = ", ".join(f"{value.normalize():f}" for value in sorted(one.values))
        table.add_row(Text(question), values or "-", "yes" if one.answer else "-")
    return table


def _order(episode: Episode, mode: str) -> RenderableType:
    both = operation_order.sequences(episode, mode)
    if both is None:
        return "no gold solution"
    table = _table("gold solution", "guided solution")
    pairs = aligned(*(side[:ROWS] for side in both))
    for gold, guided in pairs:
        table.add_row(gold or "-", guided or "-", style="" if gold and guided else "yellow")
    return table if pairs else "no operations on either side"


def _proximity(episode: Episode, resources: TextResources, mode: str) -> RenderableType:
    found = cot_proximity.aligned_steps(episode, resources, mode)
    if found is None:
        return "no gold solution"
    table = _table("gold step", "guided", "cosine", "initial", "cosine")
    for step in found[:ROWS]:
        table.add_row(
            Text(step.gold), Text(step.guided or "-"), f"{step.cosine:.2f}",
            Text(step.initial or "-"), f"{step.cosine_initial:.2f}",
        )  # fmt: skip
    return table if found else "no step has a counterpart"


def _correctness(episode: Episode, given: Sequence[str | None], reward: Reward) -> Table:
    table = _table("", "answer", "found by", "right")
    problem = episode.problem
    table.add_row("gold", Text(problem.answer), problem.answer_type, "")
    marks = (reward.correct_initial, reward.correct)
    attempts = (episode.initial, episode.final)
    for name, attempt, answer, mark in zip(("initial", "guided"), attempts, given, marks, strict=True):
        if attempt is None:
            continue
        read = extract.extract(attempt.text, problem.answer_type, problem.choices)
        rule = "given in the record" if answer else read.rule
        table.add_row(name, Text(attempt.answer or "none"), rule, f"{mark:g}")
    return table


def _verdicts(episode: Episode, settings: Rewards) -> RenderableType:
    table = _table("sub-question", "k", "verdict", "policy call", "turn reward")
    judged = judged_turns(episode, settings)
    for one in judged:
        call = "none" if one.call is None else str(one.call)
        said = ", ".join(one.turn.verdicts) + (" (written again)" if one.refused else "")
        table.add_row(Text(one.turn.question), str(one.k), Text(said), call, f"{one.value:+.3f}")
    return table if judged else "nobody judged"


def _likelihood(episode: Episode, settings: Rewards) -> RenderableType:
    values = episode.gold_logprobs
    if not values:
        return "not measured"
    table = _table("turn", "log p(gold answer)", f"gain, floor {settings.likelihood_floor:g}")
    table.add_row("none in view", f"{values[0]:.3f}", "")
    gains = solver_likelihood.gains(values, settings.likelihood_floor)
    for turn, value, gain in zip(episode.turns, values[1:], gains, strict=False):
        table.add_row(Text(turn.question), f"{value:.3f}", f"{gain:+.3f}")
    return table


def _total(episode: Episode, reward: Reward, settings: Rewards) -> list[RenderableType]:
    asked = episode.subquestions
    table = _table("part", "value", "clip", "weight", "adds")
    for part, value in reward.parts.items():
        bounds, weight = settings.clip.get(part), settings.weights.get(part, 0.0)
        if value is None:
            table.add_row(part, "absent", "", f"{weight:g}", "left out")
            continue
        paid = settings.clipped(part, value)
        limits = "" if bounds is None else f"[{bounds[0]:g}, {bounds[1]:g}]"
        table.add_row(part, f"{value:.3f}", limits, f"{weight:g}", f"{weight * paid:+.3f}")
    for name, charge in reward.penalties.items():
        table.add_row(f"penalty: {name}", "", "", "", f"{-charge:+.3f}")
    if settings.verdicts:
        earned = sum(one.value for one in judged_turns(episode, settings))
        table.add_row("verdicts", "", "", "", f"{earned:+.3f}")
    table.add_row("total", "", "", "", f"{reward.total:+.3f}", style="bold")
    if not asked:
        return [table]
    shares = _table("sub-question", "its share of the total")
    for question, share in zip(asked, reward.by_subquestion, strict=True):
        shares.add_row(Text(question), f"{share:+.3f}")
    return [table, "", shares]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = arguments_of("rewards.explain", "Explain the reward of one saved episode.")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--problem", help="the first episode of this problem id")
    which.add_argument("--line", type=int, help="the episode of this line")
    options = parser.parse_args(arguments)
    if not options.episodes.is_file():
        parser.error(f"cannot read {options.episodes}: no such file")
    for number, episode in read_episodes(options.episodes):
        if options.line is not None and number != options.line:
            continue
        if isinstance(episode, str):
            if options.problem is not None:
                continue
            sys.stderr.write(f"line {number}: {episode}\n")
            return 1
        if options.problem not in (None, episode.problem.id):
            continue
        resources = TextResources()
        resources.load()
        try:
            console = Console()
            with time_limit(60), console.capture() as capture:
                console.print(explain(episode, resources, settings_of(options, parser)))
            write(sys.stdout, capture.get())
        except ValueError as error:
            sys.stderr.write(f"line {number}: {error}\n")
            return 1
        return 0
    wanted = f"problem {options.problem!r}" if options.problem is not None else f"line {options.line or 1}"
    sys.stderr.write(f"{options.episodes} holds no episode of {wanted}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
