"""A batch as the losses take it: experiences as tensors, with what is recomputed when a step begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conf.schema.learning import Algorithm
from conf.schema.own_parts import find_part, is_own
from trainer.algorithm.advantages import estimate, group_moments, moments, scores, whiten
from trainer.algorithm.end_to_end import EndToEnd, end_to_end
from trainer.algorithm.experience import Experience, pad_values
from trainer.algorithm.rows import Pair


@dataclass(frozen=True)
class SampledBatch:
    """One rank's share of a batch as it was sampled, before anything is recomputed.

    ``rows`` are the token ids of all experiences' rows, one after the other. Tensors are ``[batch, time]``, a row each,
    padded on the right; ``ends`` is true at the last token of each policy call, the others are as ``TakenBatch``'s.
    ``episodes`` lays the rows of each experience end to end; ``groups`` ``[episodes]`` numbers its group.
    """

    rows: Sequence[Pair]
    mask: Tensor
    ends: Tensor
    behaviour: Tensor
    versions: Tensor
    rewards: Tensor
    lengths: Tensor
    episodes: EndToEnd
    groups: Tensor


@dataclass(frozen=True)
class TakenBatch:
    """One rank's share of a batch: ``rows`` are prompts and completions as token ids, the tensors are
    ``[batch, time]``, a row of an experience each, padded on the right to the longest completion.

    ``mask`` is true at policy tokens, and ``ends`` at the last one of each policy call. ``proximal``, ``reference`` and
    ``behaviour`` are log-probabilities: under the weights at the step's beginning, of the frozen policy, and of those
    that sampled, which were of ``versions``. ``values``, ``entropies`` and ``kl`` (to the reference) are of the step's
    beginning too. Without a reference policy ``reference`` and ``kl`` are None. ``lengths`` ``[batch]`` counts the
    policy tokens of the experience that a row is of.
    """

    rows: Sequence[Pair]
    mask: Tensor
    ends: Tensor
    proximal: Tensor
    values: Tensor
    reference: Tensor | None
    entropies: Tensor
    behaviour: Tensor
    advantages: Tensor
    returns: Tensor
    kl: Tensor | None
    versions: Tensor
    lengths: Tensor

    def not_finite(self) -> list[str]:
        """Return the names of the tensors that are NaN or infinite at a policy token."""
        present = {name: value for name, value in self._token_tensors().items() if value is not None}
        return [name for name, value in present.items() if not value[self.mask].isfinite().all()]

    def pick(self, chosen: Sequence[int], length: int) -> TakenBatch:
        """Return the chosen rows, the tensors cut to ``[chosen, length]``."""
        tensors = self._token_tensors()
        picked: dict[str, Any] = {
            name: None if value is None else value[chosen, :length] for name, value in tensors.items()
        }
        return TakenBatch([self.rows[index] for index in chosen], **picked, lengths=self.lengths[chosen])

    def _token_tensors(self) -> dict[str, Tensor | None]:
        names = [field.name for field in fields(self) if field.name not in ("rows", "lengths")]
        return {name: getattr(self, name) for name in names}


def sampled_batch(batch: Sequence[Experience], device: torch.device | str = "cpu") -> SampledBatch:
    """Return experiences as tensors."""
    rows = [row for experience in batch for row in experience.rows]
    lengths = [[len(row.token_ids) for row in experience.rows] for experience in batch]
    width = max(max(each) for each in lengths)
    mask = pad_values([row.mask for row in rows], width, device).bool()
    episodes = end_to_end(lengths, device)
    number_of_rows = torch.tensor([len(experience.rows) for experience in batch], device=device)
    return SampledBatch(
        [row.pair for row in rows],
        mask,
        pad_values([row.ends for row in rows], width, device).bool(),
        pad_values([row.logprobs for row in rows], width, device),
        pad_values([row.versions for row in rows], width, device),
        pad_values([row.rewards for row in rows], width, device),
        episodes.lay(mask).sum(1).repeat_interleave(number_of_rows),
        episodes,
        torch.tensor([experience.group for experience in batch], device=device),
    )


def estimate_advantages(
    algorithm: Algorithm,
    batch: SampledBatch,
    rewards: Tensor,
    values: Tensor,
    groups: int,
    add: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Return advantages, whitened if so configured, and the critic's targets ``[batch, time]``, zero off the mask.

    ``rewards`` and ``values`` are ``[batch, time]`` too; ``groups`` is the number of those of all ranks, over which
    ``add`` adds a tensor up. The estimators see each experience's rows end to end.
    """
    lay, cut = batch.episodes.lay, batch.episodes.cut
    mask, rewards, values = lay(batch.mask), lay(rewards), lay(values)
    total = add(group_moments(scores(rewards, mask), batch.groups, groups))
    how = algorithm.advantage
    known = partial(estimate, how, call_ends=lay(batch.ends), call_gamma=algorithm.call_gamma)
    estimator: Callable[..., tuple[Tensor, Tensor]] = find_part(how, {}) if is_own(how) else known
    settings = {"gamma": algorithm.gamma, "lam": algorithm.lam, "scale": algorithm.group_std}
    advantages, returns = estimator(rewards, values, mask, batch.groups, total, **settings)
    if algorithm.whiten:
        advantages = whiten(advantages, mask, add(moments(advantages, mask)))
    return cut(advantages), cut(returns)
