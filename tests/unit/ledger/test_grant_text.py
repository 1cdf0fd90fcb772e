"""Grants as ledger entries, where names come unvalidated from users."""

from dataclasses import replace
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


PLAIN = "pod: team/p\ngranted: 2026-01-01T00:00:00Z\nslice: w GPU-1 memory=1Mi cores=0\n"


def test_a_grant_that_is_being_released_says_since_when():
    """Through the text; an entry of before there was such a line reads as one that is not."""
    plain = Grant.from_text("a", PLAIN, node="n")
    since = replace(plain, releasing=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), revision=2)
    assert (plain.releasing, plain.revision) == (None, 0)
    assert "releasing: 2026-01-02T03:04:05Z\n" in since.to_text()
    assert Grant.from_text("a", since.to_text(), node="n") == since


def test_what_a_newer_version_wrote_survives_a_rewrite():
    """An older replica that notes a pod's UID must not lose lines and tokens that it does not know."""
    newer = PLAIN.replace("cores=0", "cores=0 colour=red") + "lent-to: somebody\n"
    rewritten = Grant.from_text("a", newer, node="n").seen(name="p", uid="u").to_text(over=newer)
    assert "uid: u\n" in rewritten
    assert "lent-to: somebody\n" in rewritten
    assert "cores=0 colour=red\n" in rewritten


def test_a_changed_slice_replaces_the_written_one():
    """What this version knows wins over the text that it writes over."""
    plain = Grant.from_text("a", PLAIN, node="n")
    larger = replace(plain, allocation=replace(plain.allocation, containers={"w": (Slice("GPU-1", Memory.mib(2)),)}))
    assert Grant.from_text("a", larger.to_text(over=PLAIN), node="n") == larger
    assert larger.to_text(over=PLAIN).count("slice: ") == 1


def test_an_odd_time_of_release_is_no_grant():
    """It goes on blocking what it names: see allocator.core.unreadable."""
    with pytest.raises(FormatError, match="yesterday"):
        Grant.from_text("a", PLAIN + "releasing: yesterday\n", node="n")
