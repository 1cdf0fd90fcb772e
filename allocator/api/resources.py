"""What a container asks by HAMi's resources, as numbers of ours."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from allocator.api import names
from allocator.api.errors import RequestError
from allocator.api.quantities import MIB, Memory, MemoryAsk, MemoryShare, QuantityError, parse_quantity

MOST_GPUS: Final = 64
WHOLE: Final = MemoryShare(1000)


def sizes_from(found: Mapping[str, str], *, container: str) -> tuple[int, MemoryAsk, int | None]:
    """What one container asks by its resources. `gpumem` counts MiB; a canonicalised `3k` is 3,000 MiB.

    Args:
        found: its GPU resources, as written.
        container: its name, for errors.

    Returns:
        The number of slices (0: none asked), the memory of each, and the percent of time; None: no cap.

    Raises:
        RequestError: a value makes no sense.
    """

    def count(resource: str, *, most: int) -> int | None:
        return None if resource not in found else _whole(container, resource, found[resource], most=most)

    gpus = count(names.HAMI_GPU, most=MOST_GPUS)
    megabytes = count(names.HAMI_MEMORY, most=2**43)
    percent = count(names.HAMI_MEMORY_PERCENT, most=100)
    cores = count(names.HAMI_CORES, most=100)
    if megabytes and percent:
        raise RequestError(
            where=f"resource {names.HAMI_MEMORY_PERCENT}",
            value=found[names.HAMI_MEMORY_PERCENT],
            problem=f"the container also asks by {names.HAMI_MEMORY}",
            remedy="keep one of the two",
            container=container,
        )
    memory: MemoryAsk = WHOLE
    if megabytes:
        memory = Memory.mib(megabytes)
    elif percent:
        memory = MemoryShare(percent * 10)
    if gpus is None:
        gpus = 1 if megabytes or percent or cores else 0
    if gpus and not (megabytes or percent or cores):
        cores = 100
    return gpus, memory, cores or None


def _whole(container: str, resource: str, text: str, *, most: int) -> int:
    """A resource's value as a whole number from 0 to `most`."""

    def error(problem: str, remedy: str) -> RequestError:
        return RequestError(
            where=f"resource {resource}", value=text, problem=problem, remedy=remedy, container=container
        )

    try:
        amount = parse_quantity(text)
    except QuantityError as reason:
        raise error(reason.problem, "write a whole number") from None
    if amount < 0:
        raise error("cannot be negative", "write a positive whole number")
    if amount != int(amount):
        raise error("must be a whole number", f"write {int(amount) + 1}")
    if resource == names.HAMI_MEMORY and amount >= MIB:
        better = Decimal(int(amount) // MIB)
        raise error("counts MiB, and this would be more than any GPU has", f"write {better} for {Memory(int(amount))}")
    if amount > most:
        raise error(f"at most {most}", f"write a whole number from 1 to {most}")
    return int(amount)
