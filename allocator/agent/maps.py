"""Which interposers a process' memory map names, read as it comes. Pure.

How long a map is, is its owner's choice: 65,530 lines by the kernel's default, each with a path of up to 4,095
characters. So no map is held as a whole, and no pattern goes over one: both would be the end of the agent.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

LIBRARY: Final = b"libvramshare-"
"""What the name of an installed interposer begins with."""
MOST: Final = 64
"""Different ones that are told of one process. One of good faith has one, or two after an upgrade."""
_LONGEST: Final = 1 << 14
"""Bytes of a line; the kernel's are shorter."""
_FILE: Final = re.compile(rb"[0-9a-f]+:[0-9a-f]+ [0-9]+")
_REMOVED: Final = b" (deleted)"


@dataclass(frozen=True, slots=True)
class Mapped:
    """An interposer in a process' memory.

    Attributes:
        file: device and inode, as memory maps show them.
        path: in the process' own view.
    """

    file: str
    path: str


def parse_maps(pieces: Iterable[bytes]) -> frozenset[Mapped]:
    """The interposers in a /proc/<pid>/maps, given in pieces as it was read."""
    found: set[Mapped] = set()
    for file, path in naming(pieces):
        found.add(Mapped(file=file.decode(), path=shown(path)))
        if len(found) >= MOST:
            break
    return frozenset(found)


def naming(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The mappings whose path says that they are an interposer: device and inode, and the path."""
    rest = b""
    for piece in pieces:
        whole, newline, last = piece.rpartition(b"\n")
        if newline:
            yield from _named(rest + whole)
            rest = b""
        rest += last
        if len(rest) > _LONGEST:  # no kernel's
            rest = b""
    yield from _named(rest)


def _named(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    if LIBRARY not in text:
        return
    for line in text.split(b"\n"):  # the only character of a path that the kernel spells out
        if LIBRARY not in line:
            continue
        fields = line.split(None, 5)
        if len(fields) < 6:
            continue
        file, path = b" ".join(fields[3:5]), fields[5].removesuffix(_REMOVED)
        if LIBRARY in path and path.endswith(b".so") and len(path.split()) == 1 and _FILE.fullmatch(file):
            yield file, path


def shown(text: bytes) -> str:
    """A name that a tenant chose, fit for a terminal and a ConfigMap."""
    return "".join(
        char if char.isascii() and char.isprintable() else "?" for char in text.decode("ascii", errors="replace")
    )
