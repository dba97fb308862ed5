"""The configured data set."""

from __future__ import annotations

from rollout.data.source import Chained, Files, Source
from trainer.config_data import Data


def make_source(data: Data) -> Source:
    """The configured data set. Raises RecordError for rows that are no problems."""
    if data.source == "chained":
        return Chained(dict(data.steps), dict(data.eval_steps))
    return Files(
        data.files("train"),
        data.files("held_out"),
        data.limit,
        held_out_share=data.held_out_share,
        skip_bad=data.on_bad_row == "skip",
        refuse_overlap=data.on_overlap == "refuse",
        questions_only=data.questions_only,
    )
