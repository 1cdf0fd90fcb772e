"""What a node has: the inventory ConfigMap, written by the node's agent, read by the allocator.

Made to be read with `kubectl describe configmap` too: one key for the node and one per GPU with `name: value`
lines, and where there is something to report the keys of `allocator.api.isolation`. Keys and names that a reader
does not know are passed over, so that parts of neighbouring versions can work side by side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from allocator.api import isolation
from allocator.api.errors import FormatError
from allocator.api.isolation import Eviction, Finding
from allocator.api.quantities import NO_MEMORY, Memory, QuantityError
from allocator.api.settled import Settled, settled_of

FORMAT: Final = 1
NODE_KEY: Final = "node"
GPU_KEYS: Final = "GPU-"
"""What the keys of GPUs, their UUIDs, begin with."""
ISOLATION_KEY: Final = "isolation"
EVICT_KEY: Final = "evict"
RELEASED_KEY: Final = "released"
SETTLED_KEY: Final = "settled"
HEALTHY: Final = "ok"


class Strategy(StrEnum):
    """How a GPU reaches a container on a node.

    ENV: the NVIDIA runtime reads bare UUIDs from NVIDIA_VISIBLE_DEVICES.
    CDI: the runtime resolves qualified names, `nvidia.com/gpu=<uuid>`.
    NONE: neither works here; the node gets no grants.
    """

    ENV = "env"
    CDI = "cdi"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of a node.

    Attributes:
        uuid: NVML's UUID, `GPU-…`.
        index: NVML's index on its node, for people.
        model: NVML's product name.
        memory: its total memory.
        reserve: what the driver keeps for itself and nobody can allocate.
        foreign: what others than vramshare's pods hold.
        health: `ok`, or why it takes no new grants.
    """

    uuid: str
    index: int
    model: str
    memory: Memory
    reserve: Memory = NO_MEMORY
    foreign: Memory = NO_MEMORY
    health: str = HEALTHY

    @property
    def capacity(self) -> Memory:
        """What grants may add up to. A percentage of a GPU is a share of this without regard to `foreign`."""
        return Memory(max(0, self.memory.count - self.reserve.count))

    @property
    def healthy(self) -> bool:
        """Whether it takes new grants."""
        return self.health == HEALTHY


@dataclass(frozen=True, slots=True)
class Inventory:
    """What an agent says of its node.

    Attributes:
        node: the node's name.
        gpus: its GPUs in NVML's order.
        strategy: how a GPU reaches a container here.
        interposer: path of the interposer inside a container, `/opt/vramshare/libvramshare-….so`; empty: none.
        reason: why the node takes no grants; empty where it does.
        driver: version of the NVIDIA driver.
        cuda: version of CUDA that the driver supports.
        interposer_sha256: hash of the interposer's file.
        findings: containers that are not isolated.
        evictions: pods whose eviction the agent asks of the leader.
        released: allocations that were to be released and of which no process lives any more.
        settled: slices that were made smaller and whose containers keep within the new size.
    """

    node: str
    gpus: tuple[Gpu, ...]
    strategy: Strategy = Strategy.ENV
    interposer: str = ""
    reason: str = ""
    driver: str = ""
    cuda: str = ""
    interposer_sha256: str = ""
    findings: tuple[Finding, ...] = ()
    evictions: tuple[Eviction, ...] = ()
    released: frozenset[str] = frozenset()
    settled: tuple[Settled, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether new grants may go to this node."""
        return not self.reason and self.strategy is not Strategy.NONE and bool(self.interposer)

    def visible_devices(self, uuids: tuple[str, ...]) -> str:
        """The value of NVIDIA_VISIBLE_DEVICES that shows a container these GPUs and no others."""
        if self.strategy is Strategy.CDI:
            return ",".join(f"nvidia.com/gpu={uuid}" for uuid in uuids)
        return ",".join(uuids)

    def to_data(self) -> dict[str, str]:
        """The ConfigMap's `data`."""
        data = {
            NODE_KEY: _lines(
                {
                    "format": str(FORMAT),
                    "name": self.node,
                    "strategy": self.strategy.value,
                    "reason": self.reason,
                    "driver": self.driver,
                    "cuda": self.cuda,
                    "interposer": self.interposer,
                    "interposer-sha256": self.interposer_sha256,
                }
            )
        }
        for gpu in self.gpus:
            data[gpu.uuid] = _lines(
                {
                    "index": str(gpu.index),
                    "model": gpu.model,
                    "memory": str(gpu.memory),
                    "reserve": str(gpu.reserve),
                    "foreign": str(gpu.foreign),
                    "health": gpu.health,
                }
            )
        reports = {
            ISOLATION_KEY: [one.line() for one in self.findings],
            EVICT_KEY: [one.line() for one in self.evictions],
            RELEASED_KEY: sorted(self.released),
            SETTLED_KEY: [one.line() for one in self.settled],
        }
        return data | {key: isolation.text_of(lines) for key, lines in reports.items() if lines}

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> "Inventory":
        """Read a ConfigMap's `data`.

        Raises:
            FormatError: a key or line is missing or cannot be read; says which.
        """
        node = parse_lines(data.get(NODE_KEY, ""), where=NODE_KEY)
        name = _needed(node, "name", where=NODE_KEY)
        try:
            strategy = Strategy(node.get("strategy", ""))
        except ValueError:
            raise FormatError(
                f"inventory of {name}: strategy {node.get('strategy')!r} is none of env, cdi, none"
            ) from None
        gpus = [_gpu(uuid, text) for uuid, text in data.items() if uuid.startswith(GPU_KEYS)]
        return cls(
            node=name,
            gpus=tuple(sorted(gpus, key=lambda gpu: (gpu.index, gpu.uuid))),
            strategy=strategy,
            interposer=node.get("interposer", ""),
            reason=node.get("reason", ""),
            driver=node.get("driver", ""),
            cuda=node.get("cuda", ""),
            interposer_sha256=node.get("interposer-sha256", ""),
            findings=isolation.findings_of(data.get(ISOLATION_KEY, "")),
            evictions=isolation.evictions_of(data.get(EVICT_KEY, "")),
            released=isolation.released_of(data.get(RELEASED_KEY, "")),
            settled=settled_of(data.get(SETTLED_KEY, "")),
        )


def parse_lines(text: str, *, where: str) -> dict[str, str]:
    """Read `name: value` lines; blank lines are passed over.

    Raises:
        FormatError: a line without a colon, or a name that stands twice.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or name.strip() in found:
            raise FormatError(f"{where}: cannot read the line {line[:80]!r}")
        found[name.strip()] = value.strip()
    return found


def _lines(values: Mapping[str, str]) -> str:
    """One line per value; line breaks inside a value become spaces, so that no value can forge another."""
    return "".join(f"{name}: {' '.join(value.split())}\n" for name, value in values.items() if value)


def _needed(values: Mapping[str, str], name: str, *, where: str) -> str:
    if not values.get(name):
        raise FormatError(f"{where}: the line {name!r} is missing")
    return values[name]


def _gpu(uuid: str, text: str) -> Gpu:
    values = parse_lines(text, where=uuid)
    try:
        return Gpu(
            uuid=uuid,
            index=int(values.get("index", "0")),
            model=_needed(values, "model", where=uuid),
            memory=Memory.parse(_needed(values, "memory", where=uuid)),
            reserve=Memory.parse(values.get("reserve", "0")),
            foreign=Memory.parse(values.get("foreign", "0")),
            health=values.get("health", HEALTHY),
        )
    except (QuantityError, ValueError) as reason:
        raise FormatError(f"{uuid}: {reason}") from None
