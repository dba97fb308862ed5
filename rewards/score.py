"""Score saved episodes: ``python -m rewards.score EPISODES.jsonl --mode paper [--weights key=value ...]``.

Prints one JSON object a line. A malformed line is reported by its number on standard error and the exit status is
1; the good lines are still scored.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from conf.schema.rewards import MODES, PARTS
from rewards.actor import score_or_error
from rewards.nouns_and_vectors import TextResources
from rewards.reward import RewardSettings, failed
from rollout.records import Episode, RecordError


def _weight(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    if key not in PARTS:
        raise argparse.ArgumentTypeError(f"{key!r} is no part; allowed: {', '.join(PARTS)}")
    try:
        return key, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"weight of {key} must be a number, found {value!r}") from None


def arguments_of(name: str, description: str) -> argparse.ArgumentParser:
    """What the commands over saved episodes have in common: the file, the mode, the weights."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("episodes", type=Path, help="a file of episode records, one JSON object a line")
    parser.add_argument("--mode", choices=MODES, default="bounded")
    parser.add_argument("--weights", nargs="*", type=_weight, default=[], metavar="PART=VALUE")
    return parser


def settings_of(options: argparse.Namespace) -> RewardSettings:
    """The mode's settings with the weights that were given."""
    settings = RewardSettings.for_mode(options.mode)
    return replace(settings, weights=settings.weights | dict(options.weights))


def read_episodes(path: Path) -> Iterator[tuple[int, Episode | str]]:
    """Line number, and the episode or what is wrong with the line; empty lines are left out."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                yield number, Episode.from_json(json.loads(line))
            except RecordError as error:
                yield number, str(error)
            except (ValueError, RecursionError) as error:
                yield number, f"not a JSON object in UTF-8: {error}"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = arguments_of("rewards.score", "Score saved episodes.")
    parser.add_argument("--seconds", type=float, default=10.0, help="limit of one episode (default 10)")
    options = parser.parse_args(arguments)
    if not options.episodes.is_file():
        parser.error(f"cannot read {options.episodes}: no such file")
    settings, resources, status = settings_of(options), TextResources(), 0
    resources.load()
    for number, episode in read_episodes(options.episodes):
        if isinstance(episode, str):
            reward = failed(episode)
        else:
            reward = score_or_error(episode, resources, settings, options.seconds)
        if isinstance(episode, str) or reward.error is not None:
            sys.stderr.write(f"line {number}: {reward.error}\n")
            status = 1
            continue
        record = {"problem_id": episode.problem.id, **reward.parts, "total": reward.total}
        sys.stdout.write(json.dumps(record) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
