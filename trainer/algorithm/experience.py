"""Experience: the token-level training record made from a scored episode, and batches of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewards.reward import PackedScored, Reward, Sample
from rollout.records import Episode, PackedEpisode
from trainer.algorithm.credit import call_rewards
from trainer.algorithm.rows import Pair, Row, make_rows


@dataclass(frozen=True)
class Experience:
    """What the learner needs of one sample: the rows of its episode, in the order spoken.

    ``group`` numbers, within the batch, the samples that are compared with one another.
    """

    problem_id: str
    rows: list[Row]
    group: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.rows))

    def open(self) -> Experience:
        """Return it as it is."""
        return self


@dataclass(frozen=True)
class PackedExperience:
    """The experience of a packed episode, which is made by the learner ranks, where it is opened."""

    packed: PackedEpisode
    reward: Reward
    credit: str
    group: int

    def open(self) -> Experience:
        """Make the training record; raises ValueError if nothing was sampled in the episode."""
        return make_experience(self.packed.open(), self.reward, self.credit, self.group)


def make_experience(episode: Episode, reward: Reward, credit: str, group: int = 0) -> Experience:
    """Make the training record of a scored episode; raises ValueError if nothing was sampled in it."""
    calls = [call for call in episode.calls if call.token_ids]
    if not calls:
        raise ValueError(f"episode of problem {episode.problem.id} holds no policy tokens")
    paid = [rewards for rewards in call_rewards(episode, reward, credit) if rewards]
    return Experience(episode.problem.id, make_rows(calls, paid), group)


def sample_experience(item: Sample, credit: str, group: int) -> Experience | PackedExperience:
    """Return what the learner needs of a sample, packed if the sample is."""
    if isinstance(item, PackedScored):
        return PackedExperience(item.packed, item.reward, credit, group)
    return make_experience(item.episode, item.reward, credit, group)


@dataclass
class Sequences:
    """Token sequences as tensors, to score their completions. ``pad`` and ``pack`` make them.

    ``ids``, ``positions`` ``[rows, columns]``, ``attention`` likewise or None; ``before`` ``[tokens]``: the places in
    ``ids``, counted row by row, whose outputs predict completion tokens; ``targets`` ``[tokens]``: those tokens;
    ``mask`` ``[batch, completion]``.
    """

    ids: Tensor
    attention: Tensor | None
    positions: Tensor
    before: Tensor
    targets: Tensor
    mask: Tensor

    @property
    def inputs(self) -> dict[str, Tensor | None]:
        """A language model's arguments."""
        return {"input_ids": self.ids, "attention_mask": self.attention, "position_ids": self.positions}

    def predicting(self, outputs: Tensor) -> Tensor:
        """Return of a model's outputs ``[rows, columns, size]`` those that predict targets ``[tokens, size]``."""
        return outputs.flatten(0, 1)[self.before]

    def by_sequence(self, values: Tensor) -> Tensor:
        """Return what was found for ``targets`` as ``[batch, completion]``: a sequence a row, padded on the right."""
        return values.new_zeros(self.mask.shape).masked_scatter(self.mask, values)


def pad(rows: Sequence[Pair], device: torch.device | str = "cpu") -> Sequences:
    """Put a sequence in each row, padded on the right."""
    prompts, ends, mask = _lengths(rows)
    ids = torch.zeros(len(rows), int(ends.max()), dtype=torch.long)
    for row, (prompt, completion) in enumerate(rows):
        ids[row, : len(prompt) + len(completion)] = torch.tensor([*prompt, *completion])
    columns = torch.arange(ids.shape[1]).expand_as(ids)
    attention = columns < ends
    targets = attention & (columns >= prompts)
    before = targets.flatten().nonzero()[:, 0] - 1
    parts = (ids, attention.long(), columns, before, ids[targets], mask)
    return Sequences(*(part.to(device) for part in parts))


def pack(rows: Sequence[Pair], device: torch.device | str = "cpu") -> Sequences:
    """Put all sequences in one row, without padding. Positions begin anew with each: where there is no attention mask,
    transformers' attention takes that as the boundary, and no sequence sees another."""
    ids = torch.tensor([token for prompt, completion in rows for token in (*prompt, *completion)])
    prompts, ends, mask = _lengths(rows)
    lengths = ends[:, 0]
    positions = torch.cat([torch.arange(length) for length in lengths.tolist()])
    # A completion is the end of its sequence.
    targets = positions >= prompts[:, 0].repeat_interleave(lengths)
    before = targets.nonzero()[:, 0] - 1
    parts = (positions[None], before, ids[targets], mask)
    return Sequences(ids[None].to(device), None, *(part.to(device) for part in parts))


def _lengths(rows: Sequence[Pair]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the lengths of prompts and of whole sequences ``[rows, 1]``, and the mask of their completions."""
    prompts = torch.tensor([[len(prompt)] for prompt, _ in rows])
    completions = torch.tensor([[len(completion)] for _, completion in rows])
    return prompts, prompts + completions, torch.arange(int(completions.max())) < completions


def pad_values(rows: Sequence[Sequence[float]], length: int, device: torch.device | str = "cpu") -> Tensor:
    """Return a float tensor ``[batch, length]``, padded on the right."""
    values = torch.zeros(len(rows), length)
    for row, items in enumerate(rows):
        values[row, : len(items)] = torch.tensor(list(items), dtype=torch.float32)
    return values.to(device)


def microbatches(rows: Sequence[Pair], max_tokens: int, *, padded: bool) -> list[list[int]]:
    """Cut indices into groups of similar length, each at most ``max_tokens`` as a tensor (one row at least)."""
    order = sorted(range(len(rows)), key=lambda index: sum(map(len, rows[index])))
    groups: list[list[int]] = []
    for index in order:
        if groups and _tokens([rows[i] for i in (*groups[-1], index)], padded) <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _tokens(rows: Sequence[Pair], padded: bool) -> int:
    """Return the number of tokens in a tensor of these rows."""
    lengths = [len(prompt) + len(completion) for prompt, completion in rows]
    return len(rows) * max(lengths) if padded else sum(lengths)


def minibatches(batch: Sequence[Experience], number: int, generator: torch.Generator) -> list[list[Experience]]:
    """Cut a batch at random into ``number`` parts of nearly equal size; the same parts for the same generator."""
    order = torch.randperm(len(batch), generator=generator)
    return [[batch[index] for index in part.tolist()] for part in torch.tensor_split(order, min(number, len(batch)))]


def shards(experiences: Sequence[Experience], ranks: int) -> list[list[Experience]]:
    """Share a batch out over ranks in equal numbers of whole episodes and nearly equal tokens: longest first, to and
    fro."""
    parts: list[list[Experience]] = [[] for _ in range(ranks)]
    order = sorted(experiences, key=len, reverse=True)
    for start in range(0, len(order), ranks):
        row = order[start : start + ranks]
        turn = range(ranks) if (start // ranks) % 2 == 0 else reversed(range(ranks))
        for rank, experience in zip(turn, row, strict=False):
            parts[rank].append(experience)
    return parts
