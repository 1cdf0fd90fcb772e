"""What a namespace may hold of the cluster's GPUs: read from its annotations and ResourceQuotas, and counted.

The API server cannot enforce it: pods reach it without GPU resources, which the webhook has replaced. A quota that
cannot be read lets nothing in until it can: whoever wrote it meant to limit something.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from allocator.api import names
from allocator.api.grant import Grant
from allocator.api.quantities import MIB, SMALLEST_SLICE, Memory, MemoryShare, QuantityError, parse_quantity
from allocator.api.request import PodRequest

T = TypeVar("T", int, Memory)

_LARGEST: Final = 2**43
"""Of any count; MiB of it are 2^63 bytes."""


@dataclass(frozen=True, slots=True)
class Amount:
    """GPU memory in bytes, reserved GPU time in percent of one GPU, and slices."""

    memory: int = 0
    cores: int = 0
    gpus: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.memory + other.memory, self.cores + other.cores, self.gpus + other.gpus)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.memory - other.memory, self.cores - other.cores, self.gpus - other.gpus)


NONE: Final = Amount()


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits of one namespace, each None where there is none.

    Attributes:
        memory: of all its slices together.
        cores: reserved GPU time in percent of one GPU, so that 250 are two GPUs and a half.
        gpus: slices.
        problem: why it cannot be read, in a sentence; then nothing is granted. Empty: it can.
    """

    memory: Memory | None = None
    cores: int | None = None
    gpus: int | None = None
    problem: str = ""

    def excess(self, used: Amount, asked: Amount) -> str:
        """Why the namespace cannot have so much more, in a sentence; empty: it can."""
        if self.problem:
            return self.problem
        if self.memory is not None and used.memory + asked.memory > self.memory.count:
            return _over("of GPU memory", *(_bytes(one) for one in (asked.memory, used.memory, self.memory.count)))
        if self.cores is not None and used.cores + asked.cores > self.cores:
            return _over("of a GPU's time", *(f"{one}%" for one in (asked.cores, used.cores, self.cores)))
        if self.gpus is not None and used.gpus + asked.gpus > self.gpus:
            return _over("slices", *(str(one) for one in (asked.gpus, used.gpus, self.gpus)))
        return ""

    def tightened(self, other: "Quota") -> "Quota":
        """Both at once: the smaller limit of each kind."""
        return Quota(
            memory=_least(self.memory, other.memory),
            cores=_least(self.cores, other.cores),
            gpus=_least(self.gpus, other.gpus),
            problem=self.problem or other.problem,
        )


def held(grant: Grant) -> Amount:
    """What a grant takes of its namespace's quota."""
    slices = [one for found in grant.allocation.containers.values() for one in found]
    return Amount(sum(one.memory.count for one in slices), sum(one.cores for one in slices), len(slices))


def least(*requests: PodRequest) -> Amount:
    """What pods take at least, together: a share of a GPU's memory is known only once the GPU is."""
    memory = cores = gpus = 0
    for one in (one for request in requests for one in request.containers):
        memory += 0 if isinstance(one.memory, MemoryShare) else one.gpus * one.memory.count
        cores += one.gpus * (one.cores or 0)
        gpus += one.gpus
    return Amount(memory, cores, gpus)


def annotated_quota(annotations: Mapping[str, str]) -> Quota | None:
    """The quota in a namespace's annotations; None: there is none."""
    found = None
    for key in (names.QUOTA_MEMORY, names.QUOTA_CORES, names.QUOTA_GPUS):
        if key in annotations:
            one = _limit(key, annotations[key], where=f"annotation {key} of the namespace")
            found = one if found is None else found.tightened(one)
    return found


def resource_quota(quota: Mapping[str, Any]) -> Quota | None:
    """The GPU limits of a ResourceQuota; None: it has none."""
    spec, name = quota.get("spec") or {}, (quota.get("metadata") or {}).get("name", "")
    keys = (names.RESOURCE_QUOTA_MEMORY, names.RESOURCE_QUOTA_CORES, *names.RESOURCE_QUOTA_GPUS)
    hard = {key: str(value) for key, value in (spec.get("hard") or {}).items() if key in keys}
    if not hard:
        return None
    if spec.get("scopes") or spec.get("scopeSelector"):
        remedy = f"take the scope away, or limit the whole namespace by {names.QUOTA_MEMORY} and its like"
        return Quota(
            problem=f"ResourceQuota {name} limits GPUs for a part of the pods only, which is not done; {remedy}"
        )
    found = Quota()
    for key, value in sorted(hard.items()):
        found = found.tightened(_limit(key, value, where=f"{key} of ResourceQuota {name}"))
    return found


def joined(quotas: Iterable[Quota | None]) -> Quota | None:
    """All of a namespace's quotas at once; None: it has none."""
    found: Quota | None = None
    for one in quotas:
        if one is not None:
            found = one if found is None else found.tightened(one)
    return found


def _limit(key: str, text: str, *, where: str) -> Quota:
    """One limit; or why it cannot be read."""
    try:
        if key == names.QUOTA_MEMORY:
            return Quota(memory=_memory(text.strip()))
        count = _count(text.strip())
    except QuantityError as reason:
        return Quota(problem=f"no GPU is granted in this namespace: {where} is {text[:80]!r}: {reason}")
    if key == names.RESOURCE_QUOTA_MEMORY:
        return Quota(memory=Memory(count * MIB))
    if key in (names.QUOTA_CORES, names.RESOURCE_QUOTA_CORES):
        return Quota(cores=count)
    return Quota(gpus=count)


def _memory(text: str) -> Memory:
    found = Memory.parse(text)
    if 0 < found.count < SMALLEST_SLICE:
        raise QuantityError("less than any slice", f"{text}? write {text}Gi" if text.isdecimal() else "write 16Gi")
    return found


def _count(text: str) -> int:
    """A whole number, as an API server may write it: `3k`."""
    amount = parse_quantity(text)
    if amount != int(amount) or not 0 <= amount < _LARGEST:
        raise QuantityError("not a whole number from 0 on", "write for example 4")
    return int(amount)


def _least(one: T | None, other: T | None) -> T | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _over(what: str, asked: str, used: str, limit: str) -> str:
    return f"over the namespace's quota: needs {asked} {what}; {used} of {limit} are in use"


def _bytes(count: int) -> str:
    return Memory(max(0, count)).rounded()
