"""Quantities: exact values, one canonical form."""

from fractions import Fraction

import pytest
from devcluster.apiserver.quantity import canonical, parse
from hypothesis import given
from hypothesis import strategies as st

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e3", "E-2"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3000", "3k"), ("0.5", "500m"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("0", "0"), ("0.0001", "100u"),
        ("1000m", "1"), ("128974848", "128974848"), ("1e3", "1e3"), ("500Ki", "500Ki"), ("-1", "-1"),
        ("15360Mi", "15Gi"),
    ],
)  # fmt: skip
def test_canonical(text: str, wanted: str) -> None:
    """The form that the API prints."""
    assert canonical(text) == wanted


@pytest.mark.parametrize("text", ["", "x", "1KiB", "1 Gi", "NaN", "--1", "1e", "1mi"])
def test_not_a_quantity(text: str) -> None:
    """What is no quantity is refused."""
    with pytest.raises(ValueError, match="quantities must match"):
        canonical(text)


@given(st.integers(0, 10**12), st.integers(0, 999), st.sampled_from(SUFFIXES))
def test_canonical_keeps_the_value(whole: int, part: int, suffix: str) -> None:
    """Canonical form means the same and is stable; only what is finer than nano is rounded up."""
    text = f"{whole}.{part:03}{suffix}"
    printed = canonical(text)
    assert parse(printed) == parse(text)
    assert canonical(printed) == printed
    assert 0 <= parse(text) - exact(whole, part, suffix) < Fraction(1, 10**9)


def exact(whole: int, part: int, suffix: str) -> Fraction:
    """The value computed the long way."""
    powers = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "e3": 3, "E-2": -2}
    value = whole + Fraction(part, 1000)
    if suffix.endswith("i"):
        return value * 1024 ** ("KMGT".index(suffix[0]) + 1)
    return value * Fraction(10) ** powers[suffix]
