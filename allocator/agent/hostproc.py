"""Processes of the host, read from its /proc: whose they are, and whether the interposer is in them.

A process id alone names nobody: ids are used again. A process is its id and its start time, and what is read about
it counts only if both stand before and after.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

from allocator.agent.cgroups import Owner, owner_of
from allocator.agent.maps import Mapped, parse_maps, shown

T = TypeVar("T")

_LARGEST: Final = 64 << 20
"""Bytes of a memory map that are looked at; one of 65,530 usual mappings, the kernel's limit, has some 10 MB."""
_MOUNTS: Final = 1 << 20
"""Bytes of a list of mounts that are looked at; a container's has some 10 KB, but may have a tenant's own in it."""
_SHORT: Final = 1 << 16
_NAME_OF_CONTAINER: Final = r"/pods/{uid}/containers/([a-z0-9.-]+)/[0-9a-f]+ "
"""The root of the mount that the kubelet makes for a container's termination message."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process.

    Attributes:
        pid: as the host counts.
        start: when it started, in clock ticks since boot.
        command: its name, which changes when it becomes another program.
        stack: where its stack begins, which changes too; 0 where the kernel does not tell.
    """

    pid: int
    start: int
    command: str = ""
    stack: int = 0


@dataclass(frozen=True, slots=True)
class HostProcess:
    """A process and where it belongs.

    Attributes:
        identity: which one it is.
        owner: its pod and container; None: it is of no pod.
        inner: its id in its own PID namespace, as it stands in a container's region.
        namespace: inode of that namespace; 0 where the kernel does not tell.
        container: the container's name by the kubelet's mounts; empty where they do not tell.
    """

    identity: Identity
    owner: Owner | None
    inner: int
    namespace: int = 0
    container: str = ""


