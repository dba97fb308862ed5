"""From a prompt's text to its tokens, the same in every engine and in the learner."""

from __future__ import annotations

from itertools import takewhile
from typing import Any


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """Return the tokens of a prompt that a model is to go on from.

    Some tokenizers end every text with an end-of-text token. After one the model would begin another text, so it is
    left out, unless the prompt itself ends so.
    """
    ids = list(tokenizer.encode(prompt))
    end = tokenizer.eos_token_id
    if end is not None and len(ids) > 1 and ids[-1] == end and not prompt.rstrip().endswith(tokenizer.eos_token):
        ids.pop()
    return ids


def encode_completion(tokenizer: Any, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    """Return the tokens of a prompt and of a given text after it, as the tokenizer cuts the two in one piece.

    A token that spans the boundary belongs to the text.
    """
    whole, alone = encode_prompt(tokenizer, prompt + completion), encode_prompt(tokenizer, prompt)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(whole, alone, strict=False)))
    return whole[:same], whole[same:]
