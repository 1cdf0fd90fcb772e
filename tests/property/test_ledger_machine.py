"""The pure core against a model that fits on a page: two replicas, their fleets, the ledgers, the queue, the give-back.

The model knows what is true of every pod; the core only what a replica could have seen. Whatever hypothesis does in
whatever order, no write breaks an invariant, and whoever is in step knows what is free to the byte.
"""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from allocator.api import names
from allocator.api.allocation import Allocation
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.core.demand import PodDemand, Shape, SliceAsk
from allocator.core.fleet import Fleet
from allocator.core.giveback import PodFacts, Verdict, absent, holder, verdict
from allocator.core.ledger import Changes, Ledger
from allocator.core.nodes import NodeInfo
from allocator.core.placement import Placement, place
from allocator.core.policies import Policies
from allocator.core.queue import Waiting, in_order
from allocator.core.resources import Usage
from tests.invariants import Entry, crowded, entries, unjust

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICIES = Policies()
GRACE = timedelta(seconds=90)
REQUEST_LIMIT = timedelta(seconds=60)
SIZES = {"n1": 2, "n2": 1}
GPU_MIB = 1000
REPLICAS = ("one", "two")


@dataclass
class Truth:
    """What is so of one grant and its pod.

    Attributes:
        age: since it was granted.
        coming: its create request is still under way.
        pod: what a watch would show of its pod; None: nothing.
        held: whether containers of it hold memory.
        seen: whether the leader has seen the pod, as it was last.
    """

    age: timedelta = timedelta(0)
    coming: bool = True
    pod: PodFacts | None = None
    held: bool = False
    seen: PodFacts | None = None


@dataclass
class Replica:
    """A fleet, and the ledgers as this replica knows them."""

    fleet: Fleet = field(default_factory=Fleet)
    known: dict[str, Ledger] = field(default_factory=dict)


def waiting(uid: str, priority: int, created: int) -> Waiting:
    """A pod behind the gate."""
    pod = {
        "metadata": {
            "uid": uid,
            "name": uid,
            "creationTimestamp": f"2026-01-01T12:{created // 60:02}:{created % 60:02}Z",
        },
        "spec": {"priority": priority, "schedulingGates": [{"name": names.GATE}]},
    }
    found = Waiting.of(pod)
    assert found is not None
    return found


demands = st.builds(
    lambda gpus, mib, cores: PodDemand(
        shape=Shape(asks=(SliceAsk(gpus=gpus, memory=Memory.mib(mib), cores=cores),), usage=Usage(cpu=1, memory=1)),
        containers=("c",),
    ),
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from([100, 300, 500, 700, 1000]),
    st.sampled_from([0, 0, 30, 50, 100]),
)


