"""Changes of size that wait to be written into one node's ledger."""

import asyncio
from dataclasses import dataclass, field

from allocator.api.errors import VramshareError
from allocator.api.grant import Grant
from allocator.api.inventory import Inventory
from allocator.core.ledger import Ledger
from allocator.core.resize import grows, missing, resized


class NoRoomError(VramshareError):
    """A slice cannot grow; says what is missing, or that the grant has changed meanwhile."""


@dataclass(slots=True)
class Resizes:
    """By grant id, the grant in its new size and at its new revision, with those who wait."""

    _asked: dict[str, tuple[Grant, asyncio.Future[None]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._asked)

    def ask(self, grant: Grant) -> "asyncio.Future[None]":
        """Have a grant's size changed to this one's; the future ends when the ledger shows it, or cannot."""
        key = grant.allocation.id
        before = self._asked.pop(key, None)
        if before is not None and not before[1].done():
            before[1].set_exception(NoRoomError("its size was changed again"))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[key] = (grant, future)
        return future

    def drop(self, key: str) -> None:
        """Nobody waits for this one any more, and it has to be decided anew."""
        self._asked.pop(key, None)

    def batch(self, ledger: Ledger, inventory: Inventory | None) -> Ledger:
        """The ledger with all that there is room for, first asked first; the others are told at once."""
        for key, (grant, future) in list(self._asked.items()):
            current = ledger.grants.get(key)
            larger = current is None or grows(current.allocation, grant.allocation)
            problem = ""
            if current is None or current.revision != grant.revision - 1:
                problem = "its grant has changed meanwhile"
            elif larger:
                problem = "its inventory is gone" if inventory is None else missing(ledger, grant, inventory)
            if problem:
                del self._asked[key]
                if not future.done():
                    future.set_exception(NoRoomError(problem))
            else:
                ledger = resized(ledger, grant)
        return ledger

    def settle(self, ledger: Ledger) -> None:
        """Tell everyone whose change the ledger shows."""
        for key, (grant, future) in list(self._asked.items()):
            current = ledger.grants.get(key)
            if current is not None and (current.revision, current.allocation) == (grant.revision, grant.allocation):
                del self._asked[key]
                if not future.done():
                    future.set_result(None)
