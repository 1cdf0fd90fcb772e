"""One look at the node after the other: gather, judge, tell.

The order of a look is that of its trust: the driver's word first (with a deadline, it may hang), then the kernel's,
then the kubelet's folder, then the regions of tenants. Whatever is missing makes a proof incomplete and is said so;
nothing is taken for proven because it could not be looked at.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from allocator.agent.ceilings import Ceilings
from allocator.agent.foreign import Foreign
from allocator.agent.gpus import GpuError, GpuUsage
from allocator.agent.judge import Evidence, Judgement, Key, Rules, User, judge
from allocator.agent.kubelet import LOGS, Container, kubelet_folder
from allocator.agent.nodefolder import NodeFolder, Whose, everybody
from allocator.agent.patience import Patient, in_daemon_thread
from allocator.agent.releases import Releases, Signs, releasing
from allocator.agent.report import Report
from allocator.agent.sample import AgentSample, Latest
from allocator.agent.sampling import Findings, sample
from allocator.agent.settling import Settling, settled
from allocator.agent.tenancy import Ledger, LedgerView, holders, tenants
from allocator.agent.tracker import Change, Tracker
from allocator.agent.users import Users
from allocator.api.inventory import Inventory
from allocator.kube.clock import Clock

_log = structlog.get_logger(__name__)


class Kubelet:
    """The kubelet's folder below a host's root, wherever it turns out to be; for any thread."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder: NodeFolder | None = None
        self._lock = threading.Lock()

    def containers(self, *, regions: bool, whose: Whose = everybody) -> list[Container]:
        """All containers with slices; none while the folder cannot be seen."""
        with self._lock:
            folder = self._found()
            return folder.containers(regions=regions, whose=whose) if folder else []

    def pods(self) -> frozenset[str] | None:
        """UIDs of pods that have a folder; None: the kubelet's folder cannot be seen."""
        with self._lock:
            folder = self._found()
            # Listed for this answer: to `NodeFolder` a folder that cannot be read just now is an empty one.
            try:
                return frozenset(one.name for one in (folder.kubelet / "pods").iterdir()) if folder else None
            except OSError:
                return None

    def names(self) -> dict[str, str]:
        """`namespace/name` of pods, by UID."""
        with self._lock:
            folder = self._found()
            return dict(folder.names()) if folder else {}

    def _found(self) -> NodeFolder | None:
        if self._folder is None or not (self._folder.kubelet / "pods").is_dir():
            place = kubelet_folder(self._root)
            self._folder = NodeFolder(kubelet=place, logs=self._root / LOGS) if place else None
        return self._folder


@dataclass(frozen=True, slots=True)
class Senses:
    """Where a look gets what it finds.

    Attributes:
        usage: the driver, with a deadline.
        users: the kernel.
        kubelet: its folder.
        ledger: who holds grants.
        blind: why the host's processes cannot be seen; empty: they can.
    """

    usage: Patient[tuple[GpuUsage, ...]]
    users: Users
    kubelet: Kubelet
    ledger: LedgerView
    blind: str = ""