class Proc:
    """A /proc, `root` in the agent's own view."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)

    def identity(self, pid: int) -> Identity | None:
        """Which process has this id now; None: none has."""
        try:
            return parse_stat(pid, self.read(pid, "stat"))
        except (OSError, ValueError):
            return None

    def process(self, pid: int) -> HostProcess | None:
        """The process of this id; None where it ends meanwhile."""
        return self._while_it_lives(pid, self._process)

    def interposers(self, identity: Identity) -> frozenset[Mapped]:
        """The interposers that a process has mapped.

        Raises:
            ProcessLookupError: it has ended.
            OSError: its map may not be read.
        """
        pieces = self.told(identity.pid, "maps")
        first = next(pieces, b"")
        found = parse_maps(chain((first,), pieces))
        now = self.identity(identity.pid)
        if not first or now is None or now.start != identity.start:
            raise ProcessLookupError(identity.pid)
        return found

    def file(self, identity: Identity, path: str) -> Path:
        """A file, `path` in a process' own view, in ours."""
        return Path(f"{self._root}/{identity.pid}/root{path}")

    def booted(self) -> datetime:
        """When the host started, UTC; long ago where that cannot be read."""
        try:
            found = re.search(r"^btime (\d+)$", Path(self._root, "stat").read_text(encoding="ascii"), re.MULTILINE)
        except (OSError, ValueError):
            found = None
        return datetime.fromtimestamp(int(found[1]) if found else 0, tz=UTC)

    def pids(self) -> Iterator[int]:
        """All process ids there are now."""
        with os.scandir(self._root) as entries:
            yield from (int(one.name) for one in entries if one.name.isdigit())

    def owners(self) -> Iterator[Owner]:
        """The owner of each process of a pod. A process that cannot be read has ended.

        Raises:
            OSError: processes cannot be listed.
        """
        for pid in self.pids():
            try:
                owner = self.owner(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if owner is not None:
                yield owner

    def owner(self, pid: int) -> Owner | None:
        """Whose a process is.

        Raises:
            OSError: it cannot be read.
        """
        text = self.read(pid, "cgroup")
        found = owner_of(text.decode(errors="replace"))
        if found is None and _at_root(text):
            # Version 1 moves a first thread that has ended there, and the others live on where they are.
            texts = (self.read(pid, one) for one in self._other_threads(pid, "cgroup"))
            owners = (owner_of(one.decode(errors="replace")) for one in texts)
            found = next((one for one in owners if one is not None), None)
        return found

    def _process(self, identity: Identity) -> HostProcess:
        pid = identity.pid
        owner = self.owner(pid)
        return HostProcess(
            identity=identity,
            owner=owner,
            inner=parse_inner(self.read(pid, "status"), pid),
            namespace=self._namespace(pid),
            container=self.container(pid, owner.uid) if owner else "",
        )

    def _while_it_lives(self, pid: int, read: Callable[[Identity], T]) -> T | None:
        before = self.identity(pid)
        if before is None:
            return None
        try:
            found = read(before)
        except (FileNotFoundError, ProcessLookupError):
            return None
        after = self.identity(pid)
        return found if after is not None and after.start == before.start else None

    def _namespace(self, pid: int) -> int:
        try:
            return Path(self._root, str(pid), "ns/pid").stat().st_ino
        except PermissionError:
            return 0

    def container(self, pid: int, uid: str) -> str:
        """The name of a process' container by the kubelet's mounts in it; empty where they do not tell."""
        try:
            text = b"".join(self.told(pid, "mountinfo", most=_MOUNTS))
        except PermissionError:
            return ""
        found = re.search(_NAME_OF_CONTAINER.format(uid=re.escape(uid)), text.decode(errors="replace"))
        return found[1] if found else ""

    def told(self, pid: int, name: str, *, most: int = _LARGEST) -> Iterator[bytes]:
        """A long file of a process, in pieces; of one whose first thread has ended, as its other threads have it.

        Raises:
            OSError: it cannot be read, or the process has ended.
        """
        for one in chain((name,), self._other_threads(pid, name)):
            empty = True
            for piece in self._pieces(pid, one, most):
                empty = False
                yield piece
            if not empty:
                return

    def _other_threads(self, pid: int, name: str) -> Iterator[str]:
        """Where a process' other threads have a file of this name."""
        with os.scandir(f"{self._root}/{pid}/task") as tasks:
            threads = [one.name for one in tasks if one.name != str(pid)]
        yield from (f"task/{one}/{name}" for one in threads)

    def _pieces(self, pid: int, name: str, most: int) -> Iterator[bytes]:
        """At most `most` bytes of a file, as the kernel gives them; nothing for a thread that has ended."""
        try:
            descriptor = self._open(pid, name)
        except OSError as reason:
            if reason.errno == errno.EINVAL:  # mounts of such a one
                return
            raise
        try:
            while most > 0 and (piece := os.read(descriptor, min(most, _SHORT))):
                yield piece
                most -= len(piece)
        finally:
            os.close(descriptor)

    def read(self, pid: int, name: str) -> bytes:
        """A short file of a process, which comes at once."""
        descriptor = self._open(pid, name)
        try:
            return os.read(descriptor, _SHORT)
        finally:
            os.close(descriptor)

    def _open(self, pid: int, name: str) -> int:
        return os.open(f"{self._root}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)


def _at_root(groups: bytes) -> bool:
    """Whether all of version 1's hierarchies show the root."""
    first = [line for line in groups.splitlines() if not line.startswith(b"0::")]
    return bool(first) and all(line.endswith(b":/") for line in first)


def parse_stat(pid: int, text: bytes) -> Identity:
    """Read /proc/<pid>/stat. The command stands in parentheses and may hold any character, parentheses too.

    Raises:
        ValueError: it is none.
    """
    command, _, rest = text.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    if len(fields) < 26:
        raise ValueError("not a process' stat")
    return Identity(pid=pid, start=int(fields[19]), command=shown(command), stack=int(fields[25]))


def parse_inner(status: bytes, pid: int) -> int:
    """A process' id in its innermost PID namespace, from /proc/<pid>/status; kernels before 4.1 do not tell."""
    for line in status.splitlines():
        if line.startswith(b"NSpid:"):
            return int(line.split()[-1])
    return pid
