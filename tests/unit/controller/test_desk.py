"""What waits to be written into a ledger."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from allocator.api.allocation import Allocation, Slice
from allocator.api.errors import NotReadyError
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.controller.desk import Desk
from allocator.core.ledger import Changes, Ledger

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


def held(grant_id: str, mib: int) -> Grant:
    """So much of one GPU."""
    return replace(
        GRANT, allocation=Allocation(id=grant_id, node="n", containers={"c": (Slice("GPU-1", Memory.mib(mib)),)})
    )


INVENTORY = Inventory(node="n", gpus=(Gpu(uuid="GPU-1", index=0, model="T4", memory=Memory.mib(1000)),))


def test_claims_make_a_ledger_that_is_not_there_and_no_other():
    """It turned out to be there: what it lacks of them has been given back, and its place may be another's."""
    desk, claims = Desk(anew=True), {"a": held("a", 600)}
    _, after = desk.batch(Ledger(node="n"), INVENTORY, claims=claims)
    assert after.grants.keys() == {"a"}
    there = Ledger(node="n").apply(Changes(add=(held("b", 600),)))
    desk.settle(there, stored=True)
    assert not desk.urgent
    _, after = desk.batch(there, INVENTORY)
    assert after.grants.keys() == {"b"}


def test_what_a_lost_ledger_held_is_written_into_another_ones_where_there_is_room():
    """Another replica has made it anew, and granted meanwhile: nothing is booked twice, and nothing is left to do."""
    desk = Desk(lost={"a": held("a", 300), "b": held("b", 600)})
    there = Ledger(node="n").apply(Changes(add=(held("c", 400),)))
    _, after = desk.batch(there, INVENTORY)
    assert after.grants.keys() == {"a", "c"}
    desk.settle(after, stored=True)
    assert not desk.urgent


async def test_a_refused_write_lets_nobody_wait_who_wanted_to_take_a_grant_up():
    """A ledger that cannot be written must not hold up the queue, which waits for all that is decided in a round."""
    there = Ledger(node="n").apply(Changes(add=(GRANT,)))
    taking_up = asyncio.get_running_loop().create_future()
    desk = Desk(reuses={"a": (1, "", taking_up)})
    changes, _ = desk.batch(there, INVENTORY)
    desk.refused(changes, NotReadyError("forbidden"))
    assert taking_up.result() is False
    assert not desk.urgent
