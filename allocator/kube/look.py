"""One look at the cluster: all that placing a pod, or drawing the GPUs, depends on."""

from collections.abc import Callable
from typing import Final

from allocator.api import names
from allocator.core.listing import Listing
from allocator.kube.client import Client
from allocator.kube.resources import CONFIGMAPS, LEASES, NODES, PODS, JsonObject

STEPS: Final = 5
"""How many things `look` reads, one after the other."""
PENDING: Final = "status.phase=Pending"
"""Field selector of pods that wait, for us among others."""


def _unheard(_: str) -> None:
    """Nobody asks how far it is."""


async def look(client: Client, namespace: str, *, fields: str = "", step: Callable[[str], None] = _unheard) -> Listing:
    """Read nodes, inventories, ledgers, pods and Leases.

    Args:
        client: an open session.
        namespace: vramshare's own.
        fields: selector of the pods; empty: all of them.
        step: told what is read next.
    """

    async def ours(kind: str) -> list[JsonObject]:
        step(kind)
        return (await client.list(CONFIGMAPS, namespace=namespace, labels=f"{names.KIND_LABEL}={kind}"))[0]

    step("nodes")
    nodes = (await client.list(NODES))[0]
    inventories = await ours(names.KIND_INVENTORY)
    ledgers = await ours(names.KIND_LEDGER)
    step("pods")
    pods = (await client.list(PODS, fields=fields))[0]
    step("leases")
    leases = (await client.list(LEASES, namespace=namespace))[0]
    return Listing(nodes=nodes, inventories=inventories, ledgers=ledgers, pods=pods, leases=leases)
