"""The policy in the roles of one episode: every call is sampled, limited and recorded here.

Invariant: a completion is never tokenised again. A later prompt that holds it is given the very ids that were sampled,
so that a prompt that goes on from an earlier call begins with that call's tokens.
"""

from __future__ import annotations

from collections.abc import Callable

from conf.schema.policy import Policy
from conf.schema.strategy import Strategy
from rollout.answers.marks import without_thinking
from rollout.engine.prompt_tokens import encode_later, encode_prompt
from rollout.engine.sampling import Sampling
from rollout.engine.vllm_engine import Generation, Generator, PromptTooLong
from rollout.episode.contracts import Prompt, Reply, SolverFailure, Written, pieces_of
from rollout.episode.parse_decomposition import Parsed, parse, parse_next, token_ends
from rollout.episode.parse_monolith import Monolith, parse_monolith
from rollout.jobs import Job, call_seed
from rollout.records import PolicyCall

# What the policy says as a solver is read like any solver's reply.
AS_SOLVER = ("subquestion", "solve", "decompose_alone")


class PolicyRole:
    """The policy in one episode, in whatever roles it plays there."""

    def __init__(self, engine: Generator, job: Job, strategy: Strategy, policy: Policy) -> None:
        self._engine, self._job = engine, job
        self._strategy, self._policy = strategy, policy
        self._called = self._written = 0

    async def ask(self, prompt: Prompt, *, purpose: str, sample: int = 0) -> Reply:
        """Answer one prompt. Raises SolverFailure ``prompt_too_long``, ``episode_calls``, ``episode_policy_tokens``."""
        self._check_limits()
        number, self._called = self._called, self._called + 1
        try:
            done = await self._engine.generate(self._encoded(prompt), self._sampling(purpose, sample, number))
        except PromptTooLong as error:
            raise SolverFailure("prompt_too_long", str(error)) from None
        self._written += len(done.token_ids)
        call = PolicyCall(
            purpose, done.prompt_ids, done.token_ids, done.logprobs, done.versions, done.finish_reason,
            self._ends(purpose, done), done.text,
        )  # fmt: skip
        text = done.text.strip() if purpose in AS_SOLVER else done.text
        return Reply(text, len(done.token_ids), len(done.prompt_ids), call, self._as_written(purpose, done))

    def _check_limits(self) -> None:
        most, tokens = self._strategy.max_calls, self._strategy.max_policy_tokens
        if most is not None and self._called >= most:
            raise SolverFailure("episode_calls", f"{self._called} calls of the policy (strategy.max_calls)")
        if tokens is not None and self._written >= tokens:
            detail = f"{self._written} tokens of the policy (strategy.max_policy_tokens)"
            raise SolverFailure("episode_policy_tokens", detail)

    def _sampling(self, purpose: str, sample: int, number: int) -> Sampling:
        """Return how a call is sampled. Draws of an episode that is greedy would all be the same: they are not."""
        policy, strategy = self._policy, self._strategy
        length, stop = {
            "subquestion": (policy.max_tokens_subquestion, policy.stop_subquestion),
            "solve": (policy.max_tokens_solve, policy.stop_solve),
            "decompose_alone": (policy.max_tokens_solve, policy.stop_solve),
        }.get(purpose, (strategy.max_tokens, strategy.stop))
        temperature = self._job.temperature or (policy.sample_temperature if sample else 0.0)
        return Sampling(length, temperature, tuple(stop), call_seed(self._job.seed, number))

    def _encoded(self, prompt: Prompt) -> str | list[int]:
        """Return a prompt as the engine takes it: a text, or token ids where it holds what the policy wrote."""
        first, *rest = pieces_of(prompt) or [""]
        if isinstance(first, str) and not rest:
            return first
        tokenizer = self._engine.tokenizer
        ids = list(first.token_ids or ()) if isinstance(first, Written) else encode_prompt(tokenizer, first)
        for piece in rest:
            if isinstance(piece, Written) and piece.token_ids is not None:
                ids += piece.token_ids
            else:
                text = piece.text if isinstance(piece, Written) else piece
                ids += encode_later(tokenizer, text)
        return ids

    def _ends(self, purpose: str, done: Generation) -> list[int]:
        """Return the index of the last token of each sub-question in a call that writes some."""
        readers: dict[str, Callable[[str, Strategy], Parsed | Monolith]] = {
            "decompose": parse, "decompose_alone": parse, "next": parse_next, "whole": parse_monolith,
        }  # fmt: skip
        read = readers.get(purpose)
        if read is None:
            return []
        # A solver's list is read like any reply of its: what comes before and in its thinking is none of it.
        text = without_thinking(done.text) if purpose in AS_SOLVER else done.text
        before = len(done.text) - len(text)
        ends = [before + end for end in read(text, self._strategy).char_ends]
        return token_ends(ends, done.token_ids, self._engine.tokenizer.decode)

    def _as_written(self, purpose: str, done: Generation) -> Written | None:
        """Return what later prompts hold of a call: they go on from the decomposer's lines alone."""
        if purpose not in ("concepts", "next"):
            return None
        text = self._engine.tokenizer.decode(done.token_ids, skip_special_tokens=True)
        return Written(text, tuple(done.token_ids))
