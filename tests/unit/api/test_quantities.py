"""Sizes and shares: what is understood, and what is refused with which remedy."""

from decimal import Decimal

import pytest

from allocator.api.quantities import (
    GIB,
    MIB,
    Memory,
    MemoryShare,
    QuantityError,
    parse_cores,
    parse_memory_ask,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2Gi", 2 * GIB),
        ("1536Mi", 1536 * MIB),
        ("1.5Gi", 1536 * MIB),
        ("2G", 2 * 10**9),
        ("3e9", 3 * 10**9),
        ("+1Gi", GIB),
    ],
)
def test_memory_in_kubernetes_grammar(text: str, count: int) -> None:
    """Binary and decimal suffixes, fractions, exponents, a sign."""
    assert parse_memory_ask(text) == Memory(count)


@pytest.mark.parametrize(("text", "milli"), [("20%", 200), ("12.5%", 125), ("100%", 1000), ("0.1%", 1), (" 5% ", 50)])
def test_memory_as_a_share(text: str, milli: int) -> None:
    """Percent with one decimal."""
    assert parse_memory_ask(text) == MemoryShare(milli)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2048", "2048 bytes is too small for a slice; 2048? write 2048Mi"),
        ("0", "a slice of no memory is no slice; write a size such as 2Gi, or remove the request"),
        ("0Gi", "a slice of no memory is no slice; write a size such as 2Gi, or remove the request"),
        ("1Ki", "a slice is at least 1Mi; write a size such as 2Gi"),
        ("-1Gi", "memory cannot be negative; write a positive size such as 2Gi"),
        ("1500m", "memory must be a whole number of bytes; write a size such as 1536Mi"),
        ("", "not a quantity; write a number and a unit, such as 2Gi or 1536Mi"),
        ("NaN", "not a quantity; write a number and a unit, such as 2Gi or 1536Mi"),
        ("Infinity", "not a quantity; write a number and a unit, such as 2Gi or 1536Mi"),
        ("2 Gi", "not a quantity; write a number and a unit, such as 2Gi or 1536Mi"),
        ("٢Gi", "not a quantity; write a number and a unit, such as 2Gi or 1536Mi"),
        ("2GB", "unknown unit 'GB'; write Gi (or Ki, Mi, Gi, Ti, k, M, G, T, %)"),
        ("2mb", "unknown unit 'mb'; write Mi (or Ki, Mi, Gi, Ti, k, M, G, T, %)"),
        ("2gi", "unknown unit 'gi'; write Gi (or Ki, Mi, Gi, Ti, k, M, G, T, %)"),
        ("2e", "unknown unit 'e'; write Gi (or Ki, Mi, Gi, Ti, k, M, G, T, %)"),
        ("2e99", "unknown unit 'e99'; write Gi (or Ki, Mi, Gi, Ti, k, M, G, T, %)"),
        ("99Ei", "beyond what any machine holds; write a size such as 2Gi"),
        ("1" * 65, "a quantity has at most 64 characters; write a size such as 2Gi"),
        ("0%", "a percentage of one GPU lies between 0.1% and 100%; write for example 20%"),
        ("101%", "a percentage of one GPU lies between 0.1% and 100%; write for example 20%"),
        ("12.55%", "a percentage has at most one decimal; write for example 12.5%"),
        ("-5%", "not a percentage; write a number from 0.1 to 100 and a percent sign, such as 20%"),
        ("%", "not a percentage; write a number from 0.1 to 100 and a percent sign, such as 20%"),
        ("nan%", "not a percentage; write a number from 0.1 to 100 and a percent sign, such as 20%"),
        ("1" * 70 + "%", "not a percentage; write a number from 0.1 to 100 and a percent sign, such as 20%"),
    ],
)
def test_memory_that_is_refused(text: str, message: str) -> None:
    """Each mistake has its own words and its own remedy."""
    with pytest.raises(QuantityError) as caught:
        parse_memory_ask(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(("text", "percent"), [("1", 1), ("25", 25), ("100", 100), (" 7 ", 7)])
def test_cores(text: str, percent: int) -> None:
    """Whole percent of one GPU."""
    assert parse_cores(text) == percent


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "no GPU time at all would never run; write 1 to 100, or leave it out for no cap"),
        ("101", "GPU time is at most 100 percent of one GPU; write 1 to 100; ask for more GPUs to use more"),
        ("25%", "GPU time is a whole percentage of one GPU; write a number from 1 to 100, such as 25"),
        ("30%", "GPU time is a whole percentage of one GPU; write a number from 1 to 100, such as 30"),
        ("-1", "GPU time is a whole percentage of one GPU; write a number from 1 to 100, such as 25"),
        ("2.5", "GPU time is a whole percentage of one GPU; write a number from 1 to 100, such as 25"),
        ("", "GPU time is a whole percentage of one GPU; write a number from 1 to 100, such as 25"),
        ("٢٥", "GPU time is a whole percentage of one GPU; write a number from 1 to 100, such as 25"),
        ("1" * 5000, "GPU time is a whole percentage of one GPU; write a number from 1 to 100, such as 25"),
    ],
)
def test_cores_that_are_refused(text: str, message: str) -> None:
    """A percent sign too many, nothing at all, more than there is."""
    with pytest.raises(QuantityError) as caught:
        parse_cores(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("count", "shown", "rounded"),
    [
        (0, "0", "0"),
        (1000, "1000", "1000"),
        (2 * GIB, "2Gi", "2Gi"),
        (15360 * MIB, "15Gi", "15Gi"),
        (1536 * MIB, "1536Mi", "1.5Gi"),
        (GIB - 1, "1073741823", "1023.9Mi"),
        (1024, "1Ki", "1Ki"),
    ],
)
def test_memory_is_shown_exactly_or_for_the_eye(count: int, shown: str, rounded: str) -> None:
    """Exact in the largest unit that divides it; rounded down, so that nobody is promised more than there is."""
    assert str(Memory(count)) == shown
    assert Memory(count).rounded() == rounded


def test_share_of_a_gpu_is_whole_mebibytes() -> None:
    """Rounded down; never nothing."""
    assert MemoryShare(200).of(Memory(10 * GIB)) == Memory.mib(2048)
    assert MemoryShare(333).of(Memory.mib(1000)) == Memory.mib(333)
    assert MemoryShare(1).of(Memory.mib(10)) == Memory.mib(1)


def test_values_refuse_what_cannot_be() -> None:
    """A negative amount or an impossible share is a mistake in a program."""
    with pytest.raises(ValueError, match="negative"):
        Memory(-1)
    with pytest.raises(ValueError, match="between"):
        MemoryShare(0)


def test_quantity_keeps_its_sign() -> None:
    """Callers judge it."""
    assert parse_quantity("-1500m") == Decimal("-1.5")
