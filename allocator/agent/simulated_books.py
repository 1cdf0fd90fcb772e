"""Who holds what of a simulated GPU: the fake driver's books, read as they stand. Simulation's marked edge.

The layout is that of native/tests/fakegpu/books.c. An entry belongs to a process while that process holds the fcntl
lock on the entry's byte; asking for the lock tells its id, as this process counts.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAGIC: Final = 0x32424B46
_HEAD: Final = struct.Struct("<IIII")
_GPUS: Final = 16
_UUID: Final = 64
_OWNER: Final = 24
_USE: Final = struct.Struct("<7Q")
_ENTRIES_AT: Final = _HEAD.size + _GPUS * _UUID
_ENTRY: Final = _OWNER + _GPUS * _USE.size
_ENTRIES: Final = 1024
_LOCK: Final = struct.Struct("hhqqi4x")
"""struct flock of 64-bit Linux."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one process holds of one simulated GPU.

    Attributes:
        pid: the process; 0: in a PID namespace that this process cannot see into.
        uuid: the GPU.
        memory: bytes, as process lists show them.
        busy: CLOCK_MONOTONIC in nanoseconds at which all work given to it will be done.
    """

    pid: int
    uuid: str
    memory: int
    busy: int


def holdings(books: Path) -> tuple[Holding, ...]:
    """Everything that living processes hold; nothing where no process ever started a simulated GPU."""
    try:
        descriptor = os.open(books, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ()
    try:
        return tuple(_read(descriptor))
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Iterator[Holding]:
    head = os.pread(descriptor, _ENTRIES_AT, 0)
    if len(head) < _ENTRIES_AT:
        return
    magic, rows, highest, _ = _HEAD.unpack_from(head)
    if magic != _MAGIC:
        return
    names = [head[at : at + _UUID].split(b"\0", 1)[0].decode() for at in range(_HEAD.size, _ENTRIES_AT, _UUID)]
    for entry in range(min(highest, _ENTRIES)):
        raw = os.pread(descriptor, _ENTRY, _ENTRIES_AT + entry * _ENTRY)
        uses = [_USE.unpack_from(raw, _OWNER + row * _USE.size) for row in range(min(rows, _GPUS))]
        if not any(use[3] for use in uses) or (pid := _owner(descriptor, 1 + entry)) is None:
            continue
        for uuid, (held, hidden, _, contexts, busy, _, _) in zip(names, uses, strict=False):
            if contexts:
                yield Holding(pid=pid, uuid=uuid, memory=held - hidden, busy=busy)


def _owner(descriptor: int, place: int) -> int | None:
    """Who holds the lock on a byte; None: nobody."""
    asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
    kind, _, _, _, pid = _LOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else pid
