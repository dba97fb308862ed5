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
_PLAIN_NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?|-?\.\d+")


def uniform(values: Row) -> Row:
    """A uniform row: every field, absent ones null, then the extra keys."""
    return {name: values.get(name) for name in FIELDS} | values


def number(text: str) -> str:
    """A plain number without thousands separators, needless zeros or a leading point; ValueError if it is none."""
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


def gsm8k(row: Row, index: int, split: str) -> Row:
    """``question`` and ``answer``: one step a line with <<calculations>>, then ``#### result``."""
    lines, answer = _gsm8k_lines(row)
    return uniform(
        {
            "id": f"gsm8k-{split}-{index:05}",
            "question": row["question"].strip(),
            "answer": answer,
            "answer_type": "number",
            "solution": "\n".join(_ANNOTATION.sub("", line).strip() for line in lines),
            "source": "gsm8k",
            "equations": _ANNOTATION.findall(row["answer"]),
        }
    )


def gsm8k_socratic(row: Row, index: int, split: str) -> Row:
    """The same with ``sub-question ** step`` lines. A model wrote the sub-questions; lines without a step are dropped.

    A sub-answer is the result of the step's last calculation, else its last number, else the step itself; of the
    last step it is the final answer if the step holds that.
    """
    lines, answer = _gsm8k_lines(row)
    subquestions, steps, subanswers = [], [], []
    for line in lines:
        asked, mark, step = line.partition("**")
        if not mark:
            raise ValueError(f"'answer' holds a line without ** between sub-question and step: {line!r}")
        if not step.strip():
            continue
        subquestions.append(asked.strip())
        steps.append(_ANNOTATION.sub("", step).strip())
        subanswers.append(_subanswer(step))
    if subanswers and subanswers[-1] != answer and answer in _numbers(steps[-1]):
        subanswers[-1] = answer
    return uniform(
        {
            "id": f"gsm8k_socratic-{split}-{index:05}",
            "question": row["question"].strip(),
            "answer": answer,
            "answer_type": "number",
            "solution": "\n".join(steps),
            "subquestions": subquestions,
            "subanswers": subanswers,
            "source": "gsm8k_socratic",
            "equations": _ANNOTATION.findall(row["answer"]),
        }
    )


def _numbers(text: str) -> list[str]:
    return [number(found.rstrip(",")) for found in _NUMBER.findall(text)]


def _subanswer(step: str) -> str:
    results = [text.rpartition("=")[2] for text in _ANNOTATION.findall(step)]
    if results and _PLAIN_NUMBER.fullmatch(results[-1].strip().replace(",", "")):
        return number(results[-1])
    plain = _ANNOTATION.sub("", step).strip()
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
    return _math_row(
        boxed,
        id=f"math-{split}-{name}-{row.get('file', index)}",
        question=row["problem"],
        solution=row["solution"],
        source="math",
        subject=subject,
        level=row["level"].removeprefix("Level "),
    )


def math500(row: Row, index: int, split: str) -> Row:
    """``problem``, ``solution``, ``answer``, ``subject``, ``level`` and ``unique_id``, as PRM800K has them."""
    _, subject, file = row["unique_id"].split("/")
    return _math_row(
        row["answer"],
        id=f"math500-{split}-{subject}-{file.removesuffix('.json')}",
        question=row["problem"],
        solution=row["solution"],
        source="math500",
        subject=row["subject"],
        level=str(row["level"]),
    )


def _math_row(boxed: str, **values: Any) -> Row:
    """A plain number is a ``number`` (as written in ``raw_answer``), words are ``text``, the rest ``expression``."""
    plain = re.sub(r"\\!|\\?\$", "", boxed).replace("{,}", ",").strip()
    if _PLAIN_NUMBER.fullmatch(re.sub(r",(?=\d{3}(?!\d))", "", plain)):
        answer = number(plain)
        kind, raw = "number", {"raw_answer": boxed} if answer != boxed else {}
    else:
        answer, kind, raw = (
            boxed,
            "text" if re.fullmatch(r"\\text\{[^{}]*[A-Za-z][^{}]*\}", boxed) else "expression",
            {},
        )
    return uniform({"id": None, "question": None, "answer": answer, "answer_type": kind, **values, **raw})


# -- AQuA (Ling et al. 2017) and JEEBench (Arora et al. 2023) ----------------------------------------------------


