"""The queue as every replica sees it: who waits, in which order, and what is kept for whom.

A pod that is being created must not take the room that a pod which waits, of its priority or a higher one, could have.
All replicas watch the waiting pods. So each works out for itself which of them fit now, and keeps their places free in
its own picture of the fleet until the leader has granted them. For pods that fit nowhere and have waited long, the
leader chooses a place and writes it into the pod's annotations, where everybody reads it (allocator.core.reservation).

Nothing of this costs anything while nobody waits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from allocator.api.allocation import Allocation
from allocator.api.errors import FormatError, NoCapacityError
from allocator.api.grant import Grant
from allocator.controller.public import GrantRequest
from allocator.controller.reading import Reader, Reading
from allocator.controller.world import World
from allocator.core.demand import PodDemand
from allocator.core.gang import Unit, units
from allocator.core.placement import Placement, place
from allocator.core.policies import BestFit, Policies
from allocator.core.queue import Turn, Waiting, priority_of
from allocator.core.quota import NONE, Amount, held, least
from allocator.core.reservation import Spot, stands
from allocator.core.resources import Usage
from allocator.kube import Clock

_MOST_KINDS: Final = 64
"""Kinds of pods tried before the rest of a long queue is left alone: it is far from its turn."""
_MOST_KEPT: Final = 32
"""Places kept at a time. Where more pods that fit wait, the leader is placing them, and newcomers queue up behind."""
_ANYWHERE: Final = BestFit()
"""By which places are kept: quickly, for what the leader chooses in the end is the policy's matter."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A place kept for a pod.

    Attributes:
        turn: of the pod, or of its group.
        uid: the pod's.
        grant: what it would get.
        usage: what it takes of the node beside.
        fits: whether it is free now; else it is reserved, and will be.
    """

    turn: Turn
    uid: str
    grant: Grant
    usage: Usage
    fits: bool


class Line:
    """The waiting pods in order, and the room kept for them. `stirred` tells it that something has changed."""

    def __init__(self, world: World, policies: Policies, reader: Reader, *, clock: Clock, spots: int) -> None:
        """Prepare.

        Args:
            world: the cluster.
            policies: how to pack.
            reader: reads waiting pods.
            clock: time.
            spots: for how many pods or groups that fit nowhere room is kept at most.
        """
        self.reader = reader
        self.spots: dict[str, Spot] = {}
        """What the leader has chosen and the pods' annotations may not show yet, by UID."""
        self.serving: set[str] = set()
        """UIDs of pods whose grants are being written."""
        self._world = world
        self._policies = policies
        self._clock = clock
        self._most_spots = spots
        self._kept: list[_Kept] = []
        self._units: list[Unit] | None = None
        self._groups = False
        self._crowd: Turn | None = None
        self._stale = True

    def stirred(self, *, queue: bool = True) -> None:
        """Room was made or taken, or the queue changed."""
        self._stale = True
        if queue or self._groups:
            self._units = None

    def listed(self, new: set[str]) -> None:
        """Grants are new in a ledger. They may be of pods that waited, or take what another replica did not keep."""
        if not self._kept or self._stale:
            return
        for grant in filter(None, (self._world.ledgers.find(grant_id) for grant_id in new)):
            if grant.uid:
                self.served(grant.uid)
        nodes = (self._world.fleet.node(name) for name in {one.grant.allocation.node for one in self._kept if one.fits})
        if any(gpu.free_memory < 0 or gpu.free_cores < 0 for node in nodes if node is not None for gpu in node.gpus):
            self.stirred(queue=False)

    def units(self) -> list[Unit]:
        """The pods that wait for us and nobody else, in order; pods of one group together."""
        if self._units is None:
            waiting = [one for one in self._world.pods.waiting() if not one.foreign_gates]
            self.reader.forget_all_but(one.uid for one in waiting)
            readings = ((one, self.reader.read(one)) for one in waiting)
            entries = [(one, None if isinstance(read, str) else read.group) for one, read in readings]
            self._units = units(entries, self._world.pods.members)
            self._groups = any(group is not None for _, group in entries)
            uids = {one.uid for one in waiting}
            self.spots = {uid: spot for uid, spot in self.spots.items() if uid in uids}
        return self._units

    def spot(self, one: Waiting) -> Spot | None:
        """The place that the leader has chosen for a pod."""
        if one.uid in self.spots:
            return self.spots[one.uid]
        try:
            return Spot.from_text(one.reserved) if one.reserved else None
        except FormatError:
            return None

    def place(self, asked: GrantRequest, demand: PodDemand) -> Placement:
        """A place for a pod that is being created, behind all that wait with its priority or a higher one.

        Raises:
            RequestError: there is no such policy.
            NoCapacityError: there is no room, or others wait for it.
        """
        fleet, policy = self._world.fleet, self._policies.named(demand.policy)
        turn = Turn.newcomer(priority_of(asked.pod))
        with self.ahead_of(turn):
            if self._crowd is not None and self._crowd < turn:
                raise NoCapacityError(
                    f"waits for its turn: more than {_MOST_KEPT} pods that wait longer are being placed"
                )
            found = place(fleet, demand, policy)
            if isinstance(found, Placement):
                return found
            error = found.error()
        if self._kept:
            with self._lifted(list(self._kept)):
                if isinstance(place(fleet, demand, policy), Placement):
                    raise NoCapacityError(f"{error.summary}; the room that there is, is kept for pods that wait longer")
        raise error

    @contextmanager
    def ahead_of(self, turn: Turn) -> Iterator[None]:
        """Only what is kept for those whose turn comes first counts meanwhile."""
        if self._stale:
            self._refresh()
        with self._lifted([one for one in self._kept if one.turn >= turn]):
            yield

    @contextmanager
    def deciding(self, turn: Turn) -> Iterator[None]:
        """The leader decides on the pods in order, from this turn on: only what it keeps for those before counts.

        What is to be kept for those behind is worked out when somebody asks for it. Of those before some may be gone.
        """
        waiting = {one.uid for unit in self.units() for one in unit.members}
        for one in [kept for kept in self._kept if kept.fits or kept.turn >= turn or kept.uid not in waiting]:
            self._world.fleet.unhold(one.grant)
            self._kept.remove(one)
        try:
            yield
        finally:
            self._stale = True

    def served(self, uid: str) -> None:
        """A pod has been granted its slices, or is being: nothing is kept for it any more."""
        for one in [kept for kept in self._kept if kept.uid == uid]:
            self._world.fleet.unhold(one.grant)
            self._kept.remove(one)

    def keep(self, one: Waiting, demand: PodDemand, spot: Spot, *, turn: Turn, fits: bool = False) -> None:
        """Keep a place for a pod from now on.

        Args:
            one: the pod.
            demand: what it needs.
            spot: the place.
            turn: its, or its group's: whose turn comes first is not held up by it.
            fits: whether the place is free now.
        """
        self.served(one.uid)
        allocation = Allocation(id=f"keep-{_label(one.uid)}0", node=spot.node, containers=spot.containers)
        grant = Grant(
            allocation=allocation, namespace=one.namespace, pod=one.name, granted=self._clock.now(), uid=one.uid
        )
        self._kept.append(_Kept(turn=turn, uid=one.uid, grant=grant, usage=demand.shape.usage, fits=fits))
        self._world.fleet.hold(grant, demand.shape.usage)

    # --- inside ----------------------------------------------------------------------------------------------

    @contextmanager
    def _lifted(self, some: list[_Kept]) -> Iterator[None]:
        fleet = self._world.fleet
        for one in some:
            fleet.unhold(one.grant)
        try:
            yield
        finally:
            for one in some:
                if one in self._kept:
                    fleet.hold(one.grant, one.usage)

    def _refresh(self) -> None:
        """Work out anew what is kept for whom."""
        self._stale = False
        for one in self._kept:
            self._world.fleet.unhold(one.grant)
        self._kept, self._crowd = [], None
        if not self._world.pods.depth():
            return
        refused: set[object] = set()
        reserved = 0
        for unit in self.units():
            if len(refused) >= _MOST_KINDS:
                break
            if len(self._kept) >= _MOST_KEPT:
                self._crowd = unit.turn
                break
            if not unit.missing:
                reserved += self._keep_unit(unit, refused, spots=reserved < self._most_spots)

    def _keep_unit(self, unit: Unit, refused: set[object], *, spots: bool) -> bool:
        """Keep a unit's places, those where it fits now or those that it has reserved; whether it was the latter."""
        members = [(one, self.reader.read(one)) for one in unit.members if not self._granted(one)]
        readable = [(one, read) for one, read in members if not isinstance(read, str)]
        asked = least(*(read.asked.request for _, read in readable))
        if len(readable) < len(members) or self._over_quota(unit, asked):
            return False
        key = tuple(read.key for _, read in readable)
        if key not in refused:
            if self._keep_where_it_fits(readable, unit.turn):
                uids = {one.uid for one, _ in readable}
                taken = sum((held(one.grant) for one in self._kept if one.uid in uids), start=NONE)
                if self._over_quota(unit, taken):  # what shares of a GPU are is known only now
                    for uid in uids:
                        self.served(uid)
                return False
            refused.add(key)
        found = False
        for one, read in readable if spots else ():
            spot = self.spot(one)
            if spot is not None and stands(self._world.fleet, read.demand, spot):
                self.keep(one, read.demand, spot, turn=unit.turn)
                found = True
        return found

    def _keep_where_it_fits(self, members: list[tuple[Waiting, Reading]], turn: Turn) -> bool:
        """Keep a place for each of them; for none, if one has none."""
        for at, (one, read) in enumerate(members):
            found = place(self._world.fleet, read.demand, _ANYWHERE)
            if not isinstance(found, Placement):
                for before, _ in members[:at]:
                    self.served(before.uid)
                return False
            spot = Spot(node=found.node, containers=found.containers)
            self.keep(one, read.demand, spot, turn=turn, fits=True)
        return True

    def _granted(self, one: Waiting) -> bool:
        return one.uid in self.serving or self._world.ledgers.made_for(one.uid) is not None

    def _over_quota(self, unit: Unit, asked: Amount) -> bool:
        """Whether a quota holds a unit up: then no room need be kept for it."""
        namespace = unit.members[0].namespace
        quota = self._world.quotas.get(namespace)
        return quota is not None and bool(quota.excess(self._world.accounts.used(namespace), asked))


def _label(uid: str) -> str:
    """A UID as part of a name in the ledger's sense, whoever made it up."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in uid.lower())[:50].strip("-")
