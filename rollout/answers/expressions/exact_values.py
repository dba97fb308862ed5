r"""The exact value of an expression of numbers: a rational, or an irrational number to 60 digits.

math-verify compares numbers within an absolute tolerance, so it takes ``\frac{1}{2^{97}}`` for ``\frac{1}{2^{96}}``.
Here fractions of any length are exact, and a power or factorial that could take long is not computed.
"""

from __future__ import annotations

import decimal
import math
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

Value = Fraction | Decimal
# A value for each variable.
Point = Callable[[str], Fraction]

# Room for 2004! (5,700 digits); a number with more digits is refused, not computed.
MAX_BITS = 60_000
MAX_TEXT = 2_000
MAX_FACTORIAL = 5_000
MAX_DEPTH = 40
MAX_DEGREE = 100
# Irrational numbers that agree to this many digits are equal; sums that lose more digits than the rest are not decided.
EQUAL_DIGITS = 30
LOST_DIGITS = 20

_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\S)")
_LETTER = re.compile(r"[A-Za-z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|rho|sigma|phi|omega)")
# The imaginary unit, and a function: f(2x) is not 2f(x).
_NO_VARIABLE = re.compile(r"i|[fghFGH]'*\(")
_REPEATING = re.compile(r"(\d{0,50})\.(\d{0,50})\\overline\{(\d{1,50})\}")
_EXPONENT = re.compile(r"\d[eE][-+]?\d")
_ENDS = ("+", "-", ")", "}", "]", "|", ",")
_TRAPS = [decimal.DivisionByZero, decimal.InvalidOperation, decimal.Overflow, decimal.Underflow]
_CONTEXT = decimal.Context(prec=60, Emax=10**9, Emin=-(10**9), traps=_TRAPS)


class NoValueError(ValueError):
    """A number too large to compute, or a division by zero: it equals only the same text."""


class _TooLargeError(NoValueError):
    pass


class _UnknownError(Exception):
    """Text that is not an expression of numbers alone, or can be read in more than one way."""


@lru_cache(maxsize=4096)
def value_of(text: str) -> Value | None:
    r"""Return the value of a tidy LaTeX text (``\frac{3!}{2^{97}}``, ``2\sqrt{3}``); None if it is not known.

    Raises NoValueError for ``1/0`` and for numbers beyond ``MAX_BITS``.
    """
    return _read(text, None)


def is_too_large(text: str) -> bool:
    """Return whether a text, with or without variables, has a power or factorial that is too large to compute."""
    try:
        _read(text, lambda letter: Fraction(1))
    except _TooLargeError:
        return True
    except NoValueError:
        return False
    return False


def same_formula(left: str, right: str) -> bool | None:
    """Return whether two texts with variables have the same values at points where no two formulas agree by chance.

    None if the points cannot decide: outside a root's domain, for the imaginary unit, with functions.
    """
    if any(_NO_VARIABLE.search(re.sub(r"\\[A-Za-z]+", " ", text)) for text in (left, right)):
        return None
    for point in _POINTS:
        try:
            values = _read(left, point), _read(right, point)
        except NoValueError:
            return None
        if values[0] is None or values[1] is None:
            return None
        if not same_value(values[0], values[1]):
            return False
    return True


def _point(power: int, divisor: int, sign: int) -> Point:
    # Powers modulo a prime: between these values no formula holds by chance.
    return lambda letter: Fraction(sign * (pow(int.from_bytes(letter.encode()), power, 10_007) + 1), divisor)


_POINTS = (_point(5, 97, 1), _point(7, 89, -1), _point(11, 83, 1))


def _read(text: str, letters: Point | None) -> Value | None:
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    if len(text) > MAX_TEXT or _EXPONENT.search(text):
        return None
    text = _REPEATING.sub(_repeating, text)
    if mixed := re.fullmatch(r"(-?)(\d{1,9}) (\d{1,9})/(\d{1,9})", text):
        text = f"{mixed[1]}{mixed[2]}\\frac{{{mixed[3]}}}{{{mixed[4]}}}"
    try:
        with decimal.localcontext(_CONTEXT):
            return _Reader(text, letters).whole()
    except (decimal.Overflow, decimal.Underflow) as error:
        raise _TooLargeError(f"{text[:60]} is too large or too small") from error
    except (_UnknownError, decimal.DecimalException):
        return None


