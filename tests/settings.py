"""Groups of the configuration with the values of conf/, for what is tested without a whole configuration."""

from __future__ import annotations

from typing import Any

import yaml

from conf.schema.places import CONF
from conf.schema.solver import OpenAISolver
from conf.schema.strategy import Strategy
from rollout.episode.prompts import Prompts


def strategy(**changes: Any) -> Strategy:
    """The group ``strategy`` of the embedded default."""
    return Strategy(
        **yaml.safe_load((CONF / "strategy" / "daslam.yaml").read_text()) | {"max_subquestions": 8} | changes
    )


def prompts(**changes: Any) -> Prompts:
    """Its prompts, for models without a chat format."""
    return Prompts(strategy(**changes))


def openai_solver(url: str, **changes: Any) -> OpenAISolver:
    """The group ``solver`` for a server, with short replies."""
    lengths = {"max_tokens_subquestion": 8, "max_tokens_solve": 16, "stop_subquestion": ["\n"], "stop_solve": []}
    given = {"backend": "openai", "base_url": url, "model": "m", "api": "completions"}
    return OpenAISolver(**given | lengths | changes)
