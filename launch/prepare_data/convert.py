"""From the original releases of people's data sets to the uniform rows that are read here.

Each converter is a function of one original row, its position and its split. Keys of a uniform row, in this order:
those of ``FIELDS``, then what only one data set has. A converter raises KeyError, TypeError or ValueError for a row
that is not what its release says; None leaves the row out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rollout.answers.extract import last_boxed

FIELDS = (
    "id", "question", "answer", "answer_type", "choices", "solution", "subquestions", "subanswers", "source",
    "subject", "level",
)  # fmt: skip
Row = dict[str, Any]
Converter = Callable[[Row, int, str], Row | None]

_ANNOTATION = re.compile(r"<<([^<>]*)>>")
_FRACTION = re.compile(r"-?\d+/\d+")
_PLAIN_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")
# What stands directly after an equals sign and is computed no further.
_RESULT = re.compile(rf"\s?\$?\s?({_FRACTION.pattern}|{_NUMBER.pattern})(?!\d|[.,/]\d|\s?[-+*/x×÷]\s?[\d$(])")


def uniform(source: str, place: str, question: str, answer: str, kind: str, **others: Any) -> Row:
    """Return a uniform row: every field, absent ones null, then the extra keys. Its id is made of source and place."""
    given = {"id": f"{source}-{place}", "question": question, "answer": answer, "answer_type": kind, "source": source}
    return dict.fromkeys(FIELDS) | given | others


def number(text: str) -> str:
    """Return a plain number without thousands separators, needless zeros or a leading point. Raises ValueError."""
    plain = text.strip().replace(",", "")
    if not _PLAIN_NUMBER.fullmatch(plain):
        raise ValueError(f"{text!r} is no number")
    if "." not in plain:
        return str(int(plain))
    value = float(plain)
    return str(int(value)) if value.is_integer() else repr(value)


# -- GSM8K (Cobbe et al. 2021), with and without Socratic sub-questions ------------------------------------------


def _gsm8k_lines(row: Row) -> tuple[list[str], str]:
    steps, mark, answer = row["answer"].rpartition("####")
    if not mark:
        raise ValueError("'answer' holds no line that begins with ####")
    return [line for line in steps.split("\n") if line.strip()], number(answer)


def _gsm8k_row(source: str, place: str, row: Row, answer: str, steps: list[str], **others: Any) -> Row:
    question, equations = row["question"].strip(), _ANNOTATION.findall(row["answer"])
    solution = "\n".join(_ANNOTATION.sub("", step).strip() for step in steps)
    return uniform(source, place, question, answer, "number", solution=solution, equations=equations, **others)


def gsm8k(row: Row, index: int, split: str) -> Row:
    """``question`` and ``answer``: one step a line with <<calculations>>, then ``#### result``."""
    lines, answer = _gsm8k_lines(row)
    return _gsm8k_row("gsm8k", f"{split}-{index:05}", row, answer, lines)


def gsm8k_socratic(row: Row, index: int, split: str) -> Row:
    """Convert the same with ``sub-question ** step`` lines. A model wrote the sub-questions; lines without a step are
    dropped.

    A sub-answer is the result of the step's last calculation, else its last number, else the step itself; of the
    last step it is the final answer if the step holds that.
    """
    lines, answer = _gsm8k_lines(row)
    subquestions, steps, subanswers = [], [], []
    for line in lines:
        asked, mark, step = line.partition("**")
        if not mark:
            raise ValueError(f"'answer' holds a line without ** between sub-question and step: {line!r}")
        if step.strip():
            subquestions.append(asked.strip())
            steps.append(step)
            subanswers.append(_subanswer(step))
    if subanswers and answer in _numbers(_ANNOTATION.sub("", steps[-1])):
        subanswers[-1] = answer
    asked_and_answered = {"subquestions": subquestions, "subanswers": subanswers}
    return _gsm8k_row("gsm8k_socratic", f"{split}-{index:05}", row, answer, steps, **asked_and_answered)


def _numbers(text: str) -> list[str]:
    return [number(found.rstrip(",")) for found in _NUMBER.findall(text)]


