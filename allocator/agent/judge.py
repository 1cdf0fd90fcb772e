"""Is every container with a slice really behind its wall? Decided from what one look at the node found. Pure.

What counts, in this order: which processes the driver says use a GPU (a tenant cannot hide from it), whose they are
by the kernel's control groups, what the ledger grants them, whether the interposer is mapped in them, whether the
container's region knows them, and how much memory the driver says they hold. The region is the tenant's own word: it
can make a container look worse, never better.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from allocator.agent.hostproc import HostProcess
from allocator.agent.kubelet import Container
from allocator.agent.region import Region
from allocator.agent.tenancy import Ledger, holders
from allocator.api.isolation import NOBODY, Isolation
from allocator.api.quantities import MIB, Memory

SLACK_BYTES: Final = 64 * MIB
SLACK_PART: Final = 0.02
"""What a container may hold beyond its slice before that is a breach, the larger of the two. The driver takes memory
for code and stacks at its own time; the wall learns of it afterwards and then refuses everything new."""
_WORST: Final = {Isolation.ISOLATED: 0, Isolation.UNVERIFIED: 1, Isolation.VIOLATED: 2}

Key = tuple[str, str]
"""A container: its pod's UID and its name."""


class Loaded(Enum):
    """Whether the interposer is in a process."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    STUCK = "stuck"
    """Reading it hangs, and with it the process."""


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses GPUs.

    Attributes:
        process: which, and whose.
        memory: bytes held by GPU; None: the driver does not tell.
        loaded: whether the interposer is in it.
    """

    process: HostProcess
    memory: Mapping[str, int | None]
    loaded: Loaded


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one look found.

    Attributes:
        ledger: who may.
        containers: with slices, by the kubelet's folder.
        users: who does.
        problems: why the driver's word is missing, by GPU; `*`: for all.
        lost: bytes held on each GPU by processes that could not be found on this node.
    """

    ledger: Ledger
    containers: tuple[Container, ...] = ()
    users: tuple[User, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of one container.

    Attributes:
        uid: its pod's UID.
        pod: `namespace/name`.
        container: its name; `-`: not known.
        state: how far its isolation is proven.
        kind: what is wrong, in a word; by it one finding is told from another, whatever numbers its reason holds.
        reason: the same for a person.
        granted: whether its pod holds a grant.
    """

    uid: str
    pod: str
    container: str
    state: Isolation = Isolation.ISOLATED
    kind: str = ""
    reason: str = ""
    granted: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows from a look.

    Attributes:
        verdicts: one per container.
        foreign: bytes by GPU that are held outside of grants, or beyond them.
        held: bytes that the driver says each container holds, by container and GPU.
        processes: how many processes of each container use a GPU.
    """

    verdicts: tuple[Verdict, ...]
    foreign: Mapping[str, int]
    held: Mapping[tuple[Key, str], int]
    processes: Mapping[Key, int]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is not in the evidence.

    Attributes:
        known: whether a pod without a grant is expected to use GPUs: monitoring, validation, ourselves.
        others: UIDs of pods that got their GPU from somebody else on this node, such as a device plugin.
        names: `namespace/name` of pods by UID.
        ceilings: bytes that a container was once allowed, by container and GPU, where that was more than now.
    """

    known: Callable[[str], bool] = lambda _: False
    others: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    ceilings: Mapping[tuple[Key, str], int] = field(default_factory=dict)


def judge(evidence: Evidence, rules: Rules) -> Judgement:
    """Look at every container that has a slice, or uses a GPU without one."""
    grants = holders(evidence.ledger, evidence.containers)
    regions = {(one.uid, one.name): one for one in evidence.containers}
    by_container: dict[Key, list[User]] = defaultdict(list)
    foreign: dict[str, int] = defaultdict(int, evidence.lost)
    for user in evidence.users:
        owner = user.process.owner
        if owner is not None:
            by_container[owner.uid, _container_of(user.process, owner.uid, regions)].append(user)
        if owner is None or owner.uid not in grants:
            _add(foreign, user)
    held = {key: _held(users) for key, users in by_container.items()}
    expected = {(uid, name) for uid, grant in grants.items() for name in grant.allocation.containers}
    verdicts = []
    for key in sorted({*(expected & regions.keys()), *by_container}):
        uid, container = key
        grant = grants.get(uid)
        pod = rules.names.get(uid) or (f"{grant.namespace}/{grant.pod}" if grant else f"{NOBODY}/{uid}")
        blank = Verdict(uid=uid, pod=pod, container=container, granted=grant is not None)
        if grant is None:
            verdicts.extend(_stranger(blank, by_container[key], evidence, rules))
            continue
        limits = {one.uuid: one.memory.count for one in grant.allocation.containers.get(container, ())}
        case = _Case(blank, limits, by_container.get(key, []), regions.get(key), held.get(key, {}))
        verdicts.append(_worst(blank, [*case.processes(), *case.memory(rules), *case.doubts(evidence)]))
        for uuid, beyond in case.beyond().items():
            foreign[uuid] += beyond
    return Judgement(
        verdicts=tuple(verdicts),
        foreign=dict(foreign),
        held={(key, uuid): count for key, gpus in held.items() for uuid, count in gpus.items()},
        processes={key: len(users) for key, users in by_container.items()},
    )


Fault = tuple[Isolation, str, str]
"""State, kind, reason."""


