"""Kubernetes Events: what the components tell people, written beside their work and never in its way.

The same words about the same object become one Event with a count, as in a real cluster.
"""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

from devcluster.client import EVENTS, Client
from devcluster.clock import Clock, timestamp
from devcluster.informer import FAILURES

_REMEMBERED = 4096


def reference(item: Mapping[str, Any], *, kind: str, api_version: str = "v1", field_path: str = "") -> dict[str, str]:
    """Return an ObjectReference to ``item``; objects out of lists carry no kind, so it is given."""
    meta = item["metadata"]
    found = {
        "kind": kind,
        "apiVersion": api_version,
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta.get("uid", ""),
        "resourceVersion": meta.get("resourceVersion", ""),
        "fieldPath": field_path,
    }
    return {name: value for name, value in found.items() if value}


class Recorder:
    """Writes the Events of one component. ``run`` must be running for them to be sent."""

    def __init__(self, client: Client, *, component: str, host: str = "", clock: Clock) -> None:
        self._client = client
        self._source = {"component": component, **({"host": host} if host else {})}
        self._clock = clock
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._written: dict[tuple[str, ...], tuple[str, int]] = {}

    def emit(self, involved: Mapping[str, str], *, reason: str, message: str, warning: bool = False) -> None:
        """Tell about ``involved``. Returns at once."""
        now = timestamp(self._clock.time())
        self._queue.put_nowait(
            {
                "involvedObject": dict(involved),
                "reason": reason,
                "message": message[:1024],
                "type": "Warning" if warning else "Normal",
                "source": self._source,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
                "reportingComponent": self._source["component"],
                "reportingInstance": self._source.get("host", ""),
            }
        )

    async def run(self) -> None:
        """Send Events until cancelled; one that the server refuses is dropped."""
        while True:
            event = await self._queue.get()
            try:
                await self._send(event)
            except FAILURES:
                continue

    async def _send(self, event: dict[str, Any]) -> None:
        involved = event["involvedObject"]
        namespace = involved.get("namespace", "default")
        uid, path = involved.get("uid", ""), involved.get("fieldPath", "")
        key = (uid, involved["name"], path, event["reason"], event["message"])
        name, count = self._written.get(key, ("", 0))
        if name:
            change = {"count": count + 1, "lastTimestamp": event["lastTimestamp"]}
            await self._client.patch(EVENTS.path(namespace, name), change)
        else:
            name = f"{involved['name']}.{secrets.token_hex(8)}"
            body = {**event, "kind": "Event", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace}}
            await self._client.create(EVENTS.path(namespace), body)
        if len(self._written) > _REMEMBERED:
            self._written.clear()
        self._written[key] = (name, count + 1)
