"""The inventory's way to the API server."""

from typing import Any, cast

import pytest

from allocator.agent.publisher import LEASE_SECONDS, TRIES, Publisher
from allocator.api.errors import ConflictError
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.kube.errors import UnknownOutcomeError
from tests.unit.agent.fakes import FakeApi, FakeClock

PATH = "/api/v1/namespaces/sys/configmaps/vramshare-inventory-n1"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/sys/leases/vramshare-agent-n1"


def inventory(model: str = "Tesla T4") -> Inventory:
    """A node with one GPU."""
    return Inventory(node="n1", gpus=(Gpu(uuid="GPU-a", index=0, model=model, memory=Memory.mib(16384)),))


def made(api: FakeApi) -> Publisher:
    """A publisher on it."""
    return Publisher(cast(Any, api), node="n1", namespace="sys", clock=FakeClock())


async def test_creates_with_the_labels_that_the_allocator_selects_by() -> None:
    """A new node's ConfigMap can be found and read back."""
    api = FakeApi()
    assert await made(api).publish(inventory())
    assert api.objects[PATH]["metadata"]["labels"] == {
        "vramshare.io/kind": "inventory",
        "app.kubernetes.io/part-of": "vramshare",
    }
    assert Inventory.from_data(api.objects[PATH]["data"]) == inventory()


async def test_writes_on_change_only() -> None:
    """The same inventory costs nothing at all; another one is one write."""
    api = FakeApi()
    publisher = made(api)
    await publisher.publish(inventory())
    assert not await publisher.publish(inventory())
    assert await publisher.publish(inventory("NVIDIA L40S"))
    assert api.writes == ["create", "replace"]


async def test_a_restarted_agent_with_nothing_new_writes_nothing() -> None:
    """It compares with what stands there."""
    api = FakeApi()
    await made(api).publish(inventory())
    again = made(api)
    assert await again.recall() == inventory()
    assert not await again.publish(inventory())
    assert api.writes == ["create"]


async def test_a_check_mends_what_somebody_edited() -> None:
    """Labels of others stay."""
    api = FakeApi()
    publisher = made(api)
    await publisher.publish(inventory())
    api.objects[PATH]["metadata"]["labels"] = {"team": "ml"}
    api.edit(PATH, **{"GPU-a": "model: fake\nmemory: 1Ti\n"})
    assert not await publisher.publish(inventory())
    assert await publisher.publish(inventory(), check=True)
    assert Inventory.from_data(api.objects[PATH]["data"]) == inventory()
    assert api.objects[PATH]["metadata"]["labels"]["team"] == "ml"
    assert api.objects[PATH]["metadata"]["labels"]["vramshare.io/kind"] == "inventory"


async def test_a_lost_race_is_read_again() -> None:
    """A write in between is overwritten by what is true."""
    api = FakeApi()
    publisher = made(api)
    await publisher.publish(inventory())
    api.races = [lambda: api.edit(PATH, other="x")]
    assert await publisher.publish(inventory("NVIDIA L40S"))
    assert Inventory.from_data(api.objects[PATH]["data"]).gpus[0].model == "NVIDIA L40S"
    assert "other" not in api.objects[PATH]["data"]


async def test_a_second_writer_that_never_stops_is_named() -> None:
    """Two agents for one node: the message asks the right question."""
    api = FakeApi()
    publisher = made(api)
    await publisher.publish(inventory())
    api.races = [lambda: api.edit(PATH, other="x")] * TRIES
    with pytest.raises(ConflictError, match="second agent running for node n1"):
        await publisher.publish(inventory("NVIDIA L40S"))


async def test_a_write_of_unknown_outcome_is_not_taken_for_done_or_undone() -> None:
    """After a lost answer the next turn looks again, even if the inventory is back to what it was."""
    api = FakeApi()
    publisher = made(api)
    await publisher.publish(inventory())

    def lost() -> None:
        api.edit(PATH, **inventory("NVIDIA L40S").to_data())
        raise UnknownOutcomeError("no answer")

    api.races = [lost]
    with pytest.raises(UnknownOutcomeError):
        await publisher.publish(inventory("NVIDIA L40S"))
    await publisher.publish(inventory())
    assert Inventory.from_data(api.objects[PATH]["data"]) == inventory()


async def test_what_an_earlier_agent_wrote_unreadably_is_forgotten() -> None:
    """A newer format, or a vandal: the agent starts from nothing."""
    api = FakeApi()
    publisher = made(api)
    await publisher.publish(inventory())
    api.objects[PATH]["data"] = {"node": "nonsense"}
    assert await publisher.recall() is None
    assert await made(FakeApi()).recall() is None


async def test_a_beat_renews_the_nodes_lease() -> None:
    """Made at the first sign of life, renewed later."""
    api = FakeApi()
    clock = FakeClock()
    publisher = Publisher(cast(Any, api), node="n1", namespace="sys", clock=clock)
    await publisher.beat()
    first = api.objects[LEASE]["spec"]
    await clock.sleep(10)
    await publisher.beat()
    second = api.objects[LEASE]["spec"]
    assert (second["holderIdentity"], second["leaseDurationSeconds"]) == ("n1", LEASE_SECONDS)
    assert second["renewTime"] > first["renewTime"]
