"""Which files in a process' memory map are interposers that an agent of this node installed.

A path proves nothing, a tenant can have a file of any name. What the kernel shows beside it, device and inode, does.
The agent learns them the way it will see them in others: it maps the file itself and reads its own map. (A file's
`stat` shows another device than a map does on some file systems.) A file counts if its content has the hash that its
name says. A copy that a pod brought along counts if its content is that of an installed one.
"""

import ctypes
import hashlib
import mmap
import os
import re
import stat
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from allocator.api import names

DELIVERED: Final = names.DELIVERED_LIBRARY.rpartition("/")[2]
"""The name of a copy that a pod brought along."""
_NAME: Final = re.compile(r"libvramshare-.+-([0-9a-f]{12})\.so")
_SELF: Final = Path("/proc/self/maps")
_LARGEST: Final = 32 << 20
"""Bytes; an interposer is a small part of that."""
_PIECE: Final = 1 << 18
_MOST: Final = 1024
"""Copies of pods whose content is remembered."""

_Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Library:
    """A file that was read.

    Attributes:
        sha256: of its content, in hexadecimal.
        file: device and inode, as memory maps show them.
    """

    sha256: str
    file: str


@dataclass(slots=True)
class Trust:
    """The interposers of a folder.

    Attributes:
        host_dir: where they are installed.
    """

    host_dir: Path
    _known: dict[str, _Version] = field(default_factory=dict)
    _ever: set[str] = field(default_factory=set)
    _hashes: set[str] = field(default_factory=set)
    _copies: OrderedDict[_Version, Library] = field(default_factory=OrderedDict)

    def identities(self) -> frozenset[str]:
        """Device and inode of each, as maps show them; of removed ones too, which old processes may still have.

        Raises:
            OSError: one cannot be read now, so that nothing may be said of who runs without it.
        """
        try:
            with os.scandir(self.host_dir) as entries:
                found = [(one.name, one.stat(follow_symlinks=False)) for one in entries if _NAME.fullmatch(one.name)]
        except FileNotFoundError:
            found = []
        for name, status in found:
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._known.get(name) != version:
                library = installed(self.host_dir / name)
                self._known[name] = version
                if library is not None:
                    self._ever.add(library.file)
                    self._hashes.add(library.sha256)
        return frozenset(self._ever)

    def brought(self, file: Path, mapped: str) -> bool:
        """Whether a file of a tenant's, which a process has mapped as `mapped`, has the content of an installed one."""
        try:
            status = file.stat(follow_symlinks=False)
            version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            library = self._copies.get(version) or read(file)
        except OSError:
            return False
        if library is None:
            return False
        self._copies[version] = library
        self._copies.move_to_end(version)
        if len(self._copies) > _MOST:
            self._copies.popitem(last=False)
        return library.file == mapped and library.sha256 in self._hashes


def installed(file: Path) -> Library | None:
    """An installed interposer; None if its content is not what its name says.

    Raises:
        OSError: it cannot be read.
    """
    named, library = _NAME.fullmatch(file.name), read(file)
    return library if named and library and library.sha256.startswith(named[1]) else None


def read(file: Path) -> Library | None:
    """Read a file that may be a tenant's: no link is followed, nothing waited for; None: it can be no interposer.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= _LARGEST:
            return None
        # Not hashed through the mapping: touching what its owner cuts off meanwhile would be our end.
        digest = _digest(stream)
        with mmap.mmap(descriptor, 1, access=mmap.ACCESS_COPY) as mapped:
            return Library(sha256=digest, file=_shown_at(ctypes.addressof(ctypes.c_char.from_buffer(mapped))))


def _digest(stream: BinaryIO) -> str:
    """Of a file's first bytes, which are not held: it may grow while it is read."""
    found, left = hashlib.sha256(), _LARGEST
    while left > 0 and (piece := stream.read(min(left, _PIECE))):
        found.update(piece)
        left -= len(piece)
    return found.hexdigest()


def _shown_at(address: int) -> str:
    """Device and inode of what is mapped at an address of ours; empty: nothing is."""
    for line in _SELF.read_text(encoding="utf-8", errors="replace").splitlines():
        where, _, _, device, inode, *_ = line.split()
        first, _, end = where.partition("-")
        if int(first, 16) <= address < int(end, 16):
            return f"{device} {inode}"
    return ""
