"""Reads a container's usage region, a file that its tenant may have written.

The layout is defined in native/include/region.h; the numbers below are its offsets. Nothing in the file is
believed: offsets, strides and counts are checked against bounds of our own and against what could be read, before
they are used. The worst a tenant can do is to lie about itself.
"""

import functools
import os
import stat
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from allocator.api.errors import FormatError

MAGIC: Final = 0x314E4F4947455256
VERSION: Final = 1
LONGEST_COMMAND: Final = 16

MOST_GPUS: Final = 16
MOST_SLOTS: Final = 1024
"""As many as this layout has. A tenant that claims more has its agent keep a megabyte and work a tenth of a second, for
each of its containers at every look."""
LARGEST: Final = 4 << 20
"""Bytes that are read of one region at most; today's largest is 1.4 MiB."""

_HEADER: Final = struct.Struct("<QIIIIIIIIIIQQII")
_GPU: Final = struct.Struct("<16s8Qq4Q")
_SLOT: Final = struct.Struct("<QQQQII")
_COMMAND_AT: Final = 48
_VERSION_AT: Final = 64
_SLOT_FIXED: Final = 80
_USE: Final = struct.Struct("<3Q")

T = TypeVar("T")

ReadAt = Callable[[int, int], bytes]
"""Reads `size` bytes at `offset`; fewer at the end."""


@dataclass(frozen=True, slots=True)
class GpuUse:
    """What a container uses of one GPU, by its own account. Bytes.

    Attributes:
        uuid: the GPU.
        used: charged to allocations.
        overhead: the driver's own: contexts, code, stacks.
        pending: asked for and not settled yet.
        peak: highest total so far.
        limit: the slice as the container's processes last read it.
        refused: allocations refused at the wall, a count.
        time_used: GPU time used, in nanoseconds; counted while anybody on the GPU has a cap.
        time_waited: time that launches were held back, likewise.
        time_debt: GPU time owed (positive) or saved up (negative), likewise.
        longest_unit: the longest kernel or graph seen, likewise.
        active: the latest moment at which something was launched or waited to be, CLOCK_MONOTONIC in nanoseconds,
            likewise; 0: never.
    """

    uuid: str
    used: int
    overhead: int
    pending: int
    peak: int
    limit: int
    refused: int
    time_used: int = 0
    time_waited: int = 0
    time_debt: int = 0
    longest_unit: int = 0
    active: int = 0

    @property
    def total(self) -> int:
        """What counts against the limit."""
        return self.used + self.overhead


@dataclass(frozen=True, slots=True)
class Process:
    """A process that uses a GPU.

    Attributes:
        pid: in its own PID namespace.
        command: name of its program, cut and made printable.
        version: of the interposer in it.
        start: when it started, in clock ticks since boot.
        namespace: inode of its PID namespace.
    """

    pid: int
    command: str
    version: str
    start: int = 0
    namespace: int = 0


@dataclass(frozen=True, slots=True)
class Region:
    """A container's use."""

    gpus: tuple[GpuUse, ...]
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class _Tables:
    """The header's numbers, checked."""

    gpu_offset: int
    gpu_stride: int
    gpu_count: int
    slot_offset: int
    slot_stride: int
    slots: int
    use_offset: int
    use_stride: int


def read_file(name: str, *, folder: int) -> Region:
    """Read the region `name` in the folder open as the descriptor `folder`; see `read_activity`."""
    return _read(name, folder, parse)


def read_activity(name: str, *, folder: int) -> dict[str, int]:
    """When something was last launched, by GPU: `GpuUse.active` alone, at a small part of the cost.

    Never follows a link, never waits (a FIFO in its place), never maps, reads LARGEST bytes at most.

    Raises:
        FormatError: it is not a readable region.
        FileNotFoundError: there is none.
    """
    return _read(name, folder, parse_activity)


