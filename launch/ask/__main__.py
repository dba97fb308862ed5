"""Ask a trained decomposer and a solver: ``python -m launch.ask RUN_OR_MODEL "question" ... [--set key=value] ...``.

RUN_OR_MODEL is a run's folder, whose solver and prompts are taken, a checkpoint in it, or any model. Without a question
they are read from standard input, one a line. What is begun and waited for is said on standard error. Exit status: 0, 1
if a question could not be answered, 2 for what is refused, 128 + the number of a signal that stopped it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from conf.schema.base import ConfigError
from conf.schema.config import Config
from launch.check_models import check_models
from launch.trained import trained
from rollout.records import ANSWER_TYPES
from rollout.signals import Stopped, exit_status, stop_in_order


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser(prog="launch.ask", description="Ask a trained decomposer and a solver.")
    parser.add_argument("run_or_model", help="a run's folder, a checkpoint in it, or any model")
    parser.add_argument("questions", nargs="*", metavar="question", help="none: one a line from standard input")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
        help="an override, such as solver=program; it may be repeated")  # fmt: skip
    parser.add_argument("--answer-type", choices=ANSWER_TYPES, default="number", help="how answers are read")
    parser.add_argument("--json", action="store_true", help="one object a line, the record of docs/run_folder.md")
    options = parser.parse_intermixed_args(arguments)
    try:
        _refuse_bare_overrides(options.questions)
        config = trained(options.run_or_model, options.set)
        check_models(config)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        questions = options.questions or [line.strip() for line in sys.stdin if line.strip()]
        for question in questions:
            question.encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        sys.stderr.write(f"a question is no UTF-8 ({error.reason}); allowed: UTF-8\n")
        return 2
    if not all(question.strip() for question in questions):
        sys.stderr.write("a question is empty; allowed: a text\n")
        return 2
    if not questions:
        sys.stderr.write("no question; allowed: as arguments, or one a line on standard input\n")
        return 2
    try:
        return asyncio.run(_answer(config, questions, options.answer_type, as_json=options.json))
    except (KeyboardInterrupt, Stopped) as stopped:
        return exit_status(stopped)


def _refuse_bare_overrides(questions: list[str]) -> None:
    """Raise ConfigError for a question that is an override without its ``--set``."""
    for text in questions:
        if (
            re.fullmatch(r"[+~]?\w+(\.\w+)*=\S+", text)
            and re.split("[.=]", text.lstrip("+~"))[0] in Config.model_fields
        ):
            raise ConfigError(f"'{text}' is no question; allowed: --set before each override, as in --set {text}")


async def _answer(config: Config, questions: list[str], answer_type: str, *, as_json: bool) -> int:
    _say("loading the libraries …")
    from launch.ask.episodes import AskError, ask, jobs
    from trainer.cluster.roles import StartError
    from trainer.workers.errors import WaitTimeout

    stop_in_order()
    with tempfile.TemporaryDirectory(prefix="ask-") as logs:
        try:
            async for episode in ask(config, jobs(questions, answer_type, config.strategy.name), Path(logs), _say):
                _show(episode, as_json=as_json)
        except (AskError, ConfigError, StartError, WaitTimeout) as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


def _say(line: str) -> None:
    """Say what is waited for: standard output is for the answers."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _show(episode: Any, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from rollout.show import SCORED, view, write

    if as_json:
        write(sys.stdout, json.dumps(episode.to_json(), ensure_ascii=False) + "\n")
    else:
        _, body = view(1, dict.fromkeys(SCORED), episode)
        console = Console(emoji=False)
        with console.capture() as capture:
            console.print(body)
            console.print(Text.assemble(("answer ", "bold"), episode.final.answer or "none found", "\n"))
        write(sys.stdout, capture.get())
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
