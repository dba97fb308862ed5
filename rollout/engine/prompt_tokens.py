"""From a prompt's text to its tokens, the same in every engine and in the learner."""

from __future__ import annotations

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
