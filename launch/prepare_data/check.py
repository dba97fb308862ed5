"""The folder of data sets: made from original releases, and checked by counts, checksums and gold answers."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conf.schema.keys import did_you_mean
from launch.prepare_data.convert import CONVERTERS, Row
from rollout.data.bad_rows import BadRow, other_fields
from rollout.data.files import normalised, read_all, repeats, repeats_in_words
from rollout.data.source import row_in_words
from rollout.json_lines import write_lines
from rollout.records import Problem


class ConversionError(ValueError):
    """An original release that cannot be converted; names file and row."""


# Data set: split to the names its original file may have.
ORIGINALS: dict[str, dict[str, tuple[str, ...]]] = {
    "gsm8k": {"train": ("train.jsonl",), "test": ("test.jsonl",)},
    "gsm8k_socratic": {"train": ("train_socratic.jsonl",), "test": ("test_socratic.jsonl",)},
    "math": {"train": ("train",), "test": ("test",)},
    "math500": {"test": ("test.jsonl",)},
    "aqua": {"train": ("train.json",), "dev": ("dev.json",), "test": ("test.json",)},
    "jeebench": {"test": ("dataset.json",)},
    "strategyqa": {"train": ("train.json", "strategyqa_train.json"), "dev": ("dev.json",)},
    "musique": {"train": ("musique_ans_v1.0_train.jsonl",), "dev": ("musique_ans_v1.0_dev.jsonl",)},
    "svamp": {"test": ("SVAMP.json",)},
}
# What the same splits are called on the Hugging Face hub: repository, configuration, split.
HUB: dict[str, dict[str, tuple[str, str, str]]] = {
    "gsm8k": {split: ("openai/gsm8k", "main", split) for split in ("train", "test")},
    "gsm8k_socratic": {split: ("openai/gsm8k", "socratic", split) for split in ("train", "test")},
    "math500": {"test": ("HuggingFaceH4/MATH-500", "default", "test")},
    "aqua": {
        split: ("deepmind/aqua_rat", "raw", name)
        for split, name in (("train", "train"), ("dev", "validation"), ("test", "test"))
    },
    "jeebench": {"test": ("daman1209arora/jeebench", "default", "test")},
}
# Rows of the original releases. MATH's training split has 7,500, of which two state no answer.
PUBLISHED = {
    "gsm8k/train": 7473, "gsm8k/test": 1319, "gsm8k_socratic/train": 7473, "gsm8k_socratic/test": 1319,
    "math/train": 7498, "math/test": 5000, "math500/test": 500, "aqua/train": 97467, "aqua/dev": 254,
    "aqua/test": 254, "jeebench/test": 515, "strategyqa/train": 2061, "strategyqa/dev": 229, "musique/train": 19938,
    "musique/dev": 2417, "svamp/test": 1000,
}  # fmt: skip
# Rows and SHA-256 of files that are known: those of the folder that docs/data.md describes.
KNOWN: dict[str, tuple[int, str]] = {
    "aqua/dev": (254, "d3e50aa3adf9c0819992e8cda83f5e238aff75e9050f976b5a9f06c168605582"),
    "aqua/test": (254, "82f1f7f6020a74ccb0d6322fe469c023e44130b659d706b45de4e046f77a776c"),
    "aqua/train_flan": (2085, "177f551e7117166874a76a7739bf8d15629d5ae5fdea5fd5ad788ebe40c5a81b"),
    "gsm8k/test": (1319, "4c476039471432b740a02cd3d6f71d86f248f15375859d08bcc5f81a6c944a46"),
    "gsm8k/train": (7473, "6e77cba3dc90c82eada29feca15c817cf10c156de0051f2d39a11545b035bafc"),
    "gsm8k_socratic/test": (1319, "b24400c4b669ed77e7e2d8825df163fcb6d2967d91083bba949f698c5ef92f4c"),
    "gsm8k_socratic/train": (7473, "2ca9241c8084b504debca771e8ed152d6a318c27597390c161e9a269f0e68c51"),
    "jeebench/test": (515, "e18d0c1c9de76aafb8e1eabe0765d3701afe164a5ae58c624d6915184b07a068"),
    "math/test_not_in_math500": (4500, "b6f32c16227608d844dbdc7612d0733174cc3039bcdad47a1918c865224a1609"),
    "math/train": (7498, "53bec8560de057dfa4100f73fc8e836857044adb2d3f52cc778f4398ddc75b79"),
    "math500/test": (500, "7dab7f45d14484c45ca3b8055041ce6f53d9d18c8a5c588c1ea8c20f23e70237"),
    "musique/dev_200": (200, "566f6e62819a3cf40a46ed68d1060ba630989ed716c520fb1b93cce5dba76124"),
    "strategyqa/dev": (229, "178c7362169a50756d2fd064c3c1639338cc0e4c07ab031e32b1d4f6ece9f596"),
    "strategyqa/train": (2061, "f4f057d9daf21672f29abe31e152a2562ff8aa7448c07285a2a11b31a68e5cdb"),
    "svamp/test": (1000, "840d810759b060fbe90375c212758a1c9cf41f50baa14a5caf01187a1c910f66"),
}


@dataclass(frozen=True)
class Checked:
    """What is in a file of the folder. ``verdict``: ``known`` (rows and checksum are those of ``KNOWN``), ``differs``
    from them, ``complete`` (rows as published), ``incomplete``, or ``unknown``. ``bad`` names rows that are no
    problems, gold answers included that their own rule refuses."""

    name: str
    rows: int
    sha256: str
    verdict: str
    types: dict[str, int]
    with_subquestions: int
    repeats: int
    bad: list[BadRow]


def check(root: Path) -> list[Checked]:
    """Check every ``<data set>/<split>.jsonl`` under ``root``, read whole and validated."""
    checked = []
    for path in sorted(root.glob("*/*.jsonl")):
        bad: list[BadRow] = []
        problems = read_all([path], bad)
        checked.append(_checked(path, f"{path.parent.name}/{path.stem}", problems, bad))
    return checked


def check_file(path: Path, shown: int) -> tuple[Checked, list[str]]:
    """Check one file; return what is in it, and lines about its first rows as they were read, repeated questions, and
    the fields that are none of a problem's."""
    bad: list[BadRow] = []
    places: dict[str, str] = {}
    problems = read_all([path], bad, places)
    lines = [row_in_words(problem) for problem in problems[:shown]]
    lines += repeats_in_words(repeats(problems, places), "(a run uses each of these rows)")
    if others := other_fields(problems):
        shown_as = [f"{name}{did_you_mean([meant] if meant else [])}" for name, meant in others.items()]
        lines.append(f"  other fields, kept as they are: {', '.join(shown_as)}")
    return _checked(path, path.name, problems, bad), lines


