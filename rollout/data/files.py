"""Problems from JSON-lines files."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import unicodedata
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from conf.schema.data import GET_DATA, Data
from rollout import json_lines
from rollout.answers.mark import score
from rollout.answers.number_words import in_digits
from rollout.answers.numbers_and_options import letters, parse_number, untexted
from rollout.answers.statements import asks
from rollout.data.bad_rows import LINES_NAMED, BadRow, refuse_bad
from rollout.data.worked import REPLIES, gold_replies
from rollout.episode.parse_decomposition import references
from rollout.options import LETTERS, options
from rollout.records import NUMERIC_TYPES, Problem, RecordError

Row = TypeVar("Row")


# What to write in place of a gold answer that its own rule refuses.
REMEDIES = {
    **dict.fromkeys(NUMERIC_TYPES, "write the number alone, as 12, -2.5 or 3/4, or name its answer_type"),
    "boolean": "write yes or no",
    "choice": "write the letter of one of its choices",
    "multi_choice": "write the letters of its choices, as AC",
    "expression": "write one expression, as x^2 + 1",
    "text": "write a text",
}
# What may stand before a gold number: its sign in words, or a currency.
_SIGN_OR_CURRENCY = re.compile(r"\b(?:minus|negative|plus|Rs|[A-Z]{2,3})\b")
_WORD = re.compile(r"(?<!\\)\b[^\W\d_]{2,}")
_ABOUT = re.compile(r"[≈≃≅]|\\(?:approx|sim)|\bapprox|^[\s$]*~")


class Files:
    """Problems from JSON-lines files, several to a split if need be.

    Without ``held_out`` files a fixed ``held_out_share`` of the rows is held out, by a hash of the question. Bad rows
    of all files end the reading with one RecordError that names each, or are left out and counted (``on_bad_row``).
    Training rows whose question is held out are left out and counted, or refused (``on_overlap``). Rows that repeat a
    question of their own split stay, and are counted and named (``repeated``). Sub-questions
    that ask nothing are left out and counted where ``questions_only`` is set; before that, rows of other numbers of
    ``subquestions`` than wanted, and with ``numeric_subanswers`` those with other sub-answers.
    """

    def __init__(self, data: Data) -> None:
        train, held_out = fetched(data, "train"), fetched(data, "held_out")
        bad: list[BadRow] = []
        places: dict[str, str] = {}
        rows = read_all(train, bad, places)
        held_out_places: dict[str, str] = {} if held_out else places  # ids are of one split
        self._held_out = read_all(held_out, bad, held_out_places)
        refuse_bad(bad, data.on_bad_row == "skip")
        if not held_out:
            shares = [(_share(problem.question), problem) for problem in rows]
            self._held_out = [problem for share, problem in shares if share < data.held_out_share]
            rows = [problem for share, problem in shares if share >= data.held_out_share]
        self._unseen = unseen = {normalised(problem.question): problem.id for problem in self._held_out}
        overlap = [problem for problem in rows if normalised(problem.question) in unseen]
        if overlap and data.on_overlap == "refuse":
            pairs = ", ".join(f"{problem.id} = {unseen[normalised(problem.question)]}" for problem in overlap[:10])
            raise RecordError(
                f"{len(overlap)} training questions are held out too ({pairs}{', …' if len(overlap) > 10 else ''}); "
                "data.on_overlap=drop leaves them out of training"
            )
        rows = [row for row in rows if normalised(row.question) not in unseen]
        wanted = [row for row in rows if _is_wanted(row, data)]
        held_out_wanted = [row for row in self._held_out if _is_wanted(row, data)]
        others = len(rows) - len(wanted) + len(self._held_out) - len(held_out_wanted)
        self.rows: Sequence[Problem] = wanted[: data.limit]
        self._held_out = held_out_wanted
        train_repeats, held_out_repeats = repeats(self.rows, places), repeats(self._held_out, held_out_places)
        self.repeated = [
            *repeats_in_words(train_repeats, "among the training rows, each of which is trained on"),
            *repeats_in_words(
                held_out_repeats, "among the held-out rows, each of which is evaluated and none trained on"
            ),
        ]
        for files, found, name in ((train, self.rows, "training"), (held_out, self._held_out, "held-out")):
            if files and not found:
                raise RecordError(f"{', '.join(map(str, files))}: no {name} problem is left")
        self.report = {
            "train": len(self.rows),
            "held_out": len(self._held_out),
            "bad_rows_skipped": len(bad),
            "overlap_dropped": len(overlap),
            "train_repeats": len(train_repeats),
            "held_out_repeats": len(held_out_repeats),
        }
        if data.subquestions or data.numeric_subanswers:
            self.report["other_rows_dropped"] = others
        if data.questions_only:
            before = _count(self.rows) + _count(self._held_out)
            self.rows = [_asking(problem) for problem in self.rows]
            self._held_out = [_asking(problem) for problem in self._held_out]
            self.report["no_questions_dropped"] = before - _count(self.rows) - _count(self._held_out)

    def train(self, seed: int) -> Iterator[Problem]:
        """Yield all rows, shuffled anew every epoch. Raises RecordError if there are none."""
        if not self.rows:
            raise RecordError("the data set has no training rows; allowed with it: stages=[evaluate]")
        for epoch in itertools.count():
            rows = list(self.rows)
            random.Random(f"files {seed} {epoch}").shuffle(rows)
            yield from rows

    def held_out(self, count: int) -> list[Problem]:
        """Return a fixed draw: files are often sorted by subject, and their first rows would stand for one of them."""
        rows = list(self._held_out)
        random.Random("files held out").shuffle(rows)
        return rows[:count]

    def is_held_out(self, question: str) -> bool:
        """Return whether a question is held out, by its normalised text."""
        return normalised(question) in self._unseen

    def imperfect_decomposition(
        self, problem: Problem, rng: random.Random, drop: float, swap: float, redundant: float
    ) -> list[str]:
        """Return the row's sub-questions, some dropped, perhaps in random order, perhaps one of them twice; as they are
        where they refer to one another by number, which would then point elsewhere."""
        gold = list(problem.subquestions or [])
        if refer(gold):
            return gold
        subquestions = [question for question in gold if rng.random() >= drop]
        if rng.random() < swap:
            rng.shuffle(subquestions)
        if subquestions and rng.random() < redundant:
            subquestions.insert(rng.randint(0, len(subquestions)), rng.choice(subquestions))
        return subquestions or gold[:1]


def fetched(data: Data, name: str) -> list[Path]:
    """Return the paths of the ``train`` or ``held_out`` files, fetched first where ``data.root`` is a name on the hub.
    Raises RecordError."""
    if not data.on_hub:
        return data.files(name)
    from huggingface_hub import hf_hub_download

    paths = []
    for file in getattr(data, name):
        try:
            paths.append(Path(hf_hub_download(str(data.root), file, repo_type="dataset")))
        except Exception as error:  # noqa: BLE001 - whatever lies between here and the hub fails in its own way
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise RecordError(
                f"data.root: '{data.root}' is no folder here, and {file} could not be fetched from the data set of "
                f"this name on the hub ({said}); {GET_DATA}"
            ) from None
    return paths


def normalised(question: str) -> str:
    """Return what two copies of a question have in common: letters in lower case, without spaces, quotes, dollar signs
    and the punctuation of sentences. Signs and decimal points stay: x + 2 is not x - 2."""
    text = unicodedata.normalize("NFKC", question).casefold().replace("’", "'")
    return re.sub(r"[.,;:!?]+(?=\s|$)|[\"“”„$]|\s+", "", text)


def refer(subquestions: Sequence[str]) -> bool:
    """Return whether sub-questions refer to others by their number (``#1``), so that none can be taken out."""
    return any(references(question) for question in subquestions)


def _asking(problem: Problem) -> Problem:
    """Return the problem without sub-questions that ask nothing, such as "Define a variable": those that end in no
    question mark. A row that has nothing else is left with an empty list: nothing is to be asked. Where each
    sub-question had its answer, those of the others are kept as ``REPLIES``."""
    subquestions = problem.subquestions or []
    if refer(subquestions):
        return problem
    kept = [index for index, question in enumerate(subquestions) if asks(question)]
    if len(kept) == len(subquestions):
        return problem
    replies = gold_replies(problem, len(subquestions))
    meta = problem.meta if replies is None else problem.meta | {REPLIES: [replies[index] for index in kept]}
    answers = meta.get("subanswers")
    if isinstance(answers, list) and len(answers) == len(subquestions):
        meta = meta | {"subanswers": [answers[index] for index in kept]}
    return replace(problem, subquestions=[subquestions[index] for index in kept], meta=meta)


def _is_wanted(problem: Problem, data: Data) -> bool:
    """Return whether a row has one of the numbers of sub-questions that are wanted, and the sub-answers."""
    if data.subquestions and len(problem.subquestions or []) not in data.subquestions:
        return False
    if not data.numeric_subanswers:
        return True
    answers = problem.meta.get("subanswers")
    return isinstance(answers, list) and bool(answers) and all(_is_number(str(answer)) for answer in answers)


def _is_number(text: str) -> bool:
    return parse_number(text) is not None and is_exact(text)


def _count(problems: Sequence[Problem]) -> int:
    return sum(len(problem.subquestions or []) for problem in problems)


def _share(question: str) -> float:
    """Return a number in [0, 1) that the question's text fixes."""
    return int.from_bytes(hashlib.sha256(normalised(question).encode()).digest()[:4], "big") / 2**32


def repeats(problems: Sequence[Problem], places: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the places of those problems whose question an earlier one has, each with the first place of it."""
    first: dict[str, str] = {}
    found = [(places[one.id], first.setdefault(normalised(one.question), places[one.id])) for one in problems]
    return [(place, earlier) for place, earlier in found if place != earlier]


def repeats_in_words(found: Sequence[tuple[str, str]], where: str) -> list[str]:
    """Return a line that names the first of the repeated questions; none where there are none."""
    said = []
    for place, earlier in found[:LINES_NAMED]:
        file = place.rpartition("line ")[0]
        said.append(f"{place} repeats {earlier.removeprefix(file)}")
    more = [f"and {len(found) - LINES_NAMED:,} more"] if len(found) > LINES_NAMED else []
    return [f"  repeated questions {where}: {'; '.join([*said, *more])}"] if found else []


def read_all(paths: Sequence[Path], bad: list[BadRow], places: dict[str, str] | None = None) -> list[Problem]:
    """Return the problems of several files; what is wrong with a row is added to ``bad``: file, line and field. A row
    without an id gets one. ``places`` is filled with file and line of each problem, by its id."""
    lines = {} if places is None else places

    def read(row: object, place: str) -> Problem:
        problem = Problem.from_json(_with_id(row, lines))
        problem.meta.pop(REPLIES, None)
        if not problem.subquestions:  # nobody wrote any, whether a row has the field or not
            problem = replace(problem, subquestions=None)
        _check_answer(problem)
        if problem.id in lines:
            raise RecordError(f"field 'id' is {problem.id!r}, which {lines[problem.id]} has")
        lines[problem.id] = place
        return problem

    return [problem for path in paths for problem in read_rows(path, read, bad)]


def _with_id(row: object, taken: Container[str]) -> object:
    """Return the row, with an id made from its question where it has none: the id stays where other rows are added to
    the file or moved in it. A question that comes again has a number behind it."""
    if not isinstance(row, dict) or row.get("id") is not None:
        return row
    digest = hashlib.sha256(normalised(str(row.get("question"))).encode()).hexdigest()[:12]
    again = (f"q-{digest}-{number}" for number in itertools.count(2))
    return {**row, "id": next(name for name in itertools.chain([f"q-{digest}"], again) if name not in taken)}


def _check_answer(problem: Problem) -> None:
    """Raise RecordError for a gold answer that no solver could give, or of which nobody knows what is right."""
    kind, count = problem.answer_type, len(problem.choices or ())
    if kind.endswith("choice") and count > len(LETTERS):
        raise RecordError(f"field 'choices' has {count} options; allowed: up to {len(LETTERS)}, A to J")
    vague = kind in NUMERIC_TYPES and not is_exact(problem.answer)
    choices = options(problem.choices) if kind == "multi_choice" else {}
    elsewhere = bool(choices) and not letters(problem.answer) <= choices.keys()
    if vague or elsewhere or score(problem, problem.answer) != 1.0:
        of = f"'{kind}'" + (f" with {len(problem.choices)} choices" if problem.choices else "")
        raise RecordError(
            f"field 'answer' is {problem.answer!r}, which can be no answer of type {of}; {REMEDIES[kind]}"
        )
    if count and not kind.endswith("choice") and kind != "boolean":  # nobody would be shown them
        raise RecordError(
            f"field 'choices' has {count} options, and answer_type is {kind!r}; name answer_type choice or "
            "multi_choice, or leave choices out"
        )


def is_exact(number: str) -> bool:
    """Return whether a gold number stands alone or with its unit: "about 12", "under 12" and "room 12" leave open what
    is right."""
    before = re.split(r"\d", in_digits(untexted(number)), maxsplit=1)[0]
    return not _ABOUT.search(number) and not _WORD.search(_SIGN_OR_CURRENCY.sub("", before))


def read_rows(path: Path, read: Callable[[object, str], Row], bad: list[BadRow]) -> list[Row]:
    """Return what ``read`` makes of each row of a JSON-lines file, given the row and its place; what it raises is added
    to ``bad``, as is a file without rows."""
    found: list[Row] = []
    number = 0
    for number, line in json_lines.numbered(path):
        row: object = None
        try:
            row = json_lines.decode(line)
            _refuse_half_characters(row)
            found.append(read(_with_exact_answer(row, line), f"{path}, line {number}"))
        except ValueError as error:
            bad.append(BadRow(path, number, str(error), tuple(row) if isinstance(row, dict) else ()))
    if not number:
        bad.append(BadRow(path, 0, "holds no rows"))
    return found


def _with_exact_answer(row: object, line: bytes) -> object:
    """Return the row of a line; of an answer that is a number, every digit counts."""
    if isinstance(row, dict) and isinstance(row.get("answer"), float):
        return row | {"answer": json_lines.decode(line, parse_float=Decimal)["answer"]}
    return row


def _refuse_half_characters(row: object) -> None:
    """Raise RecordError, with the field, for a text that holds half a character: no model's tokenizer takes it, and no
    file. JSON can write one half of an emoji, as what was cut in two does."""
    fields = row if isinstance(row, dict) else {"": row}
    for name, value in fields.items():
        try:
            json.dumps([name, value], ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise RecordError(f"field {name!a} holds {half}, which is half a character") from None
