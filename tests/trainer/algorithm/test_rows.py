from rollout.records import PolicyCall
from trainer.algorithm.rows import Row, make_rows


def call(prompt: list[int], tokens: list[int], version: int = 0) -> PolicyCall:
    return PolicyCall("next", prompt, tokens, [-0.5] * len(tokens), [version] * len(tokens))


def rows_of(*calls: PolicyCall) -> list[Row]:
    return make_rows(calls, [[0.0] * (len(one.token_ids) - 1) + [1.0] for one in calls])


def test_a_call_that_goes_on_from_the_one_before_shares_its_row_with_a_gap_between():
    (row,) = rows_of(call([1, 2], [3, 4], 5), call([1, 2, 3, 4, 9, 8], [6], 6), call([1, 2, 3, 4, 9, 8, 6], [7, 7], 7))
    assert row.pair == ([1, 2], [3, 4, 9, 8, 6, 7, 7])
    assert row.gaps == [(2, 4), (5, 5)]
    assert row.mask == [True, True, False, False, True, True, True]
    assert row.ends == [False, True, False, False, True, False, True]
    assert row.logprobs == [-0.5, -0.5, 0.0, 0.0, -0.5, -0.5, -0.5]
    assert row.versions == [5, 5, 0, 0, 6, 7, 7]
    assert row.rewards == [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    assert row.first_call == ([1, 2], [3, 4])
    assert len(row) == 9


def test_any_other_call_is_a_row_of_its_own_and_rows_keep_the_order():
    calls = [
        call([1, 2], [3, 4]),
        call([1, 2, 3], [5]),  # a token short
        call([1, 2, 3, 6, 0], [5]),  # a token other
        call([0, 1, 2, 3, 6, 0, 5], [5]),  # a token more in front
        call([1, 2, 3, 4, 9], [6]),  # goes on from the first, which is not the one before
        call([1, 2, 3, 4, 9, 6, 1], [8]),
    ]
    rows = rows_of(*calls)
    assert [row.pair for row in rows[:4]] == [(one.prompt_ids, one.token_ids) for one in calls[:4]]
    assert [len(row.gaps) for row in rows] == [0, 0, 0, 0, 1]
    assert rows[4].pair == ([1, 2, 3, 4, 9], [6, 1, 8])


def test_one_call_is_one_row_as_it_was_sampled():
    (row,) = rows_of(call([1, 2], [3, 4, 5]))
    assert row == Row([1, 2], [3, 4, 5], [-0.5] * 3, [0] * 3, [0.0, 0.0, 1.0])
    assert row.first_call == row.pair == ([1, 2], [3, 4, 5])
    assert row.mask == [True] * 3
    assert row.ends == [False, False, True]