def _subanswer(step: str) -> str:
    plain = _ANNOTATION.sub("", step).strip()
    results = [text.rpartition("=")[2] for text in _ANNOTATION.findall(step)]
    for result in map(str.strip, results[-1:]):
        if _FRACTION.fullmatch(result) or _PLAIN_NUMBER.fullmatch(result.replace(",", "")):
            return result if "/" in result else number(result)
    _, sign, last = plain.rpartition("=")
    if sign and (stated := _RESULT.match(last)):
        return stated[1] if "/" in stated[1] else number(stated[1].rstrip(","))
    found = _numbers(plain)
    return found[-1] if found else plain


# -- MATH (Hendrycks et al. 2021) and MATH-500 -------------------------------------------------------------------


def math(row: Row, index: int, split: str) -> Row | None:
    r"""``problem``, ``level``, ``type`` and ``solution`` with ``\boxed{answer}``; None where the box is empty."""
    last = row["solution"][row["solution"].rindex("\\boxed") :]
    unbraced = re.match(r"\\boxed ([^\s{}$]+)", last)
    boxed = unbraced[1] if unbraced else last_boxed(last)
    if boxed is None:
        return None
    subject = row["type"]
    name = re.sub(r"\W+", "_", subject.replace("&", "and").lower())
    place, level = f"{split}-{name}-{row.get('file', index)}", row["level"].removeprefix("Level ")
    return _math_row("math", place, row, boxed, subject=subject, level=level)


def math500(row: Row, index: int, split: str) -> Row:
    """``problem``, ``solution``, ``answer``, ``subject``, ``level`` and ``unique_id``, as PRM800K has them."""
    _, subject, file = row["unique_id"].split("/")
    place = f"{split}-{subject}-{file.removesuffix('.json')}"
    return _math_row("math500", place, row, row["answer"], subject=row["subject"], level=str(row["level"]))


def _math_row(source: str, place: str, row: Row, boxed: str, **others: Any) -> Row:
    """Convert a row: a plain number is a ``number`` (as written in ``raw_answer``), words are ``text``, the rest an
    ``expression``."""
    plain = re.sub(r"\\!|\\?\$", "", boxed).replace("{,}", ",").strip()
    answer, kind = boxed, "text" if re.fullmatch(r"\\text\{[^{}]*[A-Za-z][^{}]*\}", boxed) else "expression"
    if _PLAIN_NUMBER.fullmatch(re.sub(r",(?=\d{3}(?!\d))", "", plain)):
        answer, kind = number(plain), "number"
        others |= {"raw_answer": boxed} if answer != boxed else {}
    return uniform(source, place, row["problem"], answer, kind, solution=row["solution"], **others)


# -- AQuA (Ling et al. 2017) and JEEBench (Arora et al. 2023) ----------------------------------------------------


def aqua(row: Row, index: int, split: str) -> Row:
    """``question``, ``options`` as ``A)text``, ``rationale`` and ``correct``, a letter."""
    width = 3 if split in ("dev", "test") else 5
    choices = [re.sub(r"^\s*\(?[A-E]\s?\)\s*", "", option).strip() for option in row["options"]]
    place, question, answer = f"{split}-{index:0{width}}", row["question"].strip(), row["correct"].strip()
    return uniform("aqua", place, question, answer, "choice", choices=choices, solution=row["rationale"].strip())


JEEBENCH_TYPES = {"MCQ": "choice", "MCQ(multiple)": "multi_choice", "Integer": "number", "Numeric": "number"}
JEEBENCH_SUBJECTS = {"phy": "Physics", "chem": "Chemistry", "math": "Mathematics"}
# "(A)", "[A]" and "$[\mathrm{A}]$" where an option begins.
_OPTION = r"(?:\(({letter})\)|\[({letter})\]|\$[\[(]\\mathrm\{{({letter})\}}[\])]\$)\s*"


