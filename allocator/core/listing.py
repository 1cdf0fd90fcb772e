"""A fleet from one look at the cluster, for whoever decides nothing and follows nothing: the command line.

The running allocator keeps its fleet by watches; both apply the same objects to the same fleet.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from allocator.api import names
from allocator.api.errors import FormatError
from allocator.api.inventory import Inventory
from allocator.core.fleet import Fleet
from allocator.core.ledger import Ledger, node_of
from allocator.core.nodes import NodeInfo
from allocator.core.resources import pod_usage
from allocator.core.state import PodOnNode

Json = Mapping[str, Any]

AGENT_SILENT: Final = 60.0
"""Seconds without renewal after which an agent counts as silent; the allocator's own default."""
_ENDED: Final = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects as the API server lists them; ConfigMaps and Leases of vramshare's namespace only."""

    nodes: Iterable[Json]
    inventories: Iterable[Json]
    ledgers: Iterable[Json]
    pods: Iterable[Json]
    leases: Iterable[Json] = field(default=())

    def fleet(self, *, now: datetime) -> Fleet:
        """The fleet that these objects describe. What cannot be read counts as absent, or blocks what it names."""
        fleet = Fleet()
        for node in self.nodes:
            fleet.apply_node(NodeInfo.from_json(node))
        signs = {_name(lease): (lease.get("spec") or {}).get("renewTime") for lease in self.leases}
        inventories: dict[str, Inventory] = {}
        for one in self.inventories:
            try:
                inventory = Inventory.from_data(one.get("data") or {})
            except FormatError:
                continue
            inventories[inventory.node] = inventory
            fleet.apply_inventory(inventory)
            live = _age(signs.get(names.agent_lease_name(inventory.node)), now) <= AGENT_SILENT
            fleet.set_agent_live(inventory.node, live)
        for one in self.ledgers:
            ledger = Ledger.from_data(node_of(one), one.get("data"))
            fleet.apply_grants(ledger.node, ledger.holds(inventories.get(ledger.node)))
        for pod in self.pods:
            if (found := placed(pod)) is not None:
                fleet.apply_pod(found)
        return fleet


def _name(thing: Json) -> str:
    return str((thing.get("metadata") or {}).get("name", ""))


def _age(stamp: str | None, now: datetime) -> float:
    """Seconds since a life sign; endless if there is none that can be read."""
    try:
        return (now - datetime.fromisoformat(stamp or "")).total_seconds()
    except (TypeError, ValueError):
        return float("inf")


def placed(pod: Json) -> PodOnNode | None:
    """A pod that takes of a node: bound or granted, and not ended."""
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    granted = annotations.get(names.STATUS) == names.STATUS_ALLOCATED
    node = spec.get("nodeName") or (annotations.get(names.NODE, "") if granted else "")
    if not node or (pod.get("status") or {}).get("phase") in _ENDED:
        return None
    return PodOnNode(
        key=metadata.get("uid", ""),
        node=node,
        usage=pod_usage(spec),
        allocation_id=annotations.get(names.ALLOCATION_ID, "") if granted else "",
    )
