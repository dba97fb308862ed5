"""Words of a text are the same however it is capitalised."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.nouns_and_vectors import plain
from rewards.penalties import is_copy
from rollout.words import words


@pytest.mark.parametrize(
    ("text", "capitals"),
    [("kaç kalem kaldı?", "KAÇ KALEM KALDI?"), ("istanbul'da kaç", "İSTANBUL'DA KAÇ"), ("straße", "STRASSE")],
)
def test_a_question_in_capitals_is_a_copy(text, capitals):
    assert words(text) == words(capitals)
    assert plain(text) == plain(capitals)
    assert is_copy(capitals, text)


def test_a_dotted_capital_does_not_split_its_word():
    assert words("İzmir, IZMIR, ızmır") == ["izmir"] * 3


def test_the_case_of_no_character_matters():
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if character.upper() != character or character.lower() != character:
            around = f"a{character}b"
            assert words(around) == words(around.upper()) == words(around.lower()) == words(around.title()), number


@given(st.text(max_size=60))
def test_the_case_of_no_text_matters(text):
    assert words(text) == words(text.upper())
    assert plain(text) == plain(text.upper())
