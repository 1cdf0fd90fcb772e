"""What `explain` answers, from one look at the cluster."""

from datetime import UTC, datetime
from typing import Any

from allocator.core.explain import explain
from allocator.core.listing import Listing
from allocator.core.policies import Policies

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


def test_chosen_alternatives_and_refusals(make: Any) -> None:
    """The chosen node is named, other fitting ones are counted, the rest say why not."""
    for name in ("a", "b", "c"):
        make.node(name)
    make.hold("a", 4)
    make.hold("c", 12)
    found = explain(make.fleet, make.pod(8), Policies().named("best-fit"))
    assert (found.node, found.alternatives, found.summary) == ("a", 1, "")
    assert [(one.reason, one.nodes) for one in found.shortfalls] == [
        ("has at most 4Gi free on one GPU of 8Gi needed", ("c",))
    ]
    shown = found.to_json()
    assert shown["containers"] == {"c0": [{"gpu": "GPU-a-0", "memory": "8Gi", "cores": 0}]}
    assert shown["refusals"] == [{"reason": "has at most 4Gi free on one GPU of 8Gi needed", "nodes": ["c"]}]


def test_nothing_fits(make: Any) -> None:
    """Where nothing fits there is a summary and no node."""
    make.node("a")
    found = explain(make.fleet, make.pod(20), Policies().named(None))
    assert (found.node, found.summary) == ("", "needs 20Gi on one GPU; best is 16Gi on a")
    assert found.to_json()["fits"] is False


def test_a_listing_makes_the_fleet(make: Any) -> None:
    """Nodes, inventories, ledgers, pods and agents' Leases count as they do for the running allocator."""
    grant = make.grant("g1", "a", 10)
    node = {
        "metadata": {"name": "a"},
        "status": {
            "allocatable": {"cpu": "4", "memory": "64Gi"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    pod = {
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"nodeName": "a", "containers": [{"resources": {"requests": {"cpu": "3"}}}]},
    }
    lease = {"metadata": {"name": "vramshare-agent-a"}, "spec": {"renewTime": "2026-01-01T12:00:00.000000Z"}}
    listing = Listing(
        nodes=[node],
        inventories=[{"data": make.inventory("a").to_data()}, {"data": {"node": "?"}}],
        ledgers=[{"metadata": {"name": "vramshare-ledger-a", "annotations": {}}, "data": {"g1": grant.to_text()}}],
        pods=[pod, {**pod, "metadata": {"uid": "v"}, "status": {"phase": "Succeeded"}}],
        leases=[lease],
    )
    make.fleet = listing.fleet(now=NOW)
    state = make.fleet.node("a")
    assert (state.free.cpu, state.live) == (1000, True)
    late = listing.fleet(now=NOW.replace(hour=13)).node("a")
    assert late is not None
    assert not late.live
