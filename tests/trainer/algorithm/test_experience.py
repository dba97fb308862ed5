import random

import pytest
import torch

from rewards.reward import Reward
from rollout.records import Attempt, Episode, PolicyCall, Problem
from tests.trainer.ranks import make_calls_batch
from trainer.algorithm.experience import Experience, make_experience, microbatches, minibatches, pack, pad, shards
from trainer.algorithm.rows import Row


def test_padded_sequences_stand_in_rows_of_one_length():
    batch = pad([([5, 6], [7]), ([1], [2, 3, 4])])
    assert batch.ids.tolist() == [[5, 6, 7, 0], [1, 2, 3, 4]]
    assert batch.attention.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch.positions.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.before.tolist() == [1, 4, 5, 6]
    assert batch.targets.tolist() == [7, 2, 3, 4]
    assert batch.by_sequence(batch.targets).tolist() == [[7, 0, 0], [2, 3, 4]]
    assert batch.predicting(batch.ids[..., None])[:, 0].tolist() == [6, 1, 2, 3]


def test_packed_sequences_stand_in_one_row_and_come_apart_again():
    batch = pack([([5, 6], [7]), ([1], [2, 3]), ([8, 9], [4])])
    assert batch.ids.tolist() == [[5, 6, 7, 1, 2, 3, 8, 9, 4]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 2, 0, 1, 2]]
    assert batch.attention is None
    assert batch.before.tolist() == [1, 3, 4, 7]
    assert batch.targets.tolist() == [7, 2, 3, 4]
    assert batch.mask.tolist() == [[True, False], [True, True], [True, False]]
    assert batch.by_sequence(batch.targets).tolist() == [[7, 0], [2, 3], [4, 0]]


@pytest.mark.parametrize("padded", [True, False])
def test_microbatches_hold_every_row_once_within_the_budget(padded):
    rng = random.Random(0)
    rows = [([0] * rng.randint(1, 60), [0] * rng.randint(1, 30)) for _ in range(200)]
    groups = microbatches(rows, 300, padded=padded)
    assert sorted(index for group in groups for index in group) == list(range(200))
    tensors = [(pad if padded else pack)([rows[i] for i in group]) for group in groups]
    assert all(tensor.ids.numel() <= 300 for tensor in tensors)
    # One row more, and it would not have fitted.
    assert sum(tensor.ids.numel() for tensor in tensors[:-1]) / (len(tensors) - 1) > 300 - 90
    assert microbatches([([0] * 1000, [0])], 300, padded=padded) == [[0]]


def test_microbatches_pad_rows_of_several_calls_little():
    # As in episodes of one to six calls: what lies between the calls is part of the completion.
    rng = random.Random(0)
    rows = [([0] * rng.randint(40, 120), [0] * (25 * rng.randint(1, 6) + rng.randint(0, 10))) for _ in range(200)]
    tensors = [pad([rows[i] for i in group]) for group in microbatches(rows, 1024, padded=True)]
    real = sum(len(prompt) + len(completion) for prompt, completion in rows)
    # Ordered by their completions they would take 1.14.
    assert sum(tensor.ids.numel() for tensor in tensors) < 1.1 * real


@pytest.mark.parametrize("most", [1, 6])
def test_shards_are_even_in_number_of_whole_episodes_and_nearly_in_tokens(most):
    rng = random.Random(0)

    def rows(count: int) -> list[Row]:
        return [Row([0] * rng.randint(1, 200), [0], [0.0], [0], [0.0]) for _ in range(count)]

    batch = [Experience(str(i), rows(1 + i % most)) for i in range(64)]
    parts = shards(batch, 4)
    assert [len(part) for part in parts] == [16] * 4
    assert sorted(int(item.problem_id) for part in parts for item in part) == list(range(64))
    tokens = [sum(len(item) for item in part) for part in parts]
    assert max(tokens) / min(tokens) < 1.05


def test_experience_keeps_ids_and_pays_subquestions_where_they_end():
    call = PolicyCall("decompose", [1, 2], [3, 4, 5, 6], [-0.1] * 4, [0, 0, 1, 1], "stop", [1, 3])
    episode = Episode(Problem("p", "q?", "1"), "daslam", final=Attempt("1", "1"), calls=[call])
    reward = Reward({}, 1.0, {}, [0.2, 0.1], 1.0, 0.0)
    experience = make_experience(episode, reward, "subquestion")
    (row,) = experience.rows
    assert row.pair == ([1, 2], [3, 4, 5, 6])
    assert row.rewards == pytest.approx([0.0, 0.2, 0.0, 0.8])
    with pytest.raises(ValueError, match="no policy tokens"):
        make_experience(Episode(Problem("p", "q?", "1"), "direct"), reward, "terminal")


def test_minibatches_hold_whole_episodes_and_microbatches_cut_over_their_rows():
    batch = make_calls_batch(12)
    parts = minibatches(batch, 4, torch.Generator().manual_seed(0))
    assert sorted(item.problem_id for part in parts for item in part) == sorted(item.problem_id for item in batch)
    pairs = [row.pair for item in batch for row in item.rows]
    groups = microbatches(pairs, 60, padded=True)
    assert sorted(index for group in groups for index in group) == list(range(len(pairs)))
    owner = [item.problem_id for item in batch for _ in item.rows]
    assert any(len({owner[index] for index in group}) > 1 for group in groups)
    assert len({place for place, group in enumerate(groups) for index in group if owner[index] == "p5"}) > 1
