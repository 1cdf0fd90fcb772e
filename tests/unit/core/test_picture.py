"""What there is to see of the fleet's GPUs."""

from dataclasses import replace

from allocator.api import names
from allocator.api.quantities import Memory
from allocator.core.picture import draw_node, picture
from allocator.core.queue import Waiting
from tests.unit.core.conftest import GIB, Make


def test_slices_stand_on_their_gpu_and_the_rest_is_free(make: Make) -> None:
    """By namespace and pod; what others hold is not free either."""
    make.node("a", gpus=2, gib=16, foreign=Memory(GIB))
    make.hold("a", 4, gpu=0, cores=25)
    make.fleet.apply_grants("a", [make.grant("seen", "a", 2, gpu=0)])
    (node,) = picture(make.fleet, ()).nodes
    first, second = node.gpus
    assert [(one.memory // GIB, one.cores) for one in first.held] == [(4, 25), (2, 0)]
    assert (first.granted, first.cores, first.free) == (6 * GIB, 25, 9 * GIB)
    assert (second.held, second.free) == ((), 15 * GIB)


def test_what_takes_nothing_new_says_why(make: Make) -> None:
    """A sick GPU, a silent agent, a cordoned node."""
    make.node("sick", health="ECC errors")
    make.node("silent")
    make.fleet.set_agent_live("silent", live=False)
    make.node("shut")
    info = make.fleet.node("shut").info
    make.fleet.apply_node(replace(info, unschedulable=True))
    by_name = {one.name: one for one in picture(make.fleet, ()).nodes}
    assert by_name["sick"].gpus[0].problem == "ECC errors"
    assert by_name["sick"].gpus[0].free == 0
    assert by_name["silent"].problem == "has an agent that has gone silent"
    assert by_name["shut"].problem == "is cordoned"


def test_a_node_without_gpus_is_not_drawn(make: Make) -> None:
    """Most nodes of a cluster have none."""
    make.node("plain", gpus=0)
    assert draw_node(make.fleet.node("plain")) is None


def queued(**annotations: str) -> Waiting:
    """A waiting pod."""
    return Waiting.of(
        {
            "metadata": {
                "name": "late",
                "namespace": "team",
                "uid": "u",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"memory.vramshare.io/c": "20%", **annotations},
            },
            "spec": {"containers": [{"name": "c"}], "schedulingGates": [{"name": names.GATE}], "priority": 7},
        }
    )


def test_who_waits_is_told_with_what_it_asks_and_why(make: Make) -> None:
    """As its annotations say."""
    waits = queued(**{"cores.vramshare.io/c": "25", "gpus.vramshare.io/c": "2", names.REASON: "no room"})
    (one,) = picture(make.fleet, [waits]).queue
    assert (one.namespace, one.pod, one.priority, one.reason) == ("team", "late", 7, "no room")
    assert one.asks == "c: 2 x 20%, 25% of the time"


def test_a_waiting_pod_that_was_edited_into_nonsense_is_still_drawn(make: Make) -> None:
    """What is wrong stands in the place of what it asks."""
    (one,) = picture(make.fleet, [queued(**{"memory.vramshare.io/c": "20 sheep"})]).queue
    assert "20 sheep" in one.asks


def test_json_says_the_same(make: Make) -> None:
    """Every part of the picture is in it."""
    make.node("a", gib=16)
    make.hold("a", 4, cores=25)
    said = picture(make.fleet, [queued()]).to_json()
    assert said["nodes"][0]["gpus"][0]["held"][0]["memory"] == 4 * GIB
    assert said["queue"][0]["pod"] == "late"
    assert said["models"]["tesla t4"]["total"] == 1