def _read(name: str, folder: int, reader: Callable[..., T]) -> T:
    """Open a region and read it with `reader`."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError as reason:
        raise FormatError(f"region: cannot be opened: {reason.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FormatError("region: not a regular file")
        return reader(lambda size, offset: os.pread(descriptor, size, offset), size=found.st_size)
    except OSError as reason:
        raise FormatError(f"region: cannot be read: {reason.strerror}") from None
    finally:
        os.close(descriptor)


def parse(read_at: ReadAt, *, size: int) -> Region:
    """Read a region of `size` bytes.

    Raises:
        FormatError: not a region, of another layout, or cut off.
    """
    tables = _tables(_exactly(read_at, _HEADER.size, 0), size=size)
    listed = _listed(read_at, tables)
    raw = _exactly(read_at, tables.slot_stride * tables.slots, tables.slot_offset)
    sums = [[0, 0, 0] for _ in listed]
    processes = []
    for base in range(0, len(raw), tables.slot_stride):
        owner, ready, namespace, start, pid, _ = _SLOT.unpack_from(raw, base)
        if not owner or ready != owner:
            continue
        processes.append(
            Process(
                pid=pid,
                command=_text(raw, base + _COMMAND_AT),
                version=_text(raw, base + _VERSION_AT),
                start=start,
                namespace=namespace,
            )
        )
        for index, total in enumerate(sums):
            values = _USE.unpack_from(raw, base + tables.use_offset + index * tables.use_stride)
            for at, value in enumerate(values):
                total[at] += value
    gpus = tuple(
        GpuUse(
            uuid=_uuid(one),
            used=used,
            overhead=overhead,
            pending=pending,
            limit=one[1],
            refused=one[3],
            peak=one[5],
            time_used=one[7],
            time_waited=one[8],
            time_debt=one[9],
            longest_unit=one[11],
            active=one[13],
        )
        for one, (used, overhead, pending) in zip(listed, sums, strict=True)
    )
    return Region(gpus=gpus, processes=tuple(processes))


def parse_activity(read_at: ReadAt, *, size: int) -> dict[str, int]:
    """Read of a region of `size` bytes when each GPU was last used.

    Raises:
        FormatError: not a region, of another layout, or cut off.
    """
    tables = _tables(_exactly(read_at, _HEADER.size, 0), size=size)
    return {_uuid(one): one[13] for one in _listed(read_at, tables)}


def _listed(read_at: ReadAt, tables: _Tables) -> list[tuple[Any, ...]]:
    """The GPUs' entries; they are made in order, and the first empty one ends them."""
    entries = _exactly(read_at, tables.gpu_stride * tables.gpu_count, tables.gpu_offset)
    listed = []
    for index in range(tables.gpu_count):
        one = _GPU.unpack_from(entries, index * tables.gpu_stride)
        if not any(one[0]):
            break
        listed.append(one)
    return listed


def _uuid(entry: tuple[Any, ...]) -> str:
    return _uuid_of(entry[0])


@functools.lru_cache(maxsize=256)
def _uuid_of(raw: bytes) -> str:
    return f"GPU-{uuid.UUID(bytes=raw)}"


def _tables(header: bytes, *, size: int) -> _Tables:
    """The header's numbers, each within bounds and all tables within the file."""
    (
        magic,
        version,
        _,
        gpu_offset,
        gpu_stride,
        gpu_count,
        slot_offset,
        slot_stride,
        slot_count,
        use_offset,
        use_stride,
        _,
        _,
        slots_high,
        _,
    ) = _HEADER.unpack(header)
    if magic != MAGIC:
        raise FormatError("region: not one (its first bytes are others)")
    if version != VERSION:
        raise FormatError(f"region: version {version}, of which this agent knows nothing; it reads {VERSION}")
    sound = (
        0 < gpu_count <= MOST_GPUS
        and gpu_stride >= _GPU.size
        and slot_count <= MOST_SLOTS
        and slot_stride >= _SLOT_FIXED
        and use_stride >= _USE.size
        and use_offset >= _SLOT_FIXED
        and use_offset + gpu_count * use_stride <= slot_stride
        and gpu_offset + gpu_count * gpu_stride <= min(size, LARGEST)
        and slot_offset + slot_count * slot_stride <= min(size, LARGEST)
    )
    if not sound:
        raise FormatError("region: its header names tables that do not fit")
    return _Tables(
        gpu_offset=gpu_offset,
        gpu_stride=gpu_stride,
        gpu_count=gpu_count,
        slot_offset=slot_offset,
        slot_stride=slot_stride,
        slots=min(slots_high, slot_count),
        use_offset=use_offset,
        use_stride=use_stride,
    )


def _exactly(read_at: ReadAt, size: int, offset: int) -> bytes:
    found = read_at(size, offset) if size else b""
    if len(found) != size:
        raise FormatError("region: cut off")
    return found


def _text(raw: bytes, at: int) -> str:
    """A name that a tenant chose, fit for a terminal."""
    return _printable(raw[at : at + LONGEST_COMMAND])


@functools.lru_cache(maxsize=1024)
def _printable(name: bytes) -> str:
    text = name.split(b"\0", 1)[0].decode("ascii", errors="replace")
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text)
