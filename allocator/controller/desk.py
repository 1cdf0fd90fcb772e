"""What waits to be written into one node's ledger."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from allocator.api.errors import VramshareError
from allocator.api.grant import Grant
from allocator.api.inventory import Inventory
from allocator.controller.resizes import Resizes
from allocator.core.ledger import Changes, Ledger, too_large


class RefusedError(VramshareError):
    """The ledger as it stands now has no room for a grant: another replica was faster. Plan again."""


@dataclass(slots=True)
class Desk:
    """Changes to one ledger that are asked for and not settled yet.

    What is settled is read off the ledger's state alone (`settle`), never off the fate of a request: so a write
    whose answer was lost needs no care of its own.

    Attributes:
        adds: new grants with those who wait for them.
        removes: ids that are given back, with those who wait.
        made: by id of those, how often the grant had been reused when that was decided. Reused since, it stays.
        reuses: by id, the how manyth further taker is to have a grant, the pod's UID that it must still name, and those
            who wait to hear whether it does.
        releasing: by grant id, since when its pod is gone without having been seen to end; None: it lives after all.
        seen: name and UID of pods that have appeared, by grant id. Not urgent.
        restore: grants that the ledger has to hold, whatever room there is: their pods run.
        lost: grants of a ledger that was deleted under us.
        anew: whether a ledger that is not there is to be made of what pods claim.
        resizes: changes of size.
        due: whether what is not urgent has waited long enough.
        timer: whether somebody will say so.
        flying: ids of grants in a write that is under way.
        writing: held while a write is under way.
        task: writes while there is something to write.
        failures: writes in a row that did not go through.
    """

    adds: dict[str, tuple[Grant, asyncio.Future[None]]] = field(default_factory=dict)
    removes: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    reuses: dict[str, tuple[int, str, asyncio.Future[bool]]] = field(default_factory=dict)
    releasing: dict[str, datetime | None] = field(default_factory=dict)
    seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    restore: dict[str, Grant] = field(default_factory=dict)
    lost: dict[str, Grant] = field(default_factory=dict)
    anew: bool = False
    resizes: Resizes = field(default_factory=Resizes)
    due: bool = False
    timer: bool = False
    flying: frozenset[str] = frozenset()
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: "asyncio.Task[None] | None" = None
    failures: int = 0

    @property
    def urgent(self) -> bool:
        """Whether a write should not wait."""
        wanted = self.adds or self.removes or self.restore or self.resizes or self.releasing or self.reuses
        return bool(wanted or self.lost or self.anew or (self.due and self.seen))

    def batch(
        self, ledger: Ledger, inventory: Inventory | None, *, claims: Mapping[str, Grant] | None = None
    ) -> tuple[Changes, Ledger]:
        """What to write next, all that is asked for; those for whom there is no room are told at once.

        Args:
            ledger: as last known.
            inventory: of the node; None: it is gone.
            claims: what pods claim to hold, where there is no ConfigMap of the ledger; None: there is one.

        Returns:
            The changes, and the ledger after them.
        """
        notes = Changes(
            remove=frozenset(self.removes),
            seen=dict(self.seen),
            releasing=dict(self.releasing),
            reused={key: (count, uid) for key, (count, uid, _) in self.reuses.items() if key not in self.removes},
        )
        base = ledger.apply(notes)
        held = self._held(ledger, claims, judged=inventory is not None)
        base = base.apply(Changes(add=held))
        base = self.resizes.batch(base, inventory)
        known = {grant.allocation.id for grant in held}
        asked = self._asked(ledger, known)
        if inventory is None:
            admitted: tuple[Grant, ...] = ()
            refused = {grant.allocation.id: "its inventory is gone" for grant in asked}
        else:
            admitted, refused = base.admit(asked, inventory)
        after = base.apply(Changes(add=admitted))
        if too_large(after.data):
            refused |= {grant.allocation.id: "its ledger is full" for grant in admitted}
            admitted, after = (), base
        for key, reason in refused.items():
            self.fail(key, RefusedError(reason))
        return replace(notes, add=(*held, *admitted)), after

    def _held(self, ledger: Ledger, claims: Mapping[str, Grant] | None, *, judged: bool) -> tuple[Grant, ...]:
        """What the ledger has to hold again, whatever room there is: it is held. Too much blocks what is new.

        A ledger that is made anew holds what pods claim, and what the lost one held. One that is there knows better:
        of the claims and the lost grants that it lacks, some were given back while this replica did not look. Without
        an inventory nobody can judge what has room, and nobody gets anything new of the node: what was lost is held.
        """
        self.restore = self._wanted(self.restore, ledger)
        self.lost = self._wanted(self.lost, ledger)
        held = self.restore
        if claims is not None or not judged:
            held = self._wanted({**(claims or {}), **self.lost, **self.restore}, ledger)
        return tuple(grant for key, grant in held.items() if key not in ledger.grants)

    def _wanted(self, grants: Mapping[str, Grant], ledger: Ledger) -> dict[str, Grant]:
        return {key: grant for key, grant in grants.items() if key not in self.removes and key not in ledger.unreadable}

    def _asked(self, ledger: Ledger, known: set[str]) -> list[Grant]:
        """What is to be held where there is room: what was lost, for another may have got its place, and new grants."""
        asked = {**self.lost, **{key: grant for key, (grant, _) in self.adds.items()}}
        return [grant for key, grant in asked.items() if key not in known and key not in ledger.grants]

    def settle(self, ledger: Ledger, *, stored: bool) -> set[str]:
        """Tell everyone whose change the ledger shows; returns the ids that are given back.

        Args:
            ledger: as last known.
            stored: whether there is a ConfigMap of it; else what was lost is still to be written.
        """
        for key in self.adds.keys() & ledger.grants.keys():
            _tell(self.adds.pop(key)[1])
        if stored:
            self.restore = {key: grant for key, grant in self.restore.items() if key not in ledger.grants}
            self.lost = {key: grant for key, grant in self.lost.items() if key not in ledger.grants}
            self.anew = False
        self.seen = {key: pod for key, pod in self.seen.items() if key in ledger.grants and not ledger.grants[key].uid}
        self.releasing = {
            key: since
            for key, since in self.releasing.items()
            if key in ledger.grants and (ledger.grants[key].releasing is None) != (since is None)
        }
        self._settle_reuses(ledger)
        self.resizes.settle(ledger)
        gone = self.removes.keys() - ledger.grants.keys() - self.flying
        for key in gone:
            _tell(self.removes.pop(key))
        return set(gone)

    def _settle_reuses(self, ledger: Ledger) -> None:
        """A grant that has gone to a further taker meanwhile is not given back for an earlier one; and who has it."""
        for key in [key for key, count in self.made.items() if key in ledger.grants]:
            if ledger.grants[key].reused > self.made[key] and key in self.removes:
                _tell(self.removes.pop(key))
        self.made = {key: count for key, count in self.made.items() if key in self.removes}
        for key, (count, uid, future) in list(self.reuses.items()):
            grant = ledger.grants.get(key)
            lost = grant is None or key in self.removes or grant.uid != uid or grant.releasing is not None
            if lost or (grant is not None and grant.reused >= count):
                del self.reuses[key]
                if not future.done():
                    future.set_result(not lost)

    def refused(self, changes: Changes, reason: VramshareError) -> None:
        """Tell who waits for a grant, new or taken up, that the API server does not let it be written."""
        for grant in changes.add:
            self.fail(grant.allocation.id, reason)
        for key in changes.reused.keys() & self.reuses.keys():
            _, _, future = self.reuses.pop(key)
            if not future.done():
                future.set_result(False)

    def fail(self, key: str, reason: VramshareError) -> None:
        """Tell who waits for a grant that it will not be."""
        self.lost.pop(key, None)
        asked = self.adds.pop(key, None)
        if asked is not None and not asked[1].done():
            asked[1].set_exception(reason)


def _tell(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
