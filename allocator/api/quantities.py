"""Amounts: bytes of GPU memory, and percent of a GPU's memory or time.

Value types, because every mix-up of units that a bare integer allows has happened to somebody: MiB added to
bytes, percent of time taken for percent of memory, a HAMi count of MiB taken for bytes.

Kubernetes' quantity grammar (apimachinery `resource.Quantity`): a decimal number followed by a binary suffix
(Ki Mi Gi Ti Pi Ei), a decimal suffix (n u m k M G T P E, or none) or a decimal exponent.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Self

from allocator.api.errors import VramshareError

KIB: Final = 1024
MIB: Final = 1024**2
GIB: Final = 1024**3

_BINARY: Final = {"Ki": KIB, "Mi": MIB, "Gi": GIB, "Ti": 1024**4, "Pi": 1024**5, "Ei": 1024**6}
_DECIMAL: Final = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_SMALL: Final = {"m": Decimal("1e-3"), "u": Decimal("1e-6"), "n": Decimal("1e-9")}
_QUANTITY: Final = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)([A-Za-z]*|[eE][+-]?\d+)", re.ASCII)
_PERCENT: Final = re.compile(r"(\d+(?:\.\d+)?)%", re.ASCII)
_LONGEST: Final = 64
_LARGEST_EXPONENT: Final = 18
_LARGEST: Final = 2**63 - 1
SMALLEST_SLICE: Final = MIB
"""A slice below this cannot hold anything; a bare number below it is almost surely a forgotten unit."""


class QuantityError(VramshareError):
    """A quantity that cannot be read. Carries what is wrong and what to write instead."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem}; {remedy}")


@dataclass(frozen=True, order=True, slots=True)
class Memory:
    """An amount of GPU memory. `count` is in bytes and never negative."""

    count: int

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"memory cannot be negative: {self.count} bytes")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a Kubernetes quantity of bytes.

        Raises:
            QuantityError: not a quantity, negative, not a whole number of bytes, or beyond 2^63 - 1 bytes.
        """
        amount = parse_quantity(text)
        if amount < 0:
            raise QuantityError("memory cannot be negative", "write a positive size such as 2Gi")
        if amount != int(amount):
            raise QuantityError("memory must be a whole number of bytes", "write a size such as 1536Mi")
        return cls(int(amount))

    @classmethod
    def mib(cls, count: int) -> Self:
        """So many mebibytes."""
        return cls(count * MIB)

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.count + other.count)

    def __str__(self) -> str:
        """The exact amount in the largest binary unit that divides it: `15360Mi`, `2Gi`, `1000`."""
        for suffix, size in reversed(_BINARY.items()):
            if self.count and self.count % size == 0:
                return f"{self.count // size}{suffix}"
        return str(self.count)

    def rounded(self) -> str:
        """The amount for a person's eye, rounded down to a tenth: `14.9Gi`, `512Mi`."""
        for suffix in ("Gi", "Mi", "Ki"):
            size = _BINARY[suffix]
            if self.count >= size:
                tenths = self.count * 10 // size
                whole, rest = divmod(tenths, 10)
                return f"{whole}.{rest}{suffix}" if rest else f"{whole}{suffix}"
        return str(self.count)


NO_MEMORY: Final = Memory(0)


@dataclass(frozen=True, order=True, slots=True)
class MemoryShare:
    """A share of one GPU's memory. `milli` is in thousandths of the GPU's memory, 1 to 1000."""

    milli: int

    def __post_init__(self) -> None:
        if not 1 <= self.milli <= 1000:
            raise ValueError(f"a memory share lies between 0.1% and 100%: {self.milli} thousandths")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `20%` or `12.5%`: more than zero, at most 100, at most one decimal.

        Raises:
            QuantityError: anything else.
        """
        match = _PERCENT.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None:
            raise QuantityError("not a percentage", "write a number from 0.1 to 100 and a percent sign, such as 20%")
        milli = Decimal(match[1]) * 10
        if milli != int(milli):
            raise QuantityError("a percentage has at most one decimal", "write for example 12.5%")
        if not 1 <= milli <= 1000:
            raise QuantityError("a percentage of one GPU lies between 0.1% and 100%", "write for example 20%")
        return cls(int(milli))

    def of(self, capacity: Memory) -> Memory:
        """This share of a GPU, rounded down to whole mebibytes, and never below one."""
        mebibytes = capacity.count * self.milli // 1000 // MIB
        return Memory(max(1, mebibytes) * MIB)

    def __str__(self) -> str:
        whole, rest = divmod(self.milli, 10)
        return f"{whole}.{rest}%" if rest else f"{whole}%"


MemoryAsk = Memory | MemoryShare
"""What a user may ask of a GPU's memory: so many bytes, or a share of whichever GPU it will be."""


