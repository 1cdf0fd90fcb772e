"""Grants as ledger entries, where names come unvalidated from users."""

from datetime import UTC, datetime

import pytest

from allocator.api.allocation import Allocation, Slice
from allocator.api.errors import FormatError
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


def test_an_entry_without_slices_is_no_grant():
    """Somebody cut it short: what it held is not known, so it must not count as nothing."""
    with pytest.raises(FormatError, match="holds nothing"):
        Grant.from_text("a", "pod: team/p\ngranted: 2026-01-01T00:00:00Z\n", node="n")
