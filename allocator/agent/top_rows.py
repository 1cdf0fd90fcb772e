"""What `vramshare top` shows: a row per container and GPU, where it comes from on a node, how it is sorted and written.

GPU time is told as of the time between two readings. It is counted only on GPUs where some tenant has a cap.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from allocator.agent.kubelet import LOGS, Container, containers
from allocator.agent.region import GpuUse
from allocator.api.allocation import Slice
from allocator.api.quantities import CoresPolicy, Memory

HEADER: Final = (
    "POD",
    "CONTAINER",
    "GPU",
    "USED",
    "LIMIT",
    "USE%",
    "PEAK",
    "REFUSED",
    "TIME%",
    "CAP",
    "WAIT%",
    "DEBT",
    "PROCESSES",
)
UNKNOWN: Final = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One container's slice of one GPU. None: not known here.

    Attributes:
        node: where it is; empty for the node that `top` runs on.
        pod: `namespace/name`.
        container: its name.
        gpu: UUID; empty where not even the limits could be read.
        limit: bytes of its slice.
        cap: percent of the GPU's time; 0: no cap.
        burst: whether it may borrow idle time.
        used: bytes that count against the limit.
        peak: the most so far.
        refused: allocations refused at the wall.
        time: percent of the GPU's time used.
        waited: percent of the time that launches were held back.
        debt: GPU time owed (positive) or saved up, in seconds.
        processes: how many use the GPU.
        problem: why something cannot be read; empty: nothing is wrong.
    """

    node: str
    pod: str
    container: str
    gpu: str = ""
    limit: int = 0
    cap: int = 0
    burst: bool = False
    used: int | None = None
    peak: int | None = None
    refused: int | None = None
    time: float | None = None
    waited: float | None = None
    debt: float | None = None
    processes: int | None = None
    problem: str = ""

    @property
    def share(self) -> float:
        """How full the slice is, in percent; 0 where that is not known."""
        return 100 * (self.used or 0) / self.limit if self.limit else 0.0

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Reading:
    """The node at one moment.

    Attributes:
        at: when it was read, in nanoseconds.
        containers: all with slices.
    """

    at: int
    containers: Sequence[Container]

    def uses(self) -> Mapping[tuple[str, str, str], GpuUse]:
        """What is used, by pod UID, container and GPU."""
        return {
            (one.uid, one.name, gpu.uuid): gpu
            for one in self.containers
            for gpu in (one.region.gpus if one.region else ())
        }


def read(kubelet: Path, root: Path) -> Reading:
    """The node now."""
    return Reading(at=time.monotonic_ns(), containers=tuple(containers(kubelet, logs=root / LOGS)))


def rows(now: Reading, before: Reading) -> list[Row]:
    """One row per container and GPU. Limits are the kubelet's; the rest is the container's own account."""
    result: list[Row] = []
    earlier, passed = before.uses(), now.at - before.at
    for one in now.containers:
        used = {gpu.uuid: gpu for gpu in one.region.gpus} if one.region else {}
        result += [
            _row(one, part, used.get(part.uuid), earlier.get((one.uid, one.name, part.uuid)), passed)
            for part in one.slices
        ]
        if one.problem:
            result.append(Row(node="", pod=one.pod, container=one.name, problem=one.problem))
    return result


def _row(one: Container, part: Slice, now: GpuUse | None, before: GpuUse | None, passed: int) -> Row:
    counted = now is not None and before is not None and now.time_used > 0 and passed > 0
    return Row(
        node="",
        pod=one.pod,
        container=one.name,
        gpu=part.uuid,
        limit=part.memory.count,
        cap=part.cores,
        burst=part.policy is CoresPolicy.BURST,
        used=now.total if now else 0,
        peak=now.peak if now else 0,
        refused=now.refused if now else 0,
        time=_rate(now.time_used - before.time_used, passed) if counted and now and before else None,
        waited=_rate(now.time_waited - before.time_waited, passed) if counted and now and before else None,
        debt=now.time_debt / 1e9 if counted and now else None,
        processes=len(one.region.processes) if one.region else None,
    )


def _rate(count: int, passed: int) -> float:
    return max(0, count) * 100 / passed


SORTS: Final[Mapping[str, Callable[[Row], Any]]] = {
    "pod": lambda row: (row.node, row.pod, row.container, row.gpu),
    "used": lambda row: -(row.used or 0),
    "limit": lambda row: -row.limit,
    "share": lambda row: -row.share,
    "time": lambda row: -(row.time if row.time is not None else -1),
    "refused": lambda row: -(row.refused or 0),
    "gpu": lambda row: (row.node, row.gpu, row.pod),
}
"""Orders, each with the most interesting first."""


def chosen(found: Iterable[Row], *, words: Sequence[str] = (), sort: str = "pod", backwards: bool = False) -> list[Row]:
    """The rows that have every word (in node, pod, container or GPU), in order."""
    folded = [word.casefold() for word in words]
    kept = [row for row in found if all(word in _said(row) for word in folded)]
    return sorted(kept, key=SORTS[sort], reverse=backwards)


def _said(row: Row) -> str:
    return f"{row.node} {row.pod} {row.container} {row.gpu} {row.problem}".casefold()


def cells(row: Row) -> tuple[str, ...]:
    """The row under HEADER."""
    if not row.gpu:
        return (row.pod, row.container, f"({row.problem})", *[""] * (len(HEADER) - 3))
    cap = UNKNOWN if not row.cap else f"{row.cap}%" + "+" * row.burst
    known = row.used is not None
    return (
        row.pod,
        row.container,
        row.gpu,
        _mib(row.used),
        _mib(row.limit),
        f"{int(row.share)}%" if row.limit and known else UNKNOWN,
        _mib(row.peak),
        _whole(row.refused),
        _percent(row.time),
        cap,
        _percent(row.waited),
        UNKNOWN if row.debt is None else f"{row.debt * 1e3:.1f}ms",
        _whole(row.processes),
    )


def table(found: Sequence[Row]) -> list[str]:
    """Aligned columns under their header; with the nodes' names where there are several."""
    nodes = any(row.node for row in found)
    lines = [("NODE",) * nodes + HEADER, *((row.node,) * nodes + cells(row) for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _mib(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count // Memory.mib(1).count}Mi"


def _whole(count: int | None) -> str:
    return UNKNOWN if count is None else str(count)


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{int(value)}%"
