"""Which files in a process' memory map are interposers that an agent of this node installed.

A path proves nothing, a tenant can have a file of any name. What the kernel shows beside it, device and inode, does.
The agent learns them the way it will see them in others: it maps the file itself and reads its own map. (A file's
`stat` shows another device than a map does on some file systems.) A file counts if its content has the hash that its
name says.
"""

import hashlib
import mmap
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from allocator.agent.hostproc import parse_maps

_NAME: Final = re.compile(r"libvramshare-.+-([0-9a-f]{12})\.so")
_SELF: Final = Path("/proc/self/maps")

_Version = tuple[int, int, int]


@dataclass(slots=True)
class Trust:
    """The interposers of a folder.

    Attributes:
        host_dir: where they are installed.
    """

    host_dir: Path
    _known: dict[str, tuple[_Version, str]] = field(default_factory=dict)
    _ever: set[str] = field(default_factory=set)

    def identities(self) -> frozenset[str]:
        """Device and inode of each, as maps show them; of removed ones too, which old processes may still have."""
        try:
            with os.scandir(self.host_dir) as entries:
                found = [(one.name, one.stat(follow_symlinks=False)) for one in entries if _NAME.fullmatch(one.name)]
        except OSError:
            found = []
        for name, status in found:
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._known.get(name, (None,))[0] != version:
                self._known[name] = (version, mapped_as(self.host_dir / name))
                self._ever.add(self._known[name][1])
        return frozenset(self._ever - {""})


def mapped_as(file: Path) -> str:
    """How memory maps identify a file; empty if its content is not what its name says, or it cannot be read."""
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            named = _NAME.fullmatch(file.name)
            if named is None or not hashlib.sha256(mapped).hexdigest().startswith(named[1]):
                return ""
            maps = parse_maps(_SELF.read_bytes())
    except (OSError, ValueError):
        return ""
    path = os.path.realpath(file)
    return next((one.file for one in maps if one.path == path), "")