def aqua(row: Row, index: int, split: str) -> Row:
    """``question``, ``options`` as ``A)text``, ``rationale`` and ``correct``, a letter."""
    width = 3 if split in ("dev", "test") else 5
    return uniform(
        {
            "id": f"aqua-{split}-{index:0{width}}",
            "question": row["question"].strip(),
            "answer": row["correct"].strip(),
            "answer_type": "choice",
            "choices": [re.sub(r"^\s*\(?[A-E]\s?\)\s*", "", option).strip() for option in row["options"]],
            "solution": row["rationale"].strip(),
            "source": "aqua",
        }
    )


JEEBENCH_TYPES = {"MCQ": "choice", "MCQ(multiple)": "multi_choice", "Integer": "number", "Numeric": "number"}
JEEBENCH_SUBJECTS = {"phy": "Physics", "chem": "Chemistry", "math": "Mathematics"}
# "(A)", "[A]" and "$[\mathrm{A}]$" where an option begins.
_OPTION = r"(?:\(({letter})\)|\[({letter})\]|\$[\[(]\\mathrm\{{({letter})\}}[\])]\$)\s*"


def jeebench(row: Row, index: int, split: str) -> Row:
    """``description``, ``index``, ``subject``, ``type``, ``gold`` and ``question``, which holds the options."""
    kind = JEEBENCH_TYPES[row["type"]]
    question, choices = row["question"].strip(), None
    gold = str(row["gold"]).strip()
    if kind != "number":
        question, choices = _split_options(question)
        gold = "".join(sorted(gold))
    year, paper = re.fullmatch(r"JEE Adv (\d{4}) Paper (\d)", row["description"]).groups()  # type: ignore[union-attr]
    return uniform(
        {
            "id": f"jeebench-{year}-p{paper}-{row['subject']}-{row['index']:02}",
            "question": question,
            "answer": number(gold) if kind == "number" else gold,
            "answer_type": kind,
            "choices": choices,
            "source": "jeebench",
            "subject": JEEBENCH_SUBJECTS[row["subject"]],
            "raw_type": row["type"],
            "description": row["description"],
            "index": row["index"],
            **({"raw_answer": gold} if kind == "number" and number(gold) != gold else {}),
        }
    )


def _split_options(question: str) -> tuple[str, list[str]]:
    """The question and its options A to D: what follows the last marks of their letters in order. A mark at the
    beginning of a line goes before one within a line, which may be a symbol: "Coke (C) converts"."""
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
    return uniform(
        {
            "id": f"strategyqa-{row['qid']}",
            "question": row["question"].strip(),
            "answer": {True: "yes", False: "no"}[row["answer"]],
            "answer_type": "boolean",
            "solution": "\n".join(fact.strip() for fact in row["facts"]),
            "subquestions": [question.strip() for question in row["decomposition"]],
            "source": "strategyqa",
            "term": row["term"],
            "term_description": row["description"],
        }
    )


def musique(row: Row, index: int, split: str) -> Row | None:
    """``id``, ``question``, ``answer``, ``question_decomposition`` and ``paragraphs``; None if not answerable."""
    if not row.get("answerable", True):
        return None
    return uniform(
        {
            "id": f"musique-{row['id']}",
            "question": row["question"].strip(),
            "answer": row["answer"].strip(),
            "answer_type": "text",
            "subquestions": [step["question"].strip() for step in row["question_decomposition"]],
            "subanswers": [step["answer"] for step in row["question_decomposition"]],
            "source": "musique",
            "level": row["id"].partition("__")[0],
            "answer_aliases": row["answer_aliases"],
            "context": [
                f"{paragraph['title']}: {paragraph['paragraph_text']}"
                for paragraph in row["paragraphs"]
                if paragraph["is_supporting"]
            ],
        }
    )


def svamp(row: Row, index: int, split: str) -> Row:
    """``ID``, ``Body``, ``Question``, ``Equation``, ``Answer`` and ``Type``; a full stop is put after a bare body."""
    body = row["Body"].strip()
    stop = "" if body[-1:] in ".?!" else "."
    return uniform(
        {
            "id": f"svamp-{row['ID']}",
            "question": f"{body}{stop} {row['Question'].strip()}",
            "answer": re.sub(r"\.0$", "", str(row["Answer"])),
            "answer_type": "number",
            "source": "svamp",
            "subject": row["Type"],
            "equations": [row["Equation"]],
        }
    )


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
