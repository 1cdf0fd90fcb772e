"""Whose a process is on a node of the embedded cluster. Simulation's marked edge.

The embedded kubelet makes no control groups (that takes rights which a developer's machine need not give). It writes
down instead, for each container that it starts, what the kernel would say of it:

    <host root>/run/devcluster/processes/<pid>:  start time, then the line of /proc/<pid>/cgroup, then the container

The id is that of the process which every process of the container descends from.
"""

import os
from pathlib import Path
from typing import Final

from allocator.agent.cgroups import Owner, owner_of
from allocator.agent.hostproc import Proc

RECORDS: Final = "run/devcluster/processes"
_DEEPEST: Final = 64
"""Generations that are followed at most."""


class SimulatedProc(Proc):
    """This machine's /proc, with the embedded kubelet's records in the place of control groups."""

    def __init__(self, root: Path, *, records: Path) -> None:
        super().__init__(root)
        self._records = os.fspath(records)

    def owner(self, pid: int) -> Owner | None:
        """The owner of the nearest ancestor that was written down."""
        found = self._recorded(pid)
        return owner_of(found[0]) if found else super().owner(pid)

    def container(self, pid: int, _uid: str) -> str:
        """The container's name as written down."""
        found = self._recorded(pid)
        return found[1] if found else ""

    def _recorded(self, pid: int) -> tuple[str, str] | None:
        for _ in range(_DEEPEST):
            if pid <= 0:
                return None
            found = self._record(pid)
            if found is not None:
                return found
            pid = self._parent(pid)
        return None

    def _record(self, pid: int) -> tuple[str, str] | None:
        try:
            start, groups, container = Path(self._records, str(pid)).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return None
        identity = self.identity(pid)
        return (groups, container) if identity is not None and str(identity.start) == start else None

    def _parent(self, pid: int) -> int:
        try:
            return int(self.read(pid, "stat").rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return 0
