"""Kubernetes quantities as exact numbers."""

from decimal import Decimal

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(1000), "M": Decimal(1000**2),
    "G": Decimal(1000**3), "T": Decimal(1000**4), "P": Decimal(1000**5), "E": Decimal(1000**6),
    "Ki": Decimal(1024), "Mi": Decimal(1024**2), "Gi": Decimal(1024**3), "Ti": Decimal(1024**4),
    "Pi": Decimal(1024**5), "Ei": Decimal(1024**6),
}  # fmt: skip


def parse(text: str | float) -> Decimal:
    """Return the number that a quantity such as ``250m``, ``2Gi`` or ``1e3`` means.

    Raises:
        ValueError: it is no quantity.
    """
    plain = str(text)
    for length in (2, 1):
        factor = _SUFFIXES.get(plain[-length:])
        if factor is not None:
            return _number(plain[:-length], plain) * factor
    return _number(plain, plain)


def _number(digits: str, whole: str) -> Decimal:
    try:
        return Decimal(digits)
    except ArithmeticError:
        raise ValueError(f"quantity {whole!r}: write a number and a suffix such as 500m, 2 or 4Gi") from None


def total(requests: list[dict[str, str]]) -> dict[str, Decimal]:
    """Add several resource lists."""
    added: dict[str, Decimal] = {}
    for resources in requests:
        for name, amount in resources.items():
            added[name] = added.get(name, Decimal(0)) + parse(amount)
    return added
