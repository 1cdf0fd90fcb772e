"""What waits to be written into a ledger."""

import asyncio
from datetime import UTC, datetime

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.quantities import Memory
from allocator.controller.desk import Desk
from allocator.core.ledger import Ledger

GRANT = Grant(
    allocation=Allocation(id="a", node="n", containers={"c": (Slice("GPU-1", Memory.mib(1)),)}),
    namespace="team",
    pod="p",
    granted=datetime(2026, 1, 1, tzinfo=UTC),
)


async def test_what_is_given_back_is_not_restored():
    """The ledger was deleted while a grant was on its way out: it stays out, and nothing is left to do."""
    desk = Desk(restore={"a": GRANT}, removes={"a": asyncio.get_running_loop().create_future()})
    changes, after = desk.batch(Ledger(node="n"), None)
    assert changes.add == ()
    desk.settle(after, stored=True)
    assert not desk.urgent
