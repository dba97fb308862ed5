"""The total reward of an episode: the weighted, clipped sum of its parts, less its penalties, and its turn rewards.

Total = sum over the present parts of weight_k * clip_k(R_k), and of what the verifier's verdicts earn. An absent
part is left out, never counted as 0. A non-finite value or share, and another number of shares than there are
sub-questions, raise ValueError, because they are an error and not a reward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from conf.schema.own_parts import find_part
from conf.schema.rewards import Rewards
from rewards.counts import counts
from rewards.leak import handed_in_texts, measures
from rewards.nouns_and_vectors import TextResources, plain, steps
from rewards.parts import (
    answer_consistency,
    correctness,
    cot_proximity,
    entity_coverage,
    operation_order,
    solver_likelihood,
)
from rewards.penalties import charges
from rewards.reward import Part, Reward
from rewards.verdicts import by_call, judged_turns
from rollout.answers import extract
from rollout.answers.marks import without_thinking
from rollout.records import Episode
from rollout.turn_answer import turn_answer

# The parts in the order in which they are shown. A part is one function.
PART_FUNCTIONS: dict[str, Callable[[Episode, TextResources, Rewards], Part]] = {
    "entity_coverage": entity_coverage.score,
    "answer_consistency": answer_consistency.score,
    "operation_order": operation_order.score,
    "cot_proximity": cot_proximity.score,
    "correctness": correctness.score,
}
# The sixth, which is there only where it is paid.
LIKELIHOOD_FUNCTION = {"solver_likelihood": solver_likelihood.score}


def score_episode(episode: Episode, resources: TextResources, settings: Rewards) -> Reward:
    """Score one episode, after reading the answers that the record lacks from its texts."""
    fill_answers(episode)
    episode = spoken(episode)
    functions = PART_FUNCTIONS | (LIKELIHOOD_FUNCTION if settings.pays_likelihood else {})
    functions |= {name: find_part(place, {}) for name, place in settings.parts.items()}
    parts = {name: _checked(name, score(episode, resources, settings), episode) for name, score in functions.items()}
    concepts, *handed = handed_in_texts(episode)
    charged = charges(episode, handed, concepts)
    penalties = {name: settings.penalty.get(name, 0.0) for name in charged}
    total = -sum(penalties.values())
    by_subquestion = [0.0] * len(episode.subquestions)
    for name, indices in charged.items():
        for index in indices:
            by_subquestion[index] -= penalties[name] / len(indices)
    for name, part in parts.items():
        if part.value is None:
            continue
        weight = settings.weights.get(name, 0.0)
        clipped = settings.clipped(name, part.value)
        total += weight * clipped
        # A clipped part's shares shrink with it, so that they still add up to what is paid. Shares that cancel out are
        # paid as they are.
        paid = weight * (clipped / part.value if part.value else 1.0)
        for index, share in enumerate(part.by_subquestion or ()):
            by_subquestion[index] += paid * share
    judged = judged_turns(episode, settings)
    total += sum(one.value for one in judged)
    return Reward(
        parts={name: part.value for name, part in parts.items()},
        total=total,
        penalties=penalties,
        by_subquestion=by_subquestion,
        correct=extract.score(episode.problem, episode.final.answer),
        correct_initial=extract.score(episode.problem, episode.initial.answer) if episode.initial else None,
        measures=measures(handed, concepts) if episode.decomposition else {},
        shares={name: part.by_subquestion for name, part in parts.items() if part.by_subquestion is not None},
        by_call=by_call(episode, judged),
        counts=counts(episode),
    )


def _checked(name: str, part: Part, episode: Episode) -> Part:
    """Return a part with Python's own numbers, which an episode record can hold: a part of the user's may compute with
    NumPy. Raises ValueError that names the part."""
    whose = f"{name} of problem {episode.problem.id}"
    try:
        value = None if part.value is None else float(part.value)
        shares = None if part.by_subquestion is None else [float(share) for share in part.by_subquestion]
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{whose} is no Part of numbers ({error})") from None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{whose} is {value}")
    if shares is not None and len(shares) != len(episode.subquestions):
        raise ValueError(f"{whose} has {len(shares)} shares for {len(episode.subquestions)} sub-questions")
    if unpayable := [share for share in shares or () if not math.isfinite(share)]:
        raise ValueError(f"{whose} has a share that is {unpayable[0]}")
    return Part(value, shares)


def warm(episodes: Sequence[Episode], resources: TextResources, settings: Rewards) -> None:
    """Compute, in two batches, the values that scoring these episodes will look up."""
    bounded = settings.formulas == "bounded"
    tagged, vectors = [], []
    for given in episodes:
        fill_answers(given)
        episode = spoken(given)
        asked, problem = episode.subquestions, episode.problem
        tagged += [plain(text) for text in (problem.question, *asked)]
        if not bounded:
            replies = [answer_consistency.valued_sentence(turn, problem.answer_type) for turn in episode.turns]
            tagged += [*asked, *replies]
            vectors += [*asked, *(turn.text for turn in episode.turns)]
        if problem.solution is not None:
            for text in (problem.solution, episode.final.text, episode.initial and episode.initial.text):
                vectors += steps(text or "")
    resources.tagged_nouns(tagged)
    resources.vectors(vectors)


def spoken(episode: Episode) -> Episode:
    """Return an episode with what its solver said, without its thinking: no later prompt shows that either."""
    turns = [replace(turn, text=without_thinking(turn.text)) for turn in episode.turns]
    initial, final = (
        attempt and replace(attempt, text=without_thinking(attempt.text))
        for attempt in (episode.initial, episode.final)
    )
    return replace(episode, turns=turns, initial=initial, final=final or episode.final)


def fill_answers(episode: Episode) -> None:
    """Fill in the answers that the record lacks by reading them from its texts."""
    kind, choices = episode.problem.answer_type, episode.problem.choices
    for attempt in (episode.initial, episode.final):
        if attempt is not None and attempt.answer is None:
            attempt.answer = extract.extract(attempt.text, kind, choices).answer
    for turn in episode.turns:
        if turn.answer is None:
            turn.answer = turn_answer(turn, kind)
