"""Carries the inventory to the API server: written on change only, each write a compare-and-swap."""

from typing import Final

import structlog

from allocator.api import names
from allocator.api.errors import ConflictError, FormatError
from allocator.api.inventory import Inventory
from allocator.kube import leases
from allocator.kube.client import Client
from allocator.kube.clock import Clock
from allocator.kube.errors import AlreadyExistsError, NotFoundError, StaleError
from allocator.kube.resources import CONFIGMAPS, JsonObject

_log = structlog.get_logger(__name__)

LEASE_SECONDS: Final = 40
"""After so long without a sign of life a node gets no new grants: three signs missed."""
TRIES: Final = 5
"""A conflict means that another process writes our inventory; it cannot win for ever."""


class Publisher:
    """One node's inventory ConfigMap and Lease."""

    def __init__(self, client: Client, *, node: str, namespace: str, clock: Clock) -> None:
        self._client = client
        self._node = node
        self._namespace = namespace
        self._clock = clock
        self._written: dict[str, str] | None = None

    async def recall(self) -> Inventory | None:
        """What an earlier agent of this node published; None where there is nothing readable."""
        try:
            found = await self._client.get(CONFIGMAPS, names.inventory_name(self._node), namespace=self._namespace)
            return Inventory.from_data(found.get("data") or {})
        except (NotFoundError, FormatError):
            return None

    async def publish(self, inventory: Inventory, *, check: bool = False) -> bool:
        """Make the ConfigMap say this.

        Args:
            inventory: of this node.
            check: read the ConfigMap even if nothing has changed on our side: somebody may have edited it.

        Returns:
            Whether a write was needed.

        Raises:
            KubeError: the API server refused or could not be reached.
            ConflictError: somebody else keeps writing there.
        """
        data = inventory.to_data()
        if data == self._written and not check:
            return False
        self._written = None  # unknown from here on, should the answer get lost
        for _ in range(TRIES):
            try:
                wrote = await self._write(data)
            except (StaleError, AlreadyExistsError):
                continue
            self._written = data
            return wrote
        raise ConflictError(
            f"ConfigMap {self._namespace}/{names.inventory_name(self._node)} changes under every write; "
            f"is a second agent running for node {self._node}?"
        )

    async def beat(self) -> None:
        """A sign of life in the node's Lease.

        Raises:
            KubeError: it could not be written.
        """
        await leases.renew(
            self._client,
            namespace=self._namespace,
            name=names.agent_lease_name(self._node),
            holder=self._node,
            seconds=LEASE_SECONDS,
            now=self._clock.now(),
        )

    async def _write(self, data: dict[str, str]) -> bool:
        """One attempt; whether it changed anything. A lost race raises what the client raises."""
        name = names.inventory_name(self._node)
        try:
            found = await self._client.get(CONFIGMAPS, name, namespace=self._namespace)
        except NotFoundError:
            await self._client.create(CONFIGMAPS, self._object(data), namespace=self._namespace)
            _log.info("inventory created", configmap=name)
            return True
        labels = (found.get("metadata") or {}).get("labels") or {}
        wanted = self._object(data)
        if found.get("data") == data and wanted["metadata"]["labels"].items() <= labels.items():
            return False
        wanted["metadata"]["labels"] = {**labels, **wanted["metadata"]["labels"]}
        wanted["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        await self._client.replace(CONFIGMAPS, wanted)
        _log.info("inventory updated", configmap=name)
        return True

    def _object(self, data: dict[str, str]) -> JsonObject:
        return {
            "apiVersion": CONFIGMAPS.api_version,
            "kind": CONFIGMAPS.kind,
            "metadata": {
                "name": names.inventory_name(self._node),
                "namespace": self._namespace,
                "labels": {names.KIND_LABEL: names.KIND_INVENTORY, names.PART_OF_LABEL: names.PART_OF},
            },
            "data": data,
        }