def jeebench(row: Row, index: int, split: str) -> Row:
    """Convert ``description``, ``index``, ``subject``, ``type``, ``gold`` and ``question``, which holds the options."""
    kind, question, gold = JEEBENCH_TYPES[row["type"]], row["question"].strip(), str(row["gold"]).strip()
    others: Row = {"subject": JEEBENCH_SUBJECTS[row["subject"]], "raw_type": row["type"]}
    others |= {name: row[name] for name in ("description", "index")}
    if kind == "number":
        answer = number(gold)
        others |= {"raw_answer": gold} if answer != gold else {}
    else:
        question, others["choices"] = _split_options(question)
        answer = "".join(sorted(gold))
    year, paper = re.fullmatch(r"JEE Adv (\d{4}) Paper (\d)", row["description"]).groups()  # type: ignore[union-attr]
    place = f"{year}-p{paper}-{row['subject']}-{row['index']:02}"
    return uniform("jeebench", place, question, answer, kind, **others)


def _split_options(question: str) -> tuple[str, list[str]]:
    """Return the question and its options A to D: what follows the last marks of their letters in order. A mark at
    the beginning of a line goes before one within a line, which may be a symbol: "Coke (C) converts"."""
    places = []
    end = len(question)
    for letter in "DCBA":
        mark = _OPTION.format(letter=letter)
        chosen = _last(rf"(?m)^\s*{mark}", question[:end]) or _last(mark, question[:end])
        if chosen is None:
            raise ValueError(f"'question' holds no option {letter}")
        places.append((chosen.end(), end))
        end = chosen.start()
    return question[:end].strip(), [question[start:stop].strip() for start, stop in reversed(places)]


def _last(pattern: str, text: str) -> re.Match[str] | None:
    return max(re.finditer(pattern, text), key=lambda match: match.start(), default=None)


# -- StrategyQA (Geva et al. 2021), MuSiQue (Trivedi et al. 2022), SVAMP (Patel et al. 2021) ---------------------


def strategyqa(row: Row, index: int, split: str) -> Row:
    """``qid``, ``question``, ``answer`` (true or false), ``facts`` and ``decomposition`` with ``#k`` references."""
    question, answer = row["question"].strip(), {True: "yes", False: "no"}[row["answer"]]
    others = {
        "solution": "\n".join(map(str.strip, row["facts"])),
        "subquestions": list(map(str.strip, row["decomposition"])),
    }
    others |= {"term": row["term"], "term_description": row["description"]}
    return uniform("strategyqa", row["qid"], question, answer, "boolean", **others)


def musique(row: Row, index: int, split: str) -> Row | None:
    """``id``, ``question``, ``answer``, ``question_decomposition`` and ``paragraphs``; None if not answerable."""
    if not row.get("answerable", True):
        return None
    steps = row["question_decomposition"]
    context = [f"{one['title']}: {one['paragraph_text']}" for one in row["paragraphs"] if one["is_supporting"]]
    others = {
        "subquestions": [step["question"].strip() for step in steps],
        "subanswers": [step["answer"] for step in steps],
    }
    others |= {"level": row["id"].partition("__")[0], "answer_aliases": row["answer_aliases"], "context": context}
    return uniform("musique", row["id"], row["question"].strip(), row["answer"].strip(), "text", **others)


def svamp(row: Row, index: int, split: str) -> Row:
    """``ID``, ``Body``, ``Question``, ``Equation``, ``Answer`` and ``Type``; a full stop is put after a bare body."""
    body = row["Body"].strip()
    stop = "" if body[-1:] in ".?!" else "."
    question, answer = f"{body}{stop} {row['Question'].strip()}", re.sub(r"\.0$", "", str(row["Answer"]))
    return uniform("svamp", row["ID"], question, answer, "number", subject=row["Type"], equations=[row["Equation"]])


CONVERTERS: dict[str, Converter] = {
    "gsm8k": gsm8k,
    "gsm8k_socratic": gsm8k_socratic,
    "math": math,
    "math500": math500,
    "aqua": aqua,
    "jeebench": jeebench,
    "strategyqa": strategyqa,
    "musique": musique,
    "svamp": svamp,
}
