"""The total reward of an episode: the weighted, clipped sum of its five parts, less its penalties.

Total = sum over the present parts of weight_k * clip_k(R_k). An absent part is left out, never counted as 0.
A non-finite value raises ValueError: it is an error, not a reward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from conf.schema.own_parts import find_part
from conf.schema.rewards import Rewards
from rewards.nouns_and_vectors import TextResources, plain, sentences, steps, words
from rewards.parts import answer_consistency, correctness, cot_proximity, entity_coverage, operation_order
from rewards.reward import Part, Reward
from rollout.answers import extract
from rollout.records import Episode

# The parts in the order in which they are shown. A part is one function.
PART_FUNCTIONS: dict[str, Callable[[Episode, TextResources, Rewards], Part]] = {
    "entity_coverage": entity_coverage.score,
    "answer_consistency": answer_consistency.score,
    "operation_order": operation_order.score,
    "cot_proximity": cot_proximity.score,
    "correctness": correctness.score,
}


def score_episode(episode: Episode, resources: TextResources, settings: Rewards) -> Reward:
    """Score one episode. Answers missing from the record are read from the texts first."""
    fill_answers(episode)
    functions = PART_FUNCTIONS | {name: find_part(place, {}) for name, place in settings.parts.items()}
    parts = {name: score(episode, resources, settings) for name, score in functions.items()}
    charged = _penalties(episode)
    penalties = {name: settings.penalty.get(name, 0.0) for name in charged}
    total = -sum(penalties.values())
    by_subquestion = [0.0] * len(episode.subquestions)
    for name, index in charged.items():
        if index is not None:
            by_subquestion[index] -= penalties[name]
    for name, part in parts.items():
        if part.value is None:
            continue
        if not math.isfinite(part.value):
            raise ValueError(f"{name} of problem {episode.problem.id} is {part.value}")
        weight = settings.weights.get(name, 0.0)
        clipped = settings.clipped(name, part.value)
        total += weight * clipped
        # A clipped part's shares shrink with it, so that they still add up to what is paid.
        paid = weight * (clipped / part.value if part.value else 0.0)
        for index, share in enumerate(part.by_subquestion or ()):
            by_subquestion[index] += paid * share
    return Reward(
        parts={name: part.value for name, part in parts.items()},
        total=total,
        penalties=penalties,
        by_subquestion=by_subquestion,
        correct=extract.score(episode.problem, episode.final.answer),
        correct_initial=extract.score(episode.problem, episode.initial.answer) if episode.initial else None,
        shares={name: part.by_subquestion for name, part in parts.items() if part.by_subquestion is not None},
    )


def warm(episodes: Sequence[Episode], resources: TextResources) -> None:
    """Compute in two batches what scoring these episodes will look up."""
    nouns, vectors = [], []
    for episode in episodes:
        fill_answers(episode)
        asked = episode.subquestions
        nouns += [plain(text) for text in (episode.problem.question, *asked)]
        nouns += [*asked, *(answer_consistency.valued_sentence(turn) for turn in episode.turns)]
        vectors += [*asked, *(turn.text for turn in episode.turns)]
        if episode.problem.solution is not None:
            for text in (episode.problem.solution, episode.final.text, episode.initial and episode.initial.text):
                vectors += steps(text or "")
    resources.nouns(nouns)
    resources.vectors(vectors)


def fill_answers(episode: Episode) -> None:
    """Read the answers that the record lacks from its texts."""
    kind, choices = episode.problem.answer_type, episode.problem.choices
    for attempt in (episode.initial, episode.final):
        if attempt is not None and attempt.answer is None:
            attempt.answer = extract.extract(attempt.text, kind, choices).answer
    for turn in episode.turns:
        if turn.answer is None:
            turn.answer = extract.extract(turn.text, "number").answer


def is_copy(subquestion: str, question: str) -> bool:
    """Return whether a sub-question only repeats the question or what it asks (its last sentence)."""
    return words(subquestion) in (words(question), words((sentences(question) or [""])[-1]))


def _penalties(episode: Episode) -> dict[str, int | None]:
    """Return what is charged, each once, and the first sub-question that earned it: ``copy`` for repeating the
    question, ``repeat`` for repeating an earlier one, ``invalid`` (of no one sub-question) for a decomposition that
    could not be used as written."""
    charged: dict[str, int | None] = {}
    seen: set[tuple[str, ...]] = set()
    for index, text in enumerate(episode.subquestions):
        if is_copy(text, episode.problem.question):
            charged.setdefault("copy", index)
        if tuple(words(text)) in seen:
            charged.setdefault("repeat", index)
        seen.add(tuple(words(text)))
    if episode.decomposition and episode.decomposition.invalid:
        charged["invalid"] = None
    return charged
