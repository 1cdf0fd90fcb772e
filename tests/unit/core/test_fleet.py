"""What the fleet counts, and when."""

from dataclasses import replace
from typing import Any

from allocator.api.inventory import Strategy
from allocator.api.quantities import Memory
from allocator.core.nodes import NodeInfo, Taint
from allocator.core.resources import Usage
from allocator.core.state import PodOnNode

GIB = 1024**3


def test_a_ledger_takes_memory_until_it_shows_the_grant_no_longer(make: Any) -> None:
    """What a ledger shows is held, and free again once it shows it no longer."""
    make.node("a")
    make.fleet.apply_grants("a", [make.grant("g1", "a", 10)])
    assert make.spot(make.pod(7)) == "needs 7Gi on one GPU; best is 6Gi on a"
    make.fleet.apply_grants("a", [])
    assert make.spot(make.pod(7)) == "a-0"


def test_an_assumed_grant_outlives_a_ledger_that_does_not_show_it_yet(make: Any) -> None:
    """A decision counts before it is written, whatever an older ledger says."""
    make.node("a")
    make.fleet.assume(make.grant("g1", "a", 10))
    make.fleet.apply_grants("a", [])
    assert make.spot(make.pod(7)) != "a-0"
    make.fleet.forget("a", "g1")
    assert make.spot(make.pod(7)) == "a-0"


def test_a_grant_counts_once(make: Any) -> None:
    """Assumed, then shown, then assumed again: one grant."""
    make.node("a")
    grant = make.grant("g1", "a", 8)
    make.fleet.assume(grant)
    make.fleet.apply_grants("a", [grant])
    make.fleet.assume(grant)
    assert make.spot(make.pod(8)) == "a-0"


def test_a_changed_grant_is_booked_anew(make: Any) -> None:
    """A grant that the ledger shows with another size counts with that size."""
    make.node("a")
    make.fleet.apply_grants("a", [make.grant("g1", "a", 10)])
    make.fleet.apply_grants("a", [make.grant("g1", "a", 4)])
    assert make.spot(make.pod(12)) == "a-0"


def test_a_new_inventory_keeps_what_is_held(make: Any) -> None:
    """Grants stay booked over a change of the inventory, and others' memory comes off."""
    make.node("a")
    make.fleet.apply_grants("a", [make.grant("g1", "a", 8)])
    make.fleet.apply_inventory(make.inventory("a", foreign=Memory(4 * GIB)))
    assert make.spot(make.pod(5)) == "needs 5Gi on one GPU; best is 4Gi on a"


def test_the_pod_counts_in_the_place_of_its_grant(make: Any) -> None:
    """A grant's CPU counts until its pod is seen, then the pod's own does."""
    make.node("a", cpu=4000)
    make.fleet.assume(make.grant("g1", "a", 1), Usage(cpu=3000))
    assert make.spot(make.pod(1, cpu=2000)) != "a-0"
    make.fleet.apply_pod(PodOnNode(key="u1", node="a", usage=Usage(cpu=1000), allocation_id="g1"))
    assert make.spot(make.pod(1, cpu=3000)) == "a-0"
    make.fleet.remove_pod("u1")
    assert make.spot(make.pod(1, cpu=4000)) == "a-0"


def test_a_pod_moves(make: Any) -> None:
    """A pod seen on another node is counted there alone."""
    make.node("a", cpu=1000)
    make.node("b", cpu=1000)
    make.fleet.apply_pod(PodOnNode(key="u1", node="a", usage=Usage(cpu=1000)))
    make.fleet.apply_pod(PodOnNode(key="u1", node="b", usage=Usage(cpu=1000)))
    assert make.spot(make.pod(1)) == "a-0"


def test_pods_are_counted(make: Any) -> None:
    """A node with its number of pods takes no more."""
    make.fleet.apply_node(NodeInfo(name="a", labels={}, allocatable=Usage(cpu=9000, memory=99 * GIB), pods=1))
    make.fleet.apply_inventory(make.inventory("a"))
    make.hold("a", 1)
    assert make.place(make.pod(1)).shortfalls[0].reason == "runs as many pods as it may"


def test_unusable_nodes_take_nothing(make: Any) -> None:
    """Silent agent, no strategy, no inventory, cordon, taint, gone: each is reason enough, and each is named."""
    for name in "abcdef":
        make.node(name)
    make.fleet.set_agent_live("a", live=False)
    make.fleet.apply_inventory(replace(make.inventory("b"), strategy=Strategy.NONE, reason="has a managed driver"))
    make.fleet.remove_inventory("c")
    make.fleet.apply_node(NodeInfo(name="d", labels={}, unschedulable=True))
    make.fleet.apply_node(NodeInfo(name="e", labels={}, taints=(Taint("own"),)))
    make.fleet.remove_node("f")
    found = make.place(make.pod(1))
    assert {one.reason: one.nodes for one in found.shortfalls} == {
        "has an agent that has gone silent": ("a",),
        "has a managed driver": ("b",),
        "has no inventory from an agent": ("c",),
        "is cordoned": ("d",),
        "has the taint own:NoSchedule that the pod does not tolerate": ("e",),
        "is not known to the cluster": ("f",),
    }


def test_sick_gpus_take_nothing(make: Any) -> None:
    """A GPU that is not healthy is passed over."""
    make.node("a", health="fell off the bus")
    assert make.place(make.pod(1)).shortfalls[0].reason == "has no healthy GPU: fell off the bus"
    make.fleet.apply_inventory(make.inventory("a"))
    assert make.spot(make.pod(1)) == "a-0"


def test_a_node_of_which_nothing_is_known_any_more_goes(make: Any) -> None:
    """Node, inventory and ledger gone: nothing is left to ask, and the row serves the next node."""
    make.node("a")
    make.fleet.remove_inventory("a")
    make.fleet.remove_node("a")
    assert list(make.fleet.nodes()) == []
    make.node("b")
    assert make.spot(make.pod(1)) == "b-0"
