"""Grants as ledger entries, where names come unvalidated from users."""

from datetime import UTC, datetime

from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.quantities import Memory


def test_a_name_with_line_breaks_forges_no_line():
    """At admission the API server has not validated names yet: none may add a UID or a slice to the ledger."""
    forged = Grant(
        allocation=Allocation(
            id="a",
            node="n",
            containers={"w GPU-2 memory=9Gi\nuid: u": (Slice("GPU-1", Memory.mib(1)),)},
        ),
        namespace="team\nuid: forged",
        pod="p\nslice: w GPU-9 memory=80Gi cores=100",
        granted=datetime(2026, 1, 1, tzinfo=UTC),
        owner="ReplicaSet/x\nuid: forged/1",
    )
    found = Grant.from_text("a", forged.to_text(), node="n")
    assert found.uid == ""
    assert found.allocation.uuids() == ("GPU-1",)
    assert found.allocation.totals()["GPU-1"].memory == Memory.mib(1)