def _repeating(match: re.Match[str]) -> str:
    r"""Write a repeating decimal as a fraction: ``0.1\overline{6}`` is 15/90."""
    whole, start, repeated = match.groups()
    top = int(whole + start + repeated or 0) - int(whole + start or 0)
    return f"(\\frac{{{top}}}{{{'9' * len(repeated)}{'0' * len(start)}}})"


def same_value(left: Value, right: Value) -> bool:
    """Return whether two values are the same: rationals exactly, irrational numbers to ``EQUAL_DIGITS`` digits."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    return relative_difference(left, right) < Decimal(10) ** -EQUAL_DIGITS


def relative_difference(left: Value, right: Value) -> Decimal:
    """Return the difference of two values as a share of the larger one."""
    with decimal.localcontext(_CONTEXT):
        one, other = _decimal(left), _decimal(right)
        largest = max(abs(one), abs(other))
        return abs(one - other) / largest if largest else Decimal(0)


def _decimal(value: Value) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(value.numerator) / Decimal(value.denominator)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise _TooLargeError("a number is too long")
    return value


def _add(left: Value, right: Value) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _bounded(left + right)
    one, other = _decimal(left), _decimal(right)
    total = one + other
    sizes = [abs(part) for part in (one, other) if part]
    if sizes and min(*sizes, abs(total)) < max(sizes).scaleb(-LOST_DIGITS):
        raise _UnknownError
    return total


def _multiply(left: Value, right: Value) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _bounded(left * right)
    return _decimal(left) * _decimal(right) if left and right else Fraction(0)


def _divide(left: Value, right: Value) -> Value:
    if not right:
        raise NoValueError("a division by zero")
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _bounded(left / right)
    return _decimal(left) / _decimal(right)


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        return _whole_power(base, exponent.numerator)
    if base <= 0:
        raise _UnknownError
    if isinstance(exponent, Fraction) and exponent.denominator <= MAX_DEGREE:
        return _whole_power(_root(base, exponent.denominator), exponent.numerator)
    return _decimal(base) ** _decimal(exponent)


def _whole_power(base: Value, exponent: int) -> Value:
    if not base and exponent <= 0:
        raise NoValueError("a division by zero")
    if isinstance(base, Decimal):
        return base ** Decimal(exponent)
    if base in (0, 1, -1):
        return base if exponent % 2 or not base else Fraction(1)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if (bits - 1) * abs(exponent) > MAX_BITS:
        raise _TooLargeError("a power is too large")
    return Fraction(base**exponent)


def _root(value: Value, degree: int) -> Value:
    if value < 0:
        if degree % 2 == 0:
            raise _UnknownError
        return -_root(-value, degree)
    if not value or degree == 1:
        return value
    if isinstance(value, Fraction):
        top, bottom = (_whole_root(part, degree) for part in (value.numerator, value.denominator))
        if top is not None and bottom is not None:
            return Fraction(top, bottom)
    number = _decimal(value)
    return number.sqrt() if degree == 2 else number ** (1 / Decimal(degree))


def _whole_root(value: int, degree: int) -> int | None:
    """Return the root of ``value`` if it is a whole number; None if it is not or 60 digits cannot tell."""
    root = math.isqrt(value) if degree == 2 else int((Decimal(value) ** (1 / Decimal(degree))).to_integral_value())
    return root if root.bit_length() * degree <= MAX_BITS and root**degree == value else None


class _Reader:
    """A recursive-descent parser of one text: sums of products of powers of atoms."""

    def __init__(self, text: str, letters: Point | None) -> None:
        self._tokens = [match[1] for match in _TOKEN.finditer(text)]
        self._letters = letters
        self._glued = not re.search(r"[\d.)}] [\d.]", text)
        self._at = self._depth = 0

    def whole(self) -> Value:
        if not self._glued:
            raise _UnknownError
        value = self._sum()
        if self._at < len(self._tokens):
            raise _UnknownError
        return value

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> str:
        """Return the next token and move past it if it is a wanted one, else return an empty text."""
        token = self._next()
        if token not in wanted:
            return ""
        self._at += 1
        return token

    def _need(self, token: str) -> None:
        if not self._take(token):
            raise _UnknownError

    def _sum(self) -> Value:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _UnknownError
        total = self._product()
        while sign := self._take("+", "-"):
            term = self._product()
            total = _add(total, term if sign == "+" else -term)
        self._depth -= 1
        return total

    def _product(self) -> Value:
        negative = False
        while sign := self._take("+", "-"):
            negative ^= sign == "-"
        total, divided = self._powered(), False
        while True:
            if self._take("\\cdot"):
                total = _multiply(total, self._signed())
            elif self._take("/"):
                total, divided = _divide(total, self._signed()), True
                continue
            elif self._next() and self._next() not in _ENDS:
                # 1/2\pi is read both as half of pi and as one over two pi.
                if divided or self._next()[0] in ".0123456789":
                    raise _UnknownError
                total = _multiply(total, self._powered())
            else:
                return -total if negative else total
            divided = False

    def _signed(self) -> Value:
        return -self._powered() if self._take("-") else self._powered()

    def _powered(self) -> Value:
        base = self._atom()
        if self._take("!"):
            base = self._factorial(base)
        if not self._take("^"):
            return base
        exponent = self._exponent()
        if self._next() == "!":
            raise _UnknownError
        return _power(base, exponent)

    def _exponent(self) -> Value:
        """Return the exponent: braces, or one token, or a power again (2^3^2)."""
        if self._take("{"):
            exponent = self._sum()
            self._need("}")
        elif re.match(r"\d", token := self._next()):
            self._at += 1
            exponent = Fraction(token)
        else:
            exponent = self._atom()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _UnknownError
        result = _power(exponent, self._exponent()) if self._take("^") else exponent
        self._depth -= 1
        return result

    def _factorial(self, value: Value) -> Fraction:
        if self._next() == "!" or isinstance(value, Decimal) or value.denominator != 1 or value < 0:
            raise _UnknownError
        if value > MAX_FACTORIAL:
            raise _TooLargeError("a factorial is too large")
        return _bounded(Fraction(math.factorial(value.numerator)))

    def _binomial(self, upper: Value, lower: Value) -> Fraction:
        if any(isinstance(value, Decimal) or value.denominator != 1 or value < 0 for value in (upper, lower)):
            raise _UnknownError
        if upper > MAX_FACTORIAL:
            raise _TooLargeError("a binomial coefficient is too large")
        return Fraction(math.comb(int(upper), int(lower)))

    def _atom(self) -> Value:
        token = self._next()
        self._at += 1
        if re.match(r"[\d.]+$", token) and token != ".":
            return self._mixed(Fraction(token))
        for opening, closing in (("(", ")"), ("{", "}"), ("|", "|")):
            if token == opening:
                value = self._sum()
                self._need(closing)
                return -value if token == "|" and value < 0 else value
        if token == "\\frac":
            return _divide(self._braced(), self._braced())
        if token == "\\sqrt":
            degree = 2
            if self._take("["):
                degree = int(self._next()) if re.fullmatch(r"[1-9]", self._next()) else 0
                self._at += 1
                self._need("]")
            if not degree:
                raise _UnknownError
            return _root(self._braced(), degree)
        if token == "\\binom":
            return self._binomial(self._braced(), self._braced())
        if token == "\\pi":
            return _PI
        if token == "e":
            return Decimal(1).exp()
        if self._letters and _LETTER.fullmatch(token):
            return self._letters(token)
        raise _UnknownError

    def _braced(self) -> Value:
        self._need("{")
        value = self._sum()
        self._need("}")
        return value

    def _mixed(self, whole: Fraction) -> Fraction:
        r"""Return a whole number plus the proper fraction after it: ``1\frac{4}{5}``."""
        if self._next() != "\\frac":
            return whole
        tokens = self._tokens[self._at + 1 : self._at + 7]
        if len(tokens) < 6 or (tokens[0], tokens[2], tokens[3], tokens[5]) != ("{", "}", "{", "}"):
            return whole
        top, bottom = tokens[1], tokens[4]
        if not (top.isdecimal() and bottom.isdecimal() and whole.denominator == 1):
            return whole
        if int(top) >= int(bottom):
            raise _UnknownError
        self._at += 7
        return whole + Fraction(int(top), int(bottom))
