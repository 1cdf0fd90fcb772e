"""Resource quantities: parsed exactly, printed in the one canonical form the API stores.

`3000` becomes `3k`, `0.5` becomes `500m`, `1024Mi` becomes `1Gi`: clients see the canonical form only.
"""

import re
from fractions import Fraction
from functools import lru_cache

_PATTERN = re.compile(r"^([+-]?)(\d+(?:\.\d*)?|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?$")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_DECIMAL_SUFFIXES = {power: suffix for suffix, power in _DECIMAL.items()}
_BINARY_SUFFIXES = {power: suffix for suffix, power in _BINARY.items()}
WRONG_FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@lru_cache(maxsize=8192)
def parse(text: str) -> Fraction:
    """The exact value, in units of the resource (cores, bytes, devices).

    Raises:
        ValueError: the text is no quantity.
    """
    return _split(text)[0]


@lru_cache(maxsize=8192)
def canonical(text: str) -> str:
    """The same value as the API prints it.

    Raises:
        ValueError: the text is no quantity.
    """
    value, form = _split(text)
    if form == "binary" and value.denominator == 1 and abs(value) >= 1024:
        return _binary(int(value))
    if form == "exponent":
        return _exponent(value)
    return _decimal(value)


def _split(text: str) -> tuple[Fraction, str]:
    """Value and notation (binary, decimal or exponent)."""
    match = _PATTERN.match(text)
    if match is None:
        raise ValueError(WRONG_FORMAT)
    sign, digits, suffix = match.groups(default="")
    value = Fraction(digits if digits[-1] != "." else digits[:-1])
    form = "decimal"
    if suffix in _BINARY:
        value *= 1024 ** _BINARY[suffix]
        form = "binary"
    elif suffix in _DECIMAL:
        value *= Fraction(1000) ** _DECIMAL[suffix]
    else:
        value *= Fraction(10) ** int(suffix[1:])
        form = "exponent"
    nano = value * 10**9
    rounded = Fraction(-(-nano.numerator // nano.denominator), 10**9)  # finer than nano is rounded up
    return (-rounded if sign == "-" else rounded), form


def _binary(value: int) -> str:
    power = 0
    while power < 6 and value % 1024 == 0:
        value //= 1024
        power += 1
    return f"{value}{_BINARY_SUFFIXES[power]}" if power else str(value)


def _decimal(value: Fraction) -> str:
    power = 0
    while value.denominator != 1:
        value *= 1000
        power -= 1
    number = int(value)
    while number and power < 6 and number % 1000 == 0:
        number //= 1000
        power += 1
    return f"{number}{_DECIMAL_SUFFIXES[power]}" if number else "0"


def _exponent(value: Fraction) -> str:
    power = 0
    while value.denominator != 1:
        value *= 1000
        power -= 3
    number = int(value)
    while number and number % 1000 == 0:
        number //= 1000
        power += 3
    return f"{number}e{power}" if power and number else str(number)
