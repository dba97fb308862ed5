"""The types of the fields of records, checked where a record is read and not where the program builds one."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, WrapValidator

YES_NO = {True: "yes", False: "no"}
# Nobody writes a number of more digits.
LONGEST_NUMBER = 4000


def described(words: str) -> WrapValidator:
    """Return the validator that says in words what a field must be."""

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(f"must be {words}, found {reprlib.repr(value)}") from None

    return WrapValidator(check)


def _number(value: Any) -> Any:
    """Return a finite number, 0 for null; raise ValueError for anything else."""
    if not isinstance(value or 0, (int, float)) or not math.isfinite(value or 0):
        raise ValueError(f"must be a finite number, found {value!r}")
    return value or 0


def _filled(value: Any) -> Any:
    """Return a string with something in it; raise ValueError for anything else."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a non-empty string, found {reprlib.repr(value)}")
    return value


def written(value: Any) -> Any:
    """Return a JSON number as a person writes it, without an exponent or a fraction of nothing; other values as they
    are. Raises ValueError for what is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return value
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite() or abs(number.adjusted()) > LONGEST_NUMBER:
        raise ValueError(f"must be a finite number, found {value!r}")
    text = format(number, "f") if number else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _listed(value: Any) -> Any:
    """Return a list as it is, and a text or a number as a list of one; raise ValueError for anything else."""
    if not isinstance(value, (list, str, int, float)) or isinstance(value, bool):
        raise ValueError(f"must be a text, a number or a list of them, found {reprlib.repr(value)}")
    return value if isinstance(value, list) else [value]


def _joined(value: Any) -> Any:
    """Return a text as it is, and a list of texts as one; raise ValueError for anything else."""
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in texts):
        raise ValueError(f"must be a text or a list of texts, found {reprlib.repr(value)}")
    return ", ".join(texts)


def _equations(value: Any) -> Any:
    """Return a list of texts as it is, and a text as a list of one; raise ValueError for anything else."""
    texts = [value] * bool(value.strip()) if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise ValueError(f'must be a list of texts, as ["48/2=24"], found {reprlib.repr(value)}')
    return texts


def _answer(value: Any) -> Any:
    """Return an answer as text; raise ValueError, with what to write, for what is neither text nor number."""
    text = written(value)
    if not isinstance(text, str):
        shown = str(value).lower() if isinstance(value, bool) else reprlib.repr(value)
        raise ValueError(f"must be a text or a number, found {shown}; {_instead(value)}")
    return _filled(text)


def _instead(value: Any) -> str:
    """Return what to write in place of an answer that is neither text nor number."""
    if isinstance(value, bool):
        return f'write "{YES_NO[value]}", and "answer_type": "boolean"'
    items = [written(item) for item in value] if isinstance(value, list) else []
    if not items or not all(isinstance(item, str) for item in items):
        return "write the answer alone"
    if len(items) == 1 or all(len(item) == 1 and item.isalpha() for item in items):
        return f"write {json.dumps(''.join(items), ensure_ascii=False)}"
    return 'write one answer; of answer_type "text", its other forms may be in "answer_aliases"'


FilledText = Annotated[str, BeforeValidator(_filled)]
AnswerText = Annotated[str, BeforeValidator(_answer)]
IdText = Annotated[str, BeforeValidator(lambda value: _filled(written(value)))]
ChoiceText = Annotated[str, BeforeValidator(written)]
OptionalText = Annotated[str | None, described("a string or null")]
WrittenText = Annotated[OptionalText, BeforeValidator(lambda value: value if str(value).strip() else None)]
OtherForms = Annotated[list[AnswerText], BeforeValidator(_listed)]
Concepts = Annotated[str, BeforeValidator(_joined)]
Equations = Annotated[list[str], BeforeValidator(_equations)]
OptionalIndex = Annotated[Annotated[int, Field(strict=True, ge=0)] | None, described("an index or null")]
Count = Annotated[int, BeforeValidator(_number)]
Logprob = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Seconds = Annotated[float, BeforeValidator(_number)]