def _checked(path: Path, name: str, problems: Sequence[Problem], bad: list[BadRow]) -> Checked:
    digest = _digest(path, name)
    rows = len(problems) + len(bad)
    if name in KNOWN:
        verdict = "known" if (rows, digest) == KNOWN[name] else "differs"
    elif name in PUBLISHED:
        verdict = "complete" if rows == PUBLISHED[name] else "incomplete"
    else:
        verdict = "unknown"
    kinds = dict(Counter(problem.answer_type for problem in problems))
    asked = sum(problem.subquestions is not None for problem in problems)
    repeats = len(problems) - len({normalised(problem.question) for problem in problems})
    return Checked(name, rows, digest, verdict, kinds, asked, repeats, bad)


def _digest(path: Path, name: str) -> str:
    """Return a file's SHA-256; of GSM8K-Socratic's that of the rows without their sub-answers, which no release has:
    rules of this project read them from the steps, and a better rule makes no other data."""
    if not name.startswith("gsm8k_socratic/"):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for line in path.read_bytes().splitlines(keepends=True):
        with suppress(ValueError, AttributeError):  # a row that is none is told elsewhere
            row = json.loads(line)
            row.pop("subanswers", None)
            line = json.dumps(row, ensure_ascii=False).encode()
        digest.update(line)
    return digest.hexdigest()


def overlaps(root: Path) -> list[tuple[str, str, int]]:
    """Return the pairs of files under ``root`` that share questions, and how many; a data set and its variant are one
    pair."""
    questions = {
        f"{path.parent.name}/{path.stem}": {normalised(problem.question) for problem in read_all([path], [])}
        for path in sorted(root.glob("*/*.jsonl"))
    }
    return [
        (one, other, shared)
        for one, other in itertools.combinations(questions, 2)
        if (shared := len(questions[one] & questions[other]))
    ]


def convert(name: str, source: str, root: Path) -> list[tuple[Path, int, int]]:
    """Write the splits of a data set that ``source`` has; return (file, rows, rows left out) of each.

    ``source`` is the folder of the original release, one file of it, or ``hub``. All is converted before the first
    file is written. Raises ConversionError.
    """
    originals = _originals(name, source)
    splits = _from_hub(name) if source == "hub" else [(split, _rows(file)) for split, file in originals.items()]
    converted = {root / name / f"{split}.jsonl": _converted(name, split, rows) for split, rows in splits}
    written = []
    for path, rows in converted.items():
        kept = [row for row in rows if row is not None]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_lines(path, kept, ascii_only=False)
        except OSError as error:
            raise ConversionError(f"'{path}' cannot be written: {error.strerror}") from None
        written.append((path, len(kept), len(rows) - len(kept)))
    return written


