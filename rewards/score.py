"""Score saved episodes: ``python -m rewards.score EPISODES.jsonl --mode paper [--weights key=value ...]``.

Prints one JSON object a line. A malformed line is reported by its number on standard error and the exit
status is 1; the good lines are still scored.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from rewards.modes import MODES, PARTS, RewardSettings
from rewards.text import TextResources
from rewards.total import score_episode
from rollout.records import Episode, RecordError


def _weight(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    if key not in PARTS:
        raise argparse.ArgumentTypeError(f"{key!r} is no part; allowed: {', '.join(PARTS)}")
    try:
        return key, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"weight of {key} must be a number, found {value!r}") from None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="rewards.score", description="Score saved episodes.")
    parser.add_argument("episodes", help="a file of episode records, one JSON object a line")
    parser.add_argument("--mode", choices=MODES, default="bounded")
    parser.add_argument("--weights", nargs="*", type=_weight, default=[], metavar="PART=VALUE")
    options = parser.parse_args(arguments)
    settings = RewardSettings.for_mode(options.mode)
    settings = replace(settings, weights=settings.weights | dict(options.weights))
    resources = TextResources()
    status = 0
    path = Path(options.episodes)
    if not path.is_file():
        parser.error(f"cannot read {path}: no such file")
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                reward = score_episode(Episode.from_json(json.loads(line)), resources, settings)
            except (RecordError, ValueError) as error:
                sys.stderr.write(f"line {number}: {error}\n")
                status = 1
                continue
            record = {"problem_id": json.loads(line)["problem"]["id"], **reward.parts, "total": reward.total}
            sys.stdout.write(json.dumps(record) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
