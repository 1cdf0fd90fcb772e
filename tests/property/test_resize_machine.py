"""The protocol of a resize against a model: two leaders that stop anywhere, an owner, a kubelet, an agent, a tenant.

Whatever they do in whatever order, the ledger is never less than what the container may use, nor more than the GPU.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from allocator.api import names
from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.api.settled import Settled
from allocator.core.ledger import Changes, Ledger
from allocator.core.resize import covering, current, grows, marked, missing, resized, settled, wanted

GPU, MIB = "GPU-1", 100
CAPACITY = 10 * MIB
INVENTORY = Inventory(node="n", gpus=(Gpu(uuid=GPU, index=0, model="T4", memory=Memory.mib(CAPACITY)),))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LEADERS = st.sampled_from([0, 1])
SIZES = st.sampled_from([MIB, 3 * MIB, 6 * MIB])


def allocation(name: str, mib: int) -> Allocation:
    """One slice."""
    return Allocation(id=name, node="n", containers={"c": (Slice(uuid=GPU, memory=Memory.mib(mib)),)})


def size(one: Allocation) -> int:
    """MiB of it."""
    return one.containers["c"][0].memory.count >> 20


@dataclass(frozen=True)
class Pod:
    """As the API server has it."""

    version: int
    shown: Allocation
    request: int
    mark: bool = False


@dataclass
class Leader:
    """What one has read, and what it is about to write; it may stop between any two steps."""

    grant: Grant | None = None
    pod: Pod | None = None
    show: Allocation | None = None


class Resizing(RuleBasedStateMachine):
    """One pod that is resized, and room for others beside it."""

    @initialize(mib=SIZES)
    def begin(self, mib: int) -> None:
        """A granted pod runs."""
        grant = Grant(allocation=allocation("a", mib), namespace="t", pod="a", granted=NOON, uid="u")
        self.ledger = Ledger(node="n").apply(Changes(add=(grant,)))
        self.pod = Pod(version=1, shown=grant.allocation, request=mib)
        self.file, self.use, self.others = self.pod.shown, 0, 0
        self.said: tuple[Settled, ...] = ()
        self.leaders = [Leader(), Leader()]

    @property
    def booked(self) -> Grant:
        """The ledger's entry."""
        return self.ledger.grants["a"]

    @rule(mib=SIZES)
    def owner_edits(self, mib: int) -> None:
        """The request changes."""
        self.pod = replace(self.pod, request=mib, mark=True, version=self.pod.version + 1)

    @rule()
    def owner_withdraws(self) -> None:
        """The mark goes, whatever was done already."""
        self.pod = replace(self.pod, mark=False, version=self.pod.version + 1)

    @rule()
    def kubelet_refreshes(self) -> None:
        """The container's file is what the pod shows."""
        self.file = self.pod.shown

    @rule(part=st.integers(0, 10))
    def tenant_uses(self, part: int) -> None:
        """Anything within the limit; what was taken under a larger one may be kept."""
        self.use = max(part * size(self.file) // 10, self.use if part % 2 else 0)

    @rule()
    def agent_looks(self) -> None:
        """It says which smaller size is kept, and goes on saying so until it looks again."""
        one, held = self.file.containers["c"][0], self.booked.allocation
        smaller = size(self.file) < size(held) and self.use <= size(self.file)
        known = Settled("a", "c", uuid=GPU, memory=one.memory, cores=one.cores, revision=one.revision)
        self.said = (known,) if smaller else ()

    @rule(mib=SIZES)
    def others_come(self, mib: int) -> None:
        """Somebody takes what is free."""
        self.others += 1
        grant = Grant(allocation=allocation(f"o{self.others}", mib), namespace="t", pod="o", granted=NOON)
        admitted, _ = self.ledger.admit([grant], INVENTORY)
        self.ledger = self.ledger.apply(Changes(add=admitted))

    @precondition(lambda self: self.others)
    @rule()
    def others_go(self) -> None:
        """And gives it back."""
        self.ledger = self.ledger.apply(Changes(remove=frozenset(self.ledger.grants) - {"a"}))

    @rule(which=LEADERS)
    def leader_reads_the_ledger(self, which: int) -> None:
        """First: what it decides is bound to this revision."""
        self.leaders[which] = Leader(grant=self.booked)

    @rule(which=LEADERS)
    def leader_reads_the_pod(self, which: int) -> None:
        """Second."""
        leader = self.leaders[which]
        if leader.grant is not None and leader.show is None:
            leader.pod = self.pod

    @rule(which=LEADERS)
    def leader_writes_the_ledger(self, which: int) -> None:
        """Third, by compare-and-swap; it may have stood still since it read."""
        leader = self.leaders[which]
        grant, pod = leader.grant, leader.pod
        if grant is None or pod is None or leader.show is not None:
            return
        if not pod.mark and (grant.allocation == pod.shown or current(grant, pod.shown)):
            self.leaders[which] = Leader()
            if settled(grant, pod.shown, self.said):
                self._swap(replace(grant, allocation=pod.shown, revision=grant.revision + 1))
            return
        annotations = {names.memory_annotation("c"): f"{pod.request}Mi"}
        asked = wanted(annotations, pod.shown, INVENTORY) if pod.mark else pod.shown
        larger = covering(grant.allocation, pod.shown, asked)
        if self._swap(replace(grant, allocation=larger, revision=grant.revision + 1)):
            leader.show = marked(asked, grant.revision + 1)
        else:
            self.leaders[which] = Leader()

    @rule(which=LEADERS)
    def leader_patches_the_pod(self, which: int) -> None:
        """Fourth, the version that it has read or none."""
        leader = self.leaders[which]
        if leader.show is not None and leader.pod is not None and leader.pod.version == self.pod.version:
            self.pod = replace(self.pod, shown=leader.show, mark=False, version=self.pod.version + 1)
        self.leaders[which] = Leader()

    @rule(which=LEADERS)
    def leader_works(self, which: int) -> None:
        """All of it at once, as mostly."""
        self.leader_reads_the_ledger(which)
        self.leader_reads_the_pod(which)
        self.leader_writes_the_ledger(which)
        self.leader_patches_the_pod(which)

    @rule(mib=SIZES, which=LEADERS)
    def a_resize_goes_through(self, mib: int, which: int) -> None:
        """What an owner sees on a quiet day."""
        self.owner_edits(mib)
        self.leader_works(which)
        self.kubelet_refreshes()

    def _swap(self, wanted_: Grant) -> bool:
        before = self.booked
        if before.revision != wanted_.revision - 1:
            return False
        if grows(before.allocation, wanted_.allocation) and missing(self.ledger, wanted_, INVENTORY):
            return False
        self.ledger = resized(self.ledger, wanted_)
        return self.booked.revision == wanted_.revision

    @invariant()
    def nothing_is_promised_twice(self) -> None:
        """The ledger covers what is shown, what the container's file says, and what it uses."""
        held = size(self.booked.allocation)
        assert held >= max(size(self.pod.shown), size(self.file), self.use)
        assert sum(size(one.allocation) for one in self.ledger.grants.values()) <= CAPACITY


TestResizing = Resizing.TestCase
TestResizing.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