def refuse_to_replace(releases: Sequence[tuple[str, str]], root: Path) -> None:
    """Raise ConversionError if one of these data sets, each with its ``source``, cannot be found, or if a file that
    would be written is one of an original release."""
    found = [(name, _originals(name, source)) for name, source in releases]
    written = [
        root / name / f"{split}.jsonl" for name, splits in found for split in list(splits) or list(HUB.get(name, {}))
    ]
    for name, splits in found:
        for original in splits.values():
            if any(os.path.exists(path) and path.samefile(original) for path in written):
                raise ConversionError(
                    f"{name}: '{original}' is an original release and would be replaced by converted rows; allowed: "
                    "another ROOT, or the release in another folder"
                )


def _converted(name: str, split: str, rows: Iterator[tuple[str, Row]]) -> list[Row | None]:
    converted = []
    for index, (place, row) in enumerate(rows):
        try:
            converted.append(CONVERTERS[name](row, index, split))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
            raise ConversionError(f"{place}: {reason}; is this the original release of {name}?") from None
    return converted


def _originals(name: str, release: str) -> dict[str, Path]:
    """Return the files, or folders of files, of a data set's original release by split; none of the hub's. Raises
    ConversionError."""
    if name not in CONVERTERS:
        raise ConversionError(f"unknown data set '{name}'; allowed: {', '.join(CONVERTERS)}")
    if release == "hub":
        return {}
    source, splits = Path(release).expanduser(), ORIGINALS[name]
    if not source.exists():
        raise ConversionError(f"{name}: '{source}' does not exist; allowed: the folder of the release, a file, or hub")
    found: dict[str, Path] = {}
    for split, names in splits.items():
        here = [source / file for file in names if (source / file).exists()]
        if source.is_file() and (source.name in names or len(splits) == 1):
            here = [source]
        if here:
            found[split] = here[0]
    if not found:
        expected = ", ".join(file for names in splits.values() for file in names)
        raise ConversionError(f"{name}: '{source}' holds none of {expected}")
    return found


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a JSON array, of JSON lines, or of a folder with a JSON file a row (MATH), each with its
    place."""
    if path.is_dir():
        files = list(path.glob("*/*.json"))
        if stray := [file for file in files if not file.stem.isdecimal()]:
            raise ConversionError(f"{stray[0]}: no number is its name; is this the original release?")
        for file in sorted(files, key=lambda file: (file.parent.name, int(file.stem))):
            row = _parsed(_text(file), str(file))
            if not isinstance(row, dict):
                raise ConversionError(f"{file}: no JSON object; is this the original release?")
            yield str(file), row | {"file": file.stem}
        return
    text = _text(path)
    if text.lstrip().startswith("["):
        for number, row in enumerate(_parsed(text, str(path)), 1):
            yield f"{path}, row {number}", row
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", _parsed(line, f"{path}, line {number}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConversionError(f"{path}: no UTF-8: byte {error.start + 1}") from None


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConversionError(f"{place}: no JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets without end
        raise ConversionError(f"{place}: no JSON that can be read: {error}") from None


def _from_hub(name: str) -> list[tuple[str, Iterator[tuple[str, Row]]]]:
    if name not in HUB:
        raise ConversionError(f"{name}: not read from the hub in its original form; allowed there: {', '.join(HUB)}")
    try:
        from datasets import load_dataset
    except ImportError:
        raise ConversionError(f"{name}: hub needs the package 'datasets'; pip install datasets") from None

    def rows(place: tuple[str, str, str]) -> Iterator[tuple[str, Row]]:
        repository, configuration, split = place
        try:
            loaded = load_dataset(repository, configuration, split=split)
        except Exception as error:  # noqa: BLE001 - whatever lies between here and the hub fails in its own way
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ConversionError(f"{name}: {repository} cannot be read from the hub: {said}") from None
        for number, row in enumerate(loaded, 1):
            yield f"{repository} {configuration} {split}, row {number}", dict(row)

    return [(split, rows(place)) for split, place in HUB[name].items()]


def table(checked: Sequence[Checked]) -> str:
    """Return the files as a Markdown table."""
    lines = [
        "| file | rows | answers | with sub-questions | repeated questions | gold accepted | SHA-256 | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for item in checked:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in item.types.items())
        share = f"{item.rows - len(item.bad):,} of {item.rows:,}"
        lines.append(
            f"| {item.name} | {item.rows:,} | {kinds} | {item.with_subquestions:,} | {item.repeats} | {share} "
            f"| {item.sha256[:12]} | {item.verdict} |"
        )
    return "\n".join(lines)