@dataclass(frozen=True, slots=True)
class _Case:
    """One container of a pod that holds a grant."""

    verdict: Verdict
    limits: Mapping[str, int]
    users: list[User]
    seen: Container | None
    held: Mapping[str, int]

    def processes(self) -> list[Fault]:
        """What is wrong with its processes, each by itself."""
        limits, found = self.limits, list[Fault]()
        region = self.seen.region if self.seen else None
        for user in self.users:
            strange = sorted(user.memory.keys() - limits.keys())
            if strange:
                where = f"{_shown(user)} uses {strange[0]}, of which its container has no slice"
                found.append((Isolation.VIOLATED, "gpu", where))
            if user.loaded is Loaded.NO:
                found.append((Isolation.VIOLATED, "preload", f"{_shown(user)} runs without the interposer"))
            elif user.loaded is Loaded.UNKNOWN:
                reason = f"the memory map of {_shown(user)} cannot be read (the agent needs CAP_SYS_PTRACE)"
                found.append((Isolation.UNVERIFIED, "map", reason))
            elif user.loaded is Loaded.STUCK:
                reason = f"reading the memory map of {_shown(user)} hangs (does it, too: state D in ps?)"
                found.append((Isolation.UNVERIFIED, "map", reason))
            elif region is None or not in_region(region, user.process):
                why = self.seen.problem if self.seen and self.seen.problem else "it is not in its container's region"
                found.append((Isolation.UNVERIFIED, "region", f"{_shown(user)} has the interposer, but {why}"))
        return found

    def memory(self, rules: Rules) -> list[Fault]:
        """Whether it holds more than it may."""
        found: list[Fault] = []
        for uuid, limit in self.limits.items():
            held = self.held.get(uuid, 0)
            if held <= allowed(limit):
                continue
            text = f"holds {Memory(held).rounded()} of {uuid}, its slice is {Memory(limit).rounded()}"
            if held <= allowed(rules.ceilings.get(((self.verdict.uid, self.verdict.container), uuid), 0)):
                found.append((Isolation.UNVERIFIED, "lowered", f"{text} since it was made smaller"))
            else:
                found.append((Isolation.VIOLATED, "memory", text))
        return found

    def doubts(self, evidence: Evidence) -> list[Fault]:
        """What keeps a proof from being complete."""
        found: list[Fault] = []
        for uuid in self.limits:
            problem = evidence.problems.get(uuid) or evidence.problems.get("*")
            if problem:
                found.append((Isolation.UNVERIFIED, "driver", f"its processes on {uuid} are not known: {problem}"))
        if self.seen is not None and self.seen.problem:
            found.append((Isolation.UNVERIFIED, "region", self.seen.problem))
        if any(memory is None for user in self.users for memory in user.memory.values()):
            found.append(
                (Isolation.UNVERIFIED, "figures", "the driver does not tell how much memory its processes hold")
            )
        return found

    def beyond(self) -> dict[str, int]:
        """What it holds that its grant does not cover, by GPU: nobody else may be promised that."""
        limits = self.limits
        return {
            uuid: held - limits.get(uuid, 0) for uuid, held in self.held.items() if held > allowed(limits.get(uuid, 0))
        }


def allowed(limit: int) -> int:
    """Bytes that a container with this slice may be seen to hold; without a slice none at all."""
    return limit + max(SLACK_BYTES, int(limit * SLACK_PART)) if limit else 0


def in_region(region: Region, process: HostProcess) -> bool:
    """Whether a container's region knows a process: id and start time, and the PID namespace where both tell it."""
    return any(
        one.pid == process.inner
        and one.start == process.identity.start
        and (one.namespace == process.namespace or not one.namespace or not process.namespace)
        for one in region.processes
    )


def _container_of(process: HostProcess, uid: str, regions: Mapping[Key, Container]) -> str:
    """A container's name by the kubelet's mounts, else by the region that knows the process."""
    if process.container:
        return process.container
    matching = (
        name for (pod, name), one in regions.items() if pod == uid and one.region and in_region(one.region, process)
    )
    return next(matching, NOBODY)


def _stranger(blank: Verdict, users: list[User], evidence: Evidence, rules: Rules) -> list[Verdict]:
    """A pod without a grant that uses GPUs."""
    if rules.known(blank.pod) or blank.uid in rules.others:
        return []
    uuids = sorted({uuid for user in users for uuid in user.memory})
    reason = f"{_shown(users[0])} uses {', '.join(uuids)} without a grant"
    if evidence.ledger.unreadable:
        doubt = "; the node's ledger has entries that this agent cannot read"
        return [_with(blank, (Isolation.UNVERIFIED, "grant", reason + doubt))]
    return [_with(blank, (Isolation.VIOLATED, "grant", reason))]


def _worst(blank: Verdict, found: list[Fault]) -> Verdict:
    return _with(blank, max(found, key=lambda one: _WORST[one[0]])) if found else blank


def _with(blank: Verdict, fault: Fault) -> Verdict:
    state, kind, reason = fault
    return Verdict(blank.uid, blank.pod, blank.container, state=state, kind=kind, reason=reason, granted=blank.granted)


def _held(users: list[User]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for user in users:
        _add(found, user)
    return dict(found)


def _add(sums: dict[str, int], user: User) -> None:
    for uuid, memory in user.memory.items():
        sums[uuid] += memory or 0


def _shown(user: User) -> str:
    return f"process {user.process.identity.pid} ({user.process.identity.command})"