def parse_memory_ask(text: str) -> MemoryAsk:
    """Read `2Gi`, `1536Mi` or `20%`.

    Raises:
        QuantityError: not such a quantity, zero, or so small that a unit was surely forgotten.
    """
    text = text.strip()
    if text.endswith("%"):
        return MemoryShare.parse(text)
    memory = Memory.parse(text)
    if memory.count == 0:
        raise QuantityError("a slice of no memory is no slice", "write a size such as 2Gi, or remove the request")
    if memory.count < SMALLEST_SLICE:
        if text.isdecimal():
            raise QuantityError(f"{text} bytes is too small for a slice", f"{text}? write {text}Mi")
        raise QuantityError("a slice is at least 1Mi", "write a size such as 2Gi")
    return memory


def parse_cores(text: str) -> int:
    """Read a share of GPU time in whole percent of one GPU, 1 to 100.

    Raises:
        QuantityError: anything else.
    """
    text = text.strip()
    if not text.isdecimal() or not text.isascii() or len(text) > _LONGEST:
        hint = text.removesuffix("%")
        good = hint if hint != text and hint.isdecimal() and len(hint) <= 3 else "25"
        raise QuantityError(
            "GPU time is a whole percentage of one GPU", f"write a number from 1 to 100, such as {good}"
        )
    percent = int(text)
    if percent == 0:
        raise QuantityError("no GPU time at all would never run", "write 1 to 100, or leave it out for no cap")
    if percent > 100:
        raise QuantityError(
            "GPU time is at most 100 percent of one GPU", "write 1 to 100; ask for more GPUs to use more"
        )
    return percent


class CoresPolicy(StrEnum):
    """Whether a share of GPU time is also a ceiling."""

    HARD = "hard"
    """Never more than the share."""
    BURST = "burst"
    """The share, and what others leave idle of theirs."""


def parse_cores_policy(text: str) -> CoresPolicy:
    """Read `hard` or `burst`.

    Raises:
        QuantityError: anything else.
    """
    try:
        return CoresPolicy(text.strip())
    except ValueError:
        raise QuantityError(
            "no such policy of GPU time", "write hard (the share and no more) or burst (idle time of others too)"
        ) from None


def parse_quantity(text: str) -> Decimal:
    """Read a Kubernetes quantity as a number of its base unit. The sign is allowed; callers judge it.

    Raises:
        QuantityError: not in the grammar, or of absurd size.
    """
    if len(text) > _LONGEST:
        raise QuantityError(f"a quantity has at most {_LONGEST} characters", "write a size such as 2Gi")
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityError("not a quantity", "write a number and a unit, such as 2Gi or 1536Mi")
    sign, digits, suffix = match.groups()
    amount = Decimal(digits) * _scale(suffix)
    if amount > _LARGEST:
        raise QuantityError("beyond what any machine holds", "write a size such as 2Gi")
    return -amount if sign == "-" else amount


def _scale(suffix: str) -> Decimal:
    """What one unit of this suffix is worth."""
    if suffix == "":
        return Decimal(1)
    if suffix in _BINARY:
        return Decimal(_BINARY[suffix])
    if suffix in _DECIMAL:
        return Decimal(_DECIMAL[suffix])
    if suffix in _SMALL:
        return _SMALL[suffix]
    if suffix[0] in "eE" and suffix[1:].lstrip("+-").isdecimal():
        exponent = int(suffix[1:])
        if abs(exponent) <= _LARGEST_EXPONENT:
            return Decimal(10) ** exponent
    near = {"gi": "Gi", "mi": "Mi", "ki": "Ki", "ti": "Ti", "gb": "Gi", "mb": "Mi", "gib": "Gi", "mib": "Mi"}
    better = near.get(suffix.lower(), "Gi")
    raise QuantityError(f"unknown unit {suffix!r}", f"write {better} (or Ki, Mi, Gi, Ti, k, M, G, T, %)")
