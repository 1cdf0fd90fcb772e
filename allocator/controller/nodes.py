"""Nodes, their inventories and the life signs of their agents, as told to the fleet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from allocator.api import names
from allocator.api.errors import FormatError
from allocator.api.inventory import Inventory
from allocator.controller.settings import AgentSettings
from allocator.controller.signals import Signals
from allocator.core.fleet import Fleet
from allocator.core.nodes import NodeInfo
from allocator.kube import Clock, JsonObject

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class InventoryBook:
    """Inventory ConfigMaps, fed by a reflector.

    Attributes:
        fleet: told of each.
        changed: called with the node's name.
    """

    fleet: Fleet
    changed: Callable[[str], None]
    _nodes: dict[str, str] = field(default_factory=dict)
    _inventories: dict[str, Inventory] = field(default_factory=dict)

    def get(self, node: str) -> Inventory | None:
        """A node's inventory as last read."""
        return self._inventories.get(node)

    def nodes(self) -> tuple[str, ...]:
        """Nodes with an inventory."""
        return tuple(self._inventories)

    def put(self, key: str, configmap: JsonObject) -> None:
        """An inventory is new or has changed. One that cannot be read counts as none."""
        try:
            inventory = Inventory.from_data(configmap.get("data") or {})
        except FormatError as reason:
            _log.error("inventory cannot be read; its node takes no grants", configmap=key, reason=str(reason))
            self.drop(key)
            return
        if key.partition("/")[2] != names.inventory_name(inventory.node):
            _log.error("inventory passed over: it names another node", configmap=key, node=inventory.node)
            self.drop(key)
            return
        self._nodes[key] = inventory.node
        if self._inventories.get(inventory.node) == inventory:
            return
        self._inventories[inventory.node] = inventory
        self.fleet.apply_inventory(inventory)
        self.changed(inventory.node)

    def drop(self, key: str) -> None:
        """An inventory is gone."""
        node = self._nodes.pop(key, None)
        if node is not None:
            self._inventories.pop(node, None)
            self.fleet.remove_inventory(node)
            self.changed(node)


@dataclass(slots=True)
class NodeBook:
    """Node objects, fed by a reflector.

    Attributes:
        fleet: told of each.
        signals: told when one changed in a way that matters to placing.
    """

    fleet: Fleet
    signals: Signals
    _known: dict[str, NodeInfo] = field(default_factory=dict)

    def knows(self, name: str) -> bool:
        """Whether there is such a node as far as we have seen."""
        return f"/{name}" in self._known

    def put(self, key: str, node: JsonObject) -> None:
        """A node is new or has changed; its heartbeats alone change nothing."""
        info = NodeInfo.from_json(node)
        if self._known.get(key) == info:
            return
        self._known[key] = info
        self.fleet.apply_node(info)
        self.signals.room()

    def drop(self, key: str) -> None:
        """A node is gone."""
        info = self._known.pop(key, None)
        if info is not None:
            self.fleet.remove_node(info.name)
            self.signals.room()


@dataclass(frozen=True, slots=True)
class _Sign:
    """A life sign: its stamp, and when on our own clock it was new."""

    stamp: str
    since: float


@dataclass(slots=True)
class AgentBook:
    """Agents' Leases, fed by a reflector; `judge` now and again, because silence makes no event.

    An agent's clock is not ours: what counts is how long its Lease has stayed the same under our eyes. Only at
    first sight is there nothing but its own stamp to go by.
    """

    fleet: Fleet
    settings: AgentSettings
    clock: Clock
    signals: Signals
    _signs: dict[str, _Sign] = field(default_factory=dict)
    _live: dict[str, bool] = field(default_factory=dict)

    def put(self, key: str, lease: JsonObject) -> None:
        """A Lease was renewed."""
        name = key.partition("/")[2]
        stamp = str((lease.get("spec") or {}).get("renewTime") or "")
        before = self._signs.get(name)
        if before is not None and before.stamp == stamp:
            return
        now = self.clock.monotonic()
        self._signs[name] = _Sign(stamp=stamp, since=now if before else now - self._age_by_stamp(stamp))

    def drop(self, key: str) -> None:
        """A Lease is gone."""
        self._signs.pop(key.partition("/")[2], None)

    def judge(self, nodes: tuple[str, ...]) -> None:
        """Tell the fleet which of these nodes' agents are alive."""
        now = self.clock.monotonic()
        for node in nodes:
            sign = self._signs.get(names.agent_lease_name(node))
            live = self.settings.may_be_absent if sign is None else now - sign.since <= self.settings.max_age
            self.fleet.set_agent_live(node, live)
            if self._live.get(node) != live:
                self._live[node] = live
                self.signals.room()
                if not live:
                    _log.warning("agent is silent; its node takes no grants", node=node)

    def _age_by_stamp(self, stamp: str) -> float:
        try:
            then = datetime.fromisoformat(stamp)
        except ValueError:
            return float("inf")
        if then.tzinfo is None:
            return float("inf")
        return max(0.0, (self.clock.now() - then).total_seconds())
