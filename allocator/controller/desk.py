"""What waits to be written into one node's ledger."""

import asyncio
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
        reuses: by id, the how manyth further create is to have a grant, with those who wait to hear whether it does.
        releasing: by grant id, since when its pod is gone without having been seen to end; None: it lives after all.
        seen: name and UID of pods that have appeared, by grant id. Not urgent.
        restore: grants of a ledger that was deleted under us.
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
    reuses: dict[str, tuple[int, asyncio.Future[bool]]] = field(default_factory=dict)
    releasing: dict[str, datetime | None] = field(default_factory=dict)
    seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    restore: dict[str, Grant] = field(default_factory=dict)
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
        return bool(wanted or (self.due and self.seen))

    def batch(self, ledger: Ledger, inventory: Inventory | None) -> tuple[Changes, Ledger]:
        """What to write next, all that is asked for; those for whom there is no room are told at once.

        Returns:
            The changes, and the ledger after them.
        """
        notes = Changes(
            remove=frozenset(self.removes),
            seen=dict(self.seen),
            releasing=dict(self.releasing),
            reused={key: count for key, (count, _) in self.reuses.items() if key not in self.removes},
        )
        base = ledger.apply(notes)
        lost = self._lost(ledger)
        base = base.apply(Changes(add=lost))
        base = self.resizes.batch(base, inventory)
        known = {grant.allocation.id for grant in lost}
        asked = [grant for key, (grant, _) in self.adds.items() if key not in known]
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
        return replace(notes, add=(*lost, *admitted)), after

    def _lost(self, ledger: Ledger) -> tuple[Grant, ...]:
        """What a ledger has to hold again, whatever room there is: it is held. Too much blocks what is new."""
        self.restore = {
            key: grant
            for key, grant in self.restore.items()
            if key not in self.removes and key not in ledger.unreadable
        }
        return tuple(grant for key, grant in self.restore.items() if key not in ledger.grants)

    def settle(self, ledger: Ledger, *, stored: bool) -> set[str]:
        """Tell everyone whose change the ledger shows; returns the ids that are given back.

        Args:
            ledger: as last known.
            stored: whether there is a ConfigMap of it; else what was lost is still to be restored.
        """
        for key in self.adds.keys() & ledger.grants.keys():
            _tell(self.adds.pop(key)[1])
        if stored:
            self.restore = {key: grant for key, grant in self.restore.items() if key not in ledger.grants}
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
        """A grant that has gone to a further create meanwhile is not given back for an earlier one; and who has it."""
        for key in [key for key, count in self.made.items() if key in ledger.grants]:
            if ledger.grants[key].reused > self.made[key] and key in self.removes:
                _tell(self.removes.pop(key))
        self.made = {key: count for key, count in self.made.items() if key in self.removes}
        for key, (count, future) in list(self.reuses.items()):
            grant = ledger.grants.get(key)
            lost = grant is None or key in self.removes or bool(grant.uid) or grant.releasing is not None
            if lost or (grant is not None and grant.reused >= count):
                del self.reuses[key]
                if not future.done():
                    future.set_result(not lost)

    def fail(self, key: str, reason: VramshareError) -> None:
        """Tell who waits for a grant that it will not be."""
        asked = self.adds.pop(key, None)
        if asked is not None and not asked[1].done():
            asked[1].set_exception(reason)


def _tell(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
