"""A calculator for a solver that writes its calculations out (rollout/answers/annotations.py).

Where what follows ``=`` in a calculation is not its exact value, the reply is taken back to there, gets the value, and
goes on. It is the reply of a model that is stopped at every such ``=``, but a calculation that the model gets right
costs no further request. Who asked reads the whole reply without its annotations, as people write.
"""

from __future__ import annotations

from dataclasses import replace

from rollout.answers.annotations import first_to_fill_in, without_annotations
from rollout.engine.sampling import Sampling, draw_seed
from rollout.engine.vllm_engine import Generator, PromptTooLong
from rollout.episode.contracts import Reply

# Values of one reply at most; further ones are the model's own.
MOST_FILLED_IN = 32


async def calculated_reply(engine: Generator, prompt: str, sampling: Sampling) -> Reply:
    """Complete a prompt with the calculator's help, within ``sampling.max_tokens`` tokens of the reply, filled-in ones
    included. Raises what the engine raises.

    The reply's tokens are all that the model wrote, those that were taken back too; a value that was filled in is read
    by it, as is the prompt again, and counts among the prompt's tokens.
    """
    kept, tokens, read, cut = "", 0, 0, True
    left = sampling.max_tokens
    for filled_in in range(MOST_FILLED_IN + 1):
        seed = draw_seed(prompt + kept, sampling.seed) if kept and sampling.seed is not None else sampling.seed
        try:
            piece = await engine.generate(prompt + kept, replace(sampling, max_tokens=left, seed=seed))
        except PromptTooLong:
            if not kept:
                raise
            break
        tokens, read = tokens + len(piece.token_ids), read + len(piece.prompt_ids)
        found = first_to_fill_in(piece.text) if filled_in < MOST_FILLED_IN else None
        if found is None:
            kept, cut = kept + piece.text, piece.finish_reason == "length"
            break
        place, value = found
        kept += piece.text[:place] + value
        left = sampling.max_tokens - len(engine.tokenizer.encode(kept, add_special_tokens=False))
        if left < 1:
            break
    return Reply(without_annotations(kept).strip(), tokens, read, cut=cut)
