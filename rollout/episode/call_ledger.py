"""Who said what in an episode: its policy calls in the order in which they were asked, and the tokens of each role."""

from __future__ import annotations

from rollout.episode.contracts import Reply
from rollout.records import Episode, PolicyCall


class CallLedger:
    """An episode's account. While the episode runs, a call is known by its place among all that was asked. ``close``
    puts the calls into the episode and gives turns their indices there: what was asked in vain leaves no gap."""

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._places: list[PolicyCall | None] = []

    def begin(self) -> int:
        """Return the place of something that is asked now."""
        self._places.append(None)
        return len(self._places) - 1

    def put(self, place: int, call: PolicyCall | None) -> int | None:
        """Keep what was said there, if the policy said it; return the place then."""
        self._places[place] = call
        return place if call is not None else None

    def drop_ends(self, place: int | None) -> None:
        """Note that a call's sub-question is not among the episode's: it is to be written again."""
        call = self._places[place] if place is not None else None
        if call is not None:
            call.subquestion_ends = []

    def count(self, role: str, reply: Reply) -> None:
        """Add a reply to the tokens of its role."""
        episode = self._episode
        if role == "decomposer":
            episode.decomposer_tokens += reply.tokens
        elif role == "verifier":
            episode.verifier_tokens += reply.tokens
            episode.verifier_prompt_tokens += reply.prompt_tokens
        else:
            episode.solver_tokens += reply.tokens
            episode.solver_prompt_tokens += reply.prompt_tokens
            episode.solver_cut += reply.cut or reply.truncated

    def close(self) -> None:
        """Put the calls into the episode."""
        filled = [place for place, call in enumerate(self._places) if call is not None]
        index = {place: number for number, place in enumerate(filled)}
        episode = self._episode
        episode.calls = [call for call in self._places if call is not None]
        episode.policy_tokens = sum(len(call.token_ids) for call in episode.calls)
        for turn in (*episode.turns, *episode.refused):
            turn.call = None if turn.call is None else index.get(turn.call)
            turn.answer_call = None if turn.answer_call is None else index.get(turn.answer_call)
