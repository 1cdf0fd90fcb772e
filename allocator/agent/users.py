"""Finds out, for each process that the driver lists, which one it is, whose it is, and what is loaded in it."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from allocator.agent.gpus import GpuUsage
from allocator.agent.hostproc import HostProcess, Identity, Proc
from allocator.agent.judge import Loaded, User
from allocator.agent.maps import Mapped
from allocator.agent.patience import Bounded
from allocator.agent.trust import DELIVERED

AGAIN: Final = 300.0
"""Seconds after which a memory map that was in order is read once more. A process that becomes another program is
noticed at once, by its name or its stack; this is for what changes without either."""
LONGEST: Final = 2.0
"""Seconds of one look after which no more memory maps of one pod are read: how long they are is the pod's choice."""


@dataclass(slots=True)
class Users:
    """Looks processes up, and remembers what cannot change while they live.

    Attributes:
        proc: the host's /proc.
        trusted: the interposers that count, as memory maps identify them.
        monotonic: seconds that never go back.
        brought: whether a pod's own file, which its process has mapped as given, counts as an interposer.
        bounded: makes the calls that a pod's process can make hang.
    """

    proc: Proc
    trusted: Callable[[], frozenset[str]]
    monotonic: Callable[[], float]
    brought: Callable[[Path, str], bool] = lambda _file, _mapped: False
    bounded: Bounded = field(default_factory=Bounded)
    _processes: dict[Identity, HostProcess] = field(default_factory=dict)
    _checked: dict[Identity, float] = field(default_factory=dict)
    _spent: dict[str, float] = field(default_factory=dict)

    def look(self, usages: Iterable[GpuUsage]) -> tuple[tuple[User, ...], dict[str, int]]:
        """Who uses the GPUs.

        Returns:
            The processes by id, and by GPU the bytes of those that have ended or that cannot be seen from here.
        """
        memory: dict[int, dict[str, int | None]] = defaultdict(dict)
        for usage in usages:
            for one in usage.processes:
                memory[one.pid][usage.uuid] = one.memory
        self._spent.clear()
        trusted = self._trusted() if memory else frozenset()
        users, lost = [], defaultdict[str, int](int)
        for pid, held in sorted(memory.items()):
            process = self._process(pid)
            user = None if process is None else self._user(process, held, trusted)
            if user is not None:
                users.append(user)
                continue
            for uuid, count in held.items():
                lost[uuid] += count or 0
        there = {user.process.identity for user in users}
        self._processes = {key: value for key, value in self._processes.items() if key in there}
        self._checked = {key: value for key, value in self._checked.items() if key in there}
        return tuple(users), dict(lost)

    def _trusted(self) -> frozenset[str] | None:
        """The interposers that count; None: that cannot be found out now."""
        try:
            return self.trusted()
        except OSError:
            return None

    def _process(self, pid: int) -> HostProcess | None:
        identity = self.proc.identity(pid) if pid > 0 else None
        if identity is None:
            return None
        known = self._processes.get(identity)
        if known is not None and known.owner is not None:
            return known
        found = self.proc.process(pid)
        if found is not None:
            self._processes[found.identity] = found
        return found

    def _user(
        self, process: HostProcess, held: Mapping[str, int | None], trusted: frozenset[str] | None
    ) -> User | None:
        """The process as a user of GPUs; None where it ends meanwhile."""
        if process.owner is None:
            return User(process=process, memory=held, loaded=Loaded.UNKNOWN)
        try:
            loaded = self._loaded(process.identity, process.owner.uid, trusted)
        except (FileNotFoundError, ProcessLookupError):
            return None
        except TimeoutError:
            loaded = Loaded.STUCK
        except OSError:
            loaded = Loaded.UNKNOWN
        return User(process=process, memory=held, loaded=loaded)

    def _loaded(self, identity: Identity, pod: str, trusted: frozenset[str] | None) -> Loaded:
        now = self.monotonic()
        checked = self._checked.get(identity)
        if checked is not None and now - checked < AGAIN:
            return Loaded.YES
        if trusted is None:
            return Loaded.UNKNOWN
        if self._spent.get(pod, 0.0) >= LONGEST:
            raise TimeoutError("its pod has had its time")
        try:
            isolated = self.bounded.call(pod, lambda: self._has_one(identity, trusted))
        finally:
            self._spent[pod] = self._spent.get(pod, 0.0) + self.monotonic() - now
        if not isolated:
            return Loaded.NO
        self._checked[identity] = now
        return Loaded.YES

    def _has_one(self, identity: Identity, trusted: frozenset[str]) -> bool:
        """Whether it has mapped an interposer that counts."""
        mapped = self.proc.interposers(identity)
        return any(one.file in trusted or self._brought(identity, one) for one in mapped)

    def _brought(self, identity: Identity, one: Mapped) -> bool:
        """Whether it is the copy of an interposer that a pod brought along."""
        return one.path.rpartition("/")[2] == DELIVERED and self.brought(self.proc.file(identity, one.path), one.file)
