"""From a prompt's text to its tokens, the same in every engine and in the learner."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

# What a later text is encoded after: prompts are lines.
ANCHOR = "\n"


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


def encode_later(tokenizer: Any, text: str) -> list[int]:
    """Return the tokens of a text that goes on from tokens before it, without special ones.

    Some tokenizers (Llama 2's, Mistral's) put a space before every text. Inside a prompt there is none: so the text is
    encoded after another, whose tokens are dropped. Where the two share a token, the text is encoded by itself.
    """
    anchor, both = (list(tokenizer.encode(one, add_special_tokens=False)) for one in (ANCHOR, ANCHOR + text))
    if both[: len(anchor)] == anchor:
        return both[len(anchor) :]
    return list(tokenizer.encode(text, add_special_tokens=False))


def encode_completion(tokenizer: Any, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    """Return the tokens of a prompt and of a given text after it, as the tokenizer cuts the two in one piece.

    A token that spans the boundary belongs to the text.
    """
    whole, alone = encode_prompt(tokenizer, prompt + completion), encode_prompt(tokenizer, prompt)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(whole, alone, strict=False)))
    return whole[:same], whole[same:]