@dataclass(slots=True)
class Attestation:
    """Looks, and keeps what it told.

    Attributes:
        senses: where findings come from.
        clock: time.
        known: whether a pod (`namespace/name`) without a grant may use GPUs.
        changed: told each change of a container's state, once the inventory has it.
        others: UIDs of pods that got their GPU from somebody else on this node.
        begin: called before the first look: a node without GPUs never needs the ledger.
        tracker: what was told.
        latest: where the newest sample goes.
    """

    senses: Senses
    clock: Clock
    known: Callable[[str], bool]
    changed: Callable[[Change], None]
    others: Callable[[], frozenset[str]] = frozenset
    begin: Callable[[], None] = lambda: None
    tracker: Tracker = field(default_factory=Tracker)
    latest: Latest = field(default_factory=Latest)
    report: Report = field(default_factory=Report)
    """What goes into the inventory."""
    _foreign: Foreign = field(default_factory=Foreign)
    _releases: Releases = field(default_factory=Releases)
    _ceilings: Ceilings = field(default_factory=Ceilings)
    _settling: Settling = field(default_factory=Settling)
    _unsaid: dict[Key, Change] = field(default_factory=dict)
    _begun: bool = False
    _looks: int = 0
    _failures: int = 0

    def recall(self, before: Inventory) -> None:
        """Go on where an earlier agent stopped."""
        self.tracker.recall(before.findings)
        self._foreign.recall({gpu.uuid: gpu.foreign for gpu in before.gpus})
        foreign = {gpu.uuid: gpu.foreign for gpu in before.gpus if gpu.foreign.count}
        # `released` is not taken over: it is this agent's own certainty.
        self.report = Report(findings=before.findings, evictions=before.evictions, foreign=foreign)

    def announce(self) -> None:
        """The report is published: tell the changes that led to it. While the API server is away they wait."""
        for change in self._unsaid.values():
            self.changed(change)
        self._unsaid.clear()

    async def look(self, inventory: Inventory) -> bool:
        """One look at a node with GPUs; whether the inventory has to say something else by it."""
        if not self._begun:
            self._begun = True
            self.begin()
        started = self.clock.monotonic()
        usages, problems = await self._usages(inventory)
        ledger = self.senses.ledger.ledger
        gathered = await in_daemon_thread(lambda: self._gather(usages, ledger))
        judgement = None
        before = self.report
        if ledger is not None:
            evidence = replace(gathered.evidence, problems=problems)
            rules = Rules(self.known, self.others(), names=gathered.names, ceilings=self._ceilings.highest)
            judgement = judge(evidence, rules)
            self._tell(evidence, judgement, gathered)
        agent = AgentSample(
            usable=inventory.usable,
            reason=inventory.reason,
            driver=inventory.driver,
            driver_answers="*" not in problems,
            ledger_known=ledger is not None,
            looks=self._looks + 1,
            failures=self._failures,
            look_seconds=self.clock.monotonic() - started,
        )
        self._looks += 1
        self.latest.sample = sample(
            Findings(
                inventory=inventory,
                usages=usages,
                tenants=gathered.evidence.containers,
                ledger=ledger or Ledger(),
                judgement=judgement,
                told=self.tracker.state,
            ),
            at=self.clock.now(),
            agent=agent,
        )
        return self.report != before

    async def _usages(self, inventory: Inventory) -> tuple[tuple[GpuUsage, ...], dict[str, str]]:
        """The driver's word, and why it is missing, by GPU or for all (`*`)."""
        try:
            usages = await self.senses.usage.read()
        except GpuError as reason:
            self._failures += 1
            return (), {"*": str(reason)}
        problems = {one.uuid: one.problem for one in usages if one.problem}
        listed = {one.uuid for one in usages}
        problems |= {gpu.uuid: "the driver does not list it" for gpu in inventory.gpus if gpu.uuid not in listed}
        if self.senses.blind:
            problems["*"] = self.senses.blind
        return usages, problems

    def _gather(self, usages: tuple[GpuUsage, ...], ledger: Ledger | None) -> "_Gathered":
        """Everything that blocks."""
        senses = self.senses
        users, lost = senses.users.look(usages)

        def whose(there: list[Container]) -> list[Container]:
            return there if ledger is None else tenants(ledger, there)

        there = senses.kubelet.containers(regions=True, whose=whose)
        mine = whose(there)
        alive = None
        if ledger is not None and releasing(ledger.grants) and not senses.blind:
            alive = self._alive(users)
        evidence = Evidence(ledger=ledger or Ledger(), containers=tuple(mine), users=users, lost=lost)
        return _Gathered(evidence, tuple(there), senses.kubelet.names(), senses.kubelet.pods(), alive)

    def _alive(self, users: tuple[User, ...]) -> frozenset[str] | None:
        """UIDs of pods of which a process lives; None: the processes cannot be listed."""
        by_driver = {user.process.owner.uid for user in users if user.process.owner is not None}
        try:
            return frozenset({owner.uid for owner in self.senses.users.proc.owners()} | by_driver)
        except OSError as reason:
            _log.warning("processes cannot be listed", reason=str(reason))
            return None

    def _tell(self, evidence: Evidence, judgement: Judgement, gathered: "_Gathered") -> None:
        for change in self.tracker.look(judgement.verdicts):
            self._unsaid[change.now.uid, change.now.container] = change
        now = self.clock.monotonic()
        grants = holders(evidence.ledger, evidence.containers)
        self._ceilings.look(grants, judgement.held)
        released: frozenset[str] = frozenset()
        if gathered.alive is not None:
            doubtful = frozenset({*evidence.problems, *evidence.lost})
            signs = Signs(alive=gathered.alive, doubtful=doubtful, folders=gathered.folders)
            released = self._releases.look(releasing(evidence.ledger.grants), signs, now=now)
        foreign = self._foreign.look(judgement.foreign, now=now) if not evidence.problems else self.report.foreign
        smaller = () if evidence.problems else settled(gathered.there, grants, judgement.held)
        self.report = Report(
            findings=self.tracker.findings(),
            evictions=self.tracker.evictions(),
            released=released,
            foreign=foreign,
            settled=self._settling.look(smaller),
        )


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What the blocking part of a look found."""

    evidence: Evidence
    there: tuple[Container, ...]
    names: dict[str, str]
    folders: frozenset[str] | None
    alive: frozenset[str] | None