class Core(RuleBasedStateMachine):
    """All of it."""

    grants = Bundle("grants")

    def __init__(self) -> None:
        super().__init__()
        self.inventories: dict[str, Inventory] = {}
        self.ledgers: dict[str, Ledger] = {}
        self.replicas = {name: Replica() for name in REPLICAS}
        self.truth: dict[str, Truth] = {}
        self.queue: dict[str, tuple[Waiting, PodDemand]] = {}
        self.count = 0

    @initialize()
    def nodes(self) -> None:
        """Two nodes that both replicas see."""
        for node, gpus in SIZES.items():
            found = tuple(
                Gpu(uuid=f"GPU-{node}-{at}", index=at, model="T4", memory=Memory.mib(GPU_MIB)) for at in range(gpus)
            )
            self.inventories[node] = Inventory(node=node, gpus=found, interposer="/opt/vramshare/lib.so")
            self.ledgers[node] = Ledger(node=node)
            for replica in self.replicas.values():
                replica.known[node] = self.ledgers[node]
                replica.fleet.apply_node(NodeInfo(name=node, labels={}, allocatable=Usage(cpu=1000, memory=1000)))
                replica.fleet.apply_inventory(self.inventories[node])

    # --- what users and replicas do --------------------------------------------------------------------------

    @rule(target=grants, who=st.sampled_from(REPLICAS), demand=demands, priority=st.integers(0, 2))
    def create(self, who, demand, priority):
        """A pod is created: granted, or queued where nothing fits in the eyes of the replica that is asked."""
        self.count += 1
        grant = self._grant(who, demand, pod=f"p{self.count}")
        if grant is not None:
            self.truth[grant] = Truth()
            return grant
        uid = f"q{self.count}"
        self.queue[uid] = (waiting(uid, priority, self.count), demand)
        return multiple()

    @rule(target=grants)
    @precondition(lambda self: self.queue)
    def serve(self):
        """The leader, in step, serves the queue; whoever is first of those that fit gets in."""
        for node in SIZES:
            self.sync("one", node)
        for one in in_order(one for one, _ in self.queue.values()):
            before = [other for other, _ in self.queue.values() if _first(other) < _first(one)]
            assert all(not self._fits(self.queue[other.uid][1]) for other in before)
            grant = self._grant("one", self.queue[one.uid][1], pod=one.name, uid=one.uid)
            if grant is not None:
                del self.queue[one.uid]
                facts = PodFacts(namespace="team", name=one.name, uid=one.uid)
                self.truth[grant] = Truth(coming=False, pod=facts, seen=facts)
                return grant
        return multiple()

    @rule(who=st.sampled_from(REPLICAS), node=st.sampled_from(sorted(SIZES)))
    def sync(self, who, node):
        """The watch shows a replica one ledger."""
        replica, ledger = self.replicas[who], self.ledgers[node]
        replica.known[node] = ledger
        replica.fleet.apply_grants(node, ledger.holds(self.inventories[node]))

    @rule(grant=grants)
    def persisted(self, grant):
        """The pod of a grant is there, and runs."""
        truth = self.truth.get(grant)
        if truth is not None and truth.coming:
            name = self._entry(grant).pod.partition("/")[2]
            truth.pod = PodFacts(namespace="team", name=name, uid=f"u-{grant}")
            truth.coming, truth.held = False, True

    @rule(grant=consumes(grants))
    def refused(self, grant):
        """The pod of a grant will never be."""
        if grant in self.truth:
            self.truth[grant].coming = False

    @rule(grant=grants, stopped=st.booleans(), gone=st.booleans())
    def ends(self, grant, stopped, gone):
        """A pod ends, is deleted, or deleted by force: then its containers run on."""
        truth = self.truth.get(grant)
        if truth is not None and truth.pod is not None and not truth.pod.ended:
            # A pod deleted by force before the leader ever saw it: known limit, docs/ledger.md.
            stopped = stopped or (gone and truth.seen is None)
            truth.held = truth.held and not stopped
            last = replace(truth.pod, ended=True, stopped=stopped)
            truth.seen = last if truth.seen is not None or not gone else None
            truth.pod = None if gone else last

    @rule(grant=grants)
    def containers_end(self, grant):
        """What went on after its pod was gone ends."""
        truth = self.truth.get(grant)
        if truth is not None and truth.pod is None and not truth.coming:
            truth.held = False

    @rule(seconds=st.sampled_from([1, 40, 100]))
    def time_passes(self, seconds):
        """No create request is under way for longer than the API server allows."""
        for truth in self.truth.values():
            truth.age += timedelta(seconds=seconds)
            truth.coming = truth.coming and truth.age <= REQUEST_LIMIT

    @rule(data=st.data())
    @precondition(lambda self: self.truth)
    def decide(self, data):
        """The leader looks at a grant and acts."""
        key = data.draw(st.sampled_from(sorted(self.truth)))
        truth, node = self.truth[key], self._entry(key).node
        grant = self.ledgers[node].grants[key]
        truth.seen = truth.pod or truth.seen
        shown = [facts for facts in [truth.seen] if facts is not None]
        if truth.pod is None:
            shown = [replace(facts, ended=True) for facts in shown]
        confirmed = grant.releasing is not None and not truth.held
        found = verdict(grant, holder(grant, shown), known=truth.age, grace=GRACE, confirmed=confirmed)
        if found is Verdict.ASK:
            lives = truth.pod is not None and not truth.pod.ended
            found = Verdict.KEEP if lives else absent(grant, shown)
        changes = {
            Verdict.RELEASE: Changes(remove=frozenset({key})),
            Verdict.CONFIRM: Changes(releasing={key: NOON}),
            Verdict.REVIVE: Changes(releasing={key: None}),
            Verdict.MARK: Changes(seen={key: (truth.seen.name, truth.seen.uid)} if truth.seen else {}),
        }.get(found)
        if changes is not None:
            self._write(node, self.ledgers[node].apply(changes))
            if found is Verdict.RELEASE:
                del self.truth[key]

    # --- what must hold --------------------------------------------------------------------------------------

    @invariant()
    def ledgers_hold_what_the_model_holds(self):
        """No grant is lost, none is invented."""
        assert {key for ledger in self.ledgers.values() for key in ledger.grants} == set(self.truth)

    @invariant()
    def whoever_is_in_step_knows_what_is_free(self):
        """To the byte and the percent, by a sum of the model's own."""
        for replica in self.replicas.values():
            for node, ledger in self.ledgers.items():
                if replica.known[node] is not ledger:
                    continue
                state = replica.fleet.node(node)
                assert state is not None
                assert not state.assumed
                free = self._free(node)
                assert {one.gpu.uuid: (one.free_memory, one.free_cores) for one in state.gpus} == free

    def teardown(self) -> None:
        """When all pods are gone, and what they held is confirmed to be free, nothing is held."""
        for key in list(self.truth):
            truth = self.truth[key]
            truth.pod, truth.coming, truth.held = None, False, False
            truth.age += GRACE + timedelta(seconds=1)
        for _ in range(3):
            for key in list(self.truth):
                self.decide(_Always(key))
        assert all(not ledger.grants for ledger in self.ledgers.values())
        if self.ledgers and self.queue:
            uid = next(iter(self.queue))
            assert self._fits(self.queue[uid][1])

    # --- inside ----------------------------------------------------------------------------------------------

    def _grant(self, who: str, demand: PodDemand, *, pod: str, uid: str = "") -> str | None:
        """Place, assume, commit, as `allocator.controller.engine` does; the grant's id, or None."""
        replica = self.replicas[who]
        for _ in range(len(SIZES) + 1):
            found = place(replica.fleet, demand, POLICIES.named(None))
            if not isinstance(found, Placement):
                in_step = all(replica.known[node] is ledger for node, ledger in self.ledgers.items())
                assert not (in_step and self._fits(demand)), "refused without need"
                return None
            self.count += 1
            key = f"g{self.count}"
            allocation = Allocation(id=key, node=found.node, containers=found.containers)
            grant = Grant(allocation=allocation, namespace="team", pod=pod, granted=NOON, uid=uid)
            replica.fleet.assume(grant, demand.shape.usage, shape=demand.shape)
            ledger = self.ledgers[found.node]
            admitted, refused = ledger.admit([grant], self.inventories[found.node])
            if admitted:
                self._write(found.node, ledger.apply(Changes(add=admitted)))
                self.sync(who, found.node)
                return key
            assert set(refused) == {key}
            assert replica.known[found.node] is not ledger, "a replica in step was refused"
            replica.fleet.forget(found.node, key)
            self.sync(who, found.node)
        raise AssertionError("every node refused what it had room for")

    def _write(self, node: str, after: Ledger) -> None:
        """One write: the invariants, and that it can be read again."""
        before = entries(node, self.ledgers[node].data)
        capacities = {gpu.uuid: gpu.capacity.count for gpu in self.inventories[node].gpus}
        assert [*crowded(entries(node, after.data), capacities, before=before)] == []
        assert [*unjust(before, entries(node, after.data), self._objection)] == []
        assert Ledger.from_data(node, after.data) == after
        self.ledgers[node] = after

    def _objection(self, entry: Entry) -> str:
        """Why a grant must not go."""
        truth = self.truth[entry.id]
        lives = truth.pod is not None and not truth.pod.ended
        return "its pod may still come" * truth.coming + "its pod lives" * lives + "its memory is held" * truth.held

    def _entry(self, key: str) -> Entry:
        found = (entries(node, ledger.data).get(key) for node, ledger in self.ledgers.items())
        return next(entry for entry in found if entry is not None)

    def _free(self, node: str) -> dict[str, tuple[int, int]]:
        """Bytes and percent that the model finds free, by GPU."""
        free = {gpu.uuid: (gpu.capacity.count, 100) for gpu in self.inventories[node].gpus}
        for entry in entries(node, self.ledgers[node].data).values():
            for one in entry.slices:
                memory, cores = free[one.uuid]
                free[one.uuid] = (memory - one.memory, cores - one.cores)
        return free

    def _fits(self, demand: PodDemand) -> bool:
        """Whether some node has room, by counting."""
        [ask] = demand.shape.asks
        assert isinstance(ask.memory, Memory)
        wanted = ask.memory.count
        return any(
            sum(memory >= wanted and cores >= ask.cores for memory, cores in self._free(node).values()) >= ask.gpus
            for node in SIZES
        )


class _Always:
    """Stands for hypothesis' data at the end: draws what it was made with."""

    def __init__(self, key: str) -> None:
        self._key = key

    def draw(self, _: object) -> str:
        """The key."""
        return self._key


def _first(one: Waiting) -> tuple[int, str, str]:
    """The model's order of the queue: priority, age, UID."""
    return (-one.priority, one.created, one.uid)


TestCore = Core.TestCase
TestCore.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
