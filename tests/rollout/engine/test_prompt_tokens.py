"""Later texts of a prompt as tokens, with tokenizers that put a space before every text and with those that do not."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from conf.schema.places import ROOT
from launch.compose import compose
from rollout.engine.prompt_tokens import encode_later
from rollout.episode.contracts import Written
from rollout.jobs import Job
from rollout.policy_role import PolicyRole
from tests.rollout.fakes import PROBLEM, CharacterEngine

TEXTS = ["How many has Ann?\n", "Done.\n", " 5.", "  two", "A: Ann has 3.\n", "\nA: Ann", "\n\nA", "", " ", "\n", "\tA"]
SHIPPED = sorted((ROOT / "rollout" / "assets").iterdir())


@pytest.fixture(scope="module")
def prepending() -> PreTrainedTokenizerFast:
    """A tokenizer of characters that puts a space before every text, as Llama 2's and Mistral 7B's do."""
    vocab = {token: number for number, token in enumerate(["<unk>", "▁", *string.printable])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize("text", TEXTS)
def test_no_space_is_put_before_a_later_text(text, prepending):
    whole = prepending.encode(f"Q:\n{text}", add_special_tokens=False)
    assert prepending.encode("Q:\n", add_special_tokens=False) + encode_later(prepending, text) == whole


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_shipped_models_read_later_texts_as_they_did(folder: Path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert encode_later(tokenizer, text) == tokenizer.encode(text, add_special_tokens=False)


class Joining:
    """A tokenizer in which a line break and the letter after it are one token."""

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [ord(letter) for letter in text.replace("\nA", "ä")]


def test_a_text_that_would_share_a_token_with_what_is_before_it_is_encoded_by_itself():
    assert encode_later(Joining(), "A: 3") == [ord(letter) for letter in "A: 3"]
    assert encode_later(Joining(), "B") == [ord("B")]


def test_a_prompt_of_several_pieces_is_read_as_it_was_put_together(prepending):
    engine, config = CharacterEngine(lambda prompt, number: "Done."), compose(["strategy=interleaved"])
    engine.tokenizer = prepending
    role = PolicyRole(engine, Job(0, PROBLEM, "interleaved", 0), config.strategy, config.policy)
    sampled = tuple(encode_later(prepending, "How many?\n"))
    ids = role._encoded(["Sub-questions:\n", Written("How many?\n", sampled), "A: 3.\n"])
    assert prepending.decode(ids) == "Sub-questions:\nHow many?\nA: 3.\n"
