"""Trouble under a pod: told to its owner once, and nothing new is granted there."""

from dataclasses import replace

import pytest

from allocator.api.errors import NoCapacityError
from allocator.api.quantities import Memory
from tests.unit.controller.cluster import Cluster, ask
from tests.unit.controller.test_evictor import messages
from tests.unit.controller.test_give_back import seen
from tests.unit.controller.test_strays import there


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"health": "XID 79"}, "GPU-n1-0 is not healthy: XID 79"),
        ({"memory": Memory.mib(300)}, "GPU-n1-0 has 300Mi, less than the 400Mi that is granted of it"),
        (None, "GPU-n1-0 is no longer on node n1"),
    ],
    ids=["unhealthy", "shrunk", "vanished"],
)
async def test_trouble_is_told_once_and_work_goes_on(change, sentence):
    """The pod stays and keeps its grant; the GPU takes nothing new; the owner reads one Event."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.run_pod(await allocator.grant(ask("a", mib=400)))
        await seen(cluster)
        inventory = cluster.inventories["n1"]
        gpus = () if change is None else (replace(inventory.gpus[0], **change),)
        cluster.publish(replace(inventory, gpus=gpus))
        await cluster.pass_time(60)
        assert there(cluster, "a")
        assert [grant.pod for grant in cluster.ledger().grants.values()] == ["a"]
        assert messages(cluster, "GpuTrouble") == [
            f"{sentence}; the pod is left alone, and nothing new is granted there"
        ]
        with pytest.raises(NoCapacityError):
            await allocator.grant(ask("b", mib=1))


async def test_trouble_that_comes_back_is_told_again():
    """An owner who reads of health regained by silence must read of the next fault."""
    cluster = Cluster()
    async with cluster.allocator() as allocator:
        cluster.run_pod(await allocator.grant(ask("a")))
        await seen(cluster)
        well = cluster.inventories["n1"]
        for inventory in (replace(well, gpus=()), well, replace(well, gpus=())):
            cluster.publish(inventory)
            await cluster.pass_time(20)
        assert len(messages(cluster, "GpuTrouble")) == 1
        [event] = [one for one in cluster.api.objects.values() if one.get("reason") == "GpuTrouble"]
        assert event["count"] == 2
