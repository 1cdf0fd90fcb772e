"""What a pod was given: slices of GPUs, and the annotations by which they reach its containers.

An allocation line, `GPU-<uuid> memory=<bytes> cores=<percent>`, is what the interposer reads. `cores=0` means
no cap. `policy=burst` tells the node's agent that idle time of others may be lent to the container.
`rev=<n>` counts changes of its size.
`tenant=<allocation id>/<container>` names its windows in the GPU's timetable. Tokens that a reader does not know are
passed over.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from allocator.api import names
from allocator.api.errors import FormatError
from allocator.api.inventory import Inventory
from allocator.api.quantities import CoresPolicy, Memory, QuantityError

_ID: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, order=True, slots=True)
class Slice:
    """A part of one GPU.

    Attributes:
        uuid: the GPU.
        memory: VRAM behind the wall.
        cores: GPU time in percent of the GPU, reserved and capped; 0: neither.
        policy: whether the cap gives way while others leave their time idle.
        revision: the grant's revision that it was written into a pod with; no part of what it is. It tells the agent's
            word on this size from its word on the same size of another time. 0: the pod's first.
    """

    uuid: str
    memory: Memory
    cores: int = 0
    policy: CoresPolicy = CoresPolicy.HARD
    revision: int = field(default=0, compare=False)

    def line(self) -> str:
        """The line that the interposer reads."""
        revision = f" rev={self.revision}" if self.revision else ""
        return f"{self.uuid} memory={self.memory.count} {self._time()}{revision}"

    def shown(self) -> str:
        """The same for a person: exact, with a unit."""
        return f"{self.uuid} memory={self.memory} {self._time()}"

    def _time(self) -> str:
        """The tokens about GPU time. The default policy is not written: lines of before there were policies mean it."""
        return f"cores={self.cores}" + (f" policy={self.policy}" if self.policy != CoresPolicy.HARD else "")

    @classmethod
    def parse(cls, line: str) -> "Slice":
        """Read either form. A policy that this version does not know holds as the strictest one.

        Raises:
            FormatError: not such a line.
        """
        uuid, *tokens = line.split() or [""]
        if not uuid:
            raise FormatError("allocation line: it is empty")
        found: dict[str, str] = {}
        for token in tokens:
            key, equals, value = token.partition("=")
            if not equals or key in found:
                raise FormatError(f"allocation line {line[:120]!r}: cannot read {token[:40]!r}")
            found[key] = value
        try:
            cores, revision = int(found.get("cores", "0")), int(found.get("rev", "0"))
            memory = Memory.parse(found.get("memory", ""))
        except (QuantityError, ValueError):
            raise FormatError(f"allocation line {line[:120]!r}: memory or cores cannot be read") from None
        if not 0 <= cores <= 100:
            raise FormatError(f"allocation line {line[:120]!r}: cores lie between 0 and 100")
        policy = CoresPolicy.BURST if found.get("policy") == CoresPolicy.BURST else CoresPolicy.HARD
        return cls(uuid=uuid, memory=memory, cores=cores, policy=policy, revision=revision)


@dataclass(frozen=True, slots=True)
class Allocation:
    """A pod's slices on one node.

    Attributes:
        id: names the grant in the node's ledger; a valid ConfigMap key.
        node: the node's name.
        containers: slices by container name, in the pod's order; a container's slices are on different GPUs.
    """

    id: str
    node: str
    containers: Mapping[str, tuple[Slice, ...]]

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"an allocation id is a DNS label: {self.id!r}")

    def uuids(self) -> tuple[str, ...]:
        """The GPUs used, each once, in order of first use."""
        return tuple(dict.fromkeys(one.uuid for slices in self.containers.values() for one in slices))

    def totals(self) -> dict[str, Slice]:
        """What it takes of each GPU, over all containers. Cores of uncapped slices count nothing."""
        result: dict[str, Slice] = {}
        for slices in self.containers.values():
            for one in slices:
                before = result.get(one.uuid, Slice(uuid=one.uuid, memory=Memory(0)))
                result[one.uuid] = Slice(
                    uuid=one.uuid, memory=before.memory + one.memory, cores=before.cores + one.cores
                )
        return result


def tenant_name(allocation_id: str, container: str) -> str:
    """What a GPU's timetable calls a container."""
    return f"{allocation_id}/{container}"


def allocation_text(slices: tuple[Slice, ...], *, tenant: str) -> str:
    """A container's allocation file: a line per GPU."""
    return "".join(f"{one.line()} tenant={tenant}\n" for one in slices)


def tenant_of(text: str) -> str:
    """The tenant that a container's allocation file names; empty where it names none."""
    tokens = (token for line in text.splitlines() if not line.startswith("#") for token in line.split()[1:])
    return next((token.removeprefix("tenant=") for token in tokens if token.startswith("tenant=")), "")


def parse_allocation_text(text: str) -> tuple[Slice, ...]:
    """Read a container's allocation file.

    Raises:
        FormatError: a line cannot be read, or a GPU stands there twice.
    """
    slices = [Slice.parse(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    uuids = [one.uuid for one in slices]
    if len(set(uuids)) != len(uuids):
        raise FormatError("allocation: a GPU stands there twice")
    return tuple(slices)


def result_annotations(
    allocation: Allocation, *, inventory: Inventory, preloads: Mapping[str, str], library: str = ""
) -> dict[str, str]:
    """The annotations that turn a grant into a container's limits, devices and preload.

    Args:
        allocation: the grant.
        inventory: of the grant's node, for its injection strategy and its interposer.
        preloads: LD_PRELOAD that the pod spec had, by container; ours goes in front of it.
        library: where the pod has an interposer of its own; empty: it uses the node's.
    """
    interposer = library or inventory.interposer
    result = {
        names.STATUS: names.STATUS_ALLOCATED,
        names.ALLOCATION_ID: allocation.id,
        names.NODE: allocation.node,
        names.DEVICES: ",".join(allocation.uuids()),
    }
    for container, slices in allocation.containers.items():
        result[names.allocation_annotation(container)] = allocation_text(
            slices, tenant=tenant_name(allocation.id, container)
        )
        result[names.visible_devices_annotation(container)] = inventory.visible_devices(
            tuple(one.uuid for one in slices)
        )
        result[names.preload_annotation(container)] = preload(interposer, preloads.get(container, ""))
    return result


def preload(interposer: str, existing: str) -> str:
    """A container's LD_PRELOAD: the interposer, then what the spec had, ours taken out of the latter."""
    rest = [part for part in re.split(r"[:\s]+", existing) if part and not part.startswith(f"{names.LIBRARY_DIR}/")]
    return ":".join([interposer, *rest])


def allocation_of(annotations: Mapping[str, str]) -> Allocation | None:
    """Read a pod's allocation back from its annotations; None if it has none.

    Raises:
        FormatError: somebody else wrote there.
    """
    if annotations.get(names.STATUS) != names.STATUS_ALLOCATED:
        return None
    containers = {
        key.removeprefix(names.ALLOCATION_PREFIX): parse_allocation_text(value)
        for key, value in annotations.items()
        if key.startswith(names.ALLOCATION_PREFIX)
    }
    try:
        return Allocation(id=annotations[names.ALLOCATION_ID], node=annotations[names.NODE], containers=containers)
    except (KeyError, ValueError) as reason:
        raise FormatError(f"allocation annotations: {reason}") from None
