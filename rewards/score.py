"""Score saved episodes: ``python -m rewards.score EPISODES.jsonl --mode paper [--weights key=value ...]``.

Prints one JSON object per line. A malformed line is reported by number on standard error, and the exit status is 1;
the good lines are still scored.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conf.schema.own_parts import FORM, find_part, is_own
from conf.schema.rewards import LIKELIHOOD, MODES, PARTS, Rewards, check_own_name
from rewards.actor import score_or_error
from rewards.nouns_and_vectors import TextResources
from rewards.reward import failed
from rollout import json_lines
from rollout.records import Episode


def _weight(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    try:
        return key, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"weight of {key} must be a number, found {value!r}") from None


def _own_part(text: str) -> tuple[str, str]:
    name, _, place = text.partition("=")
    try:
        find_part(place if is_own(place) else f"{place}:", {})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{name}: {place!r} {error}") from None
    try:
        check_own_name(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name, place


def arguments_of(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser for the arguments shared by the commands on saved episodes: the file, the mode, the weights."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("episodes", type=Path, help="a file of episode records, one JSON object a line")
    parser.add_argument("--mode", choices=MODES, default="bounded")
    parser.add_argument("--weights", nargs="*", type=_weight, default=[], metavar="PART=VALUE")
    parser.add_argument("--parts", nargs="*", type=_own_part, default=[], metavar=f"NAME={FORM}")
    return parser


def settings_of(options: argparse.Namespace, parser: argparse.ArgumentParser, **changes: Any) -> Rewards:
    """Return the mode's settings, changed by the given parts and weights and by ``changes``."""
    settings, parts, weights = Rewards.for_mode(options.mode), dict(options.parts), dict(options.weights)
    for name in weights:
        if name not in (known := (*PARTS, LIKELIHOOD, *parts)):
            parser.error(f"argument --weights: {name!r} is no part; allowed: {', '.join(known)}")
    return settings.model_copy(update={"parts": parts, "weights": settings.weights | weights, **changes})


def read_episodes(path: Path) -> Iterator[tuple[int, Episode | str]]:
    """Yield each line's number, and its episode or what is wrong with the line; empty lines are skipped."""
    for number, line in json_lines.numbered(path):
        try:
            yield number, Episode.from_json(json_lines.decode(line))
        except ValueError as error:
            yield number, str(error)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = arguments_of("rewards.score", "Score saved episodes.")
    parser.add_argument("--seconds", type=float, default=10.0, help="limit of one episode (default 10)")
    options = parser.parse_args(arguments)
    settings, resources, status = settings_of(options, parser, episode_seconds=options.seconds), TextResources(), 0
    if not options.episodes.is_file():
        parser.error(f"cannot read {options.episodes}: no such file")
    resources.load()
    for number, episode in read_episodes(options.episodes):
        reward = failed(episode) if isinstance(episode, str) else score_or_error(episode, resources, settings)
        if isinstance(episode, str) or reward.error is not None:
            sys.stderr.write(f"line {number}: {reward.error}\n")
            status = 1
            continue
        record = {"problem_id": episode.problem.id, **reward.parts, **reward.measures, "total": reward.total}
        sys.stdout.write(json.dumps(record) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
