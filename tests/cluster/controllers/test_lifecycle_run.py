"""When the controller of node health looks."""

import asyncio
from typing import Any

from devcluster.client import LEASES, NODES, PODS, Resource
from devcluster.clock import timestamp
from devcluster.controllers.lifecycle import NOT_READY, UNREACHABLE, NodeLifecycle
from devcluster.informer import Handler, Key, Object

NOW = 1_800_000_000.0


class Copy:
    """An informer's copy, told of changes by hand."""

    def __init__(self) -> None:
        self.items: dict[Key, Object] = {}
        self.handlers: list[Handler] = []

    def on_change(self, handler: Handler) -> None:
        """Remember who wants to be told."""
        self.handlers.append(handler)

    def tell(self, item: Object) -> None:
        """An object is new or has changed."""
        key = ("", item["metadata"]["name"])
        before, self.items[key] = self.items.get(key), item
        for handler in self.handlers:
            handler(before, item)


class Stand:
    """What the controller shares with others: copies, a clock that stands, and a client that notes patches."""

    def __init__(self) -> None:
        self.copies = {kind: Copy() for kind in (NODES, LEASES, PODS)}
        self.client = self
        self.clock = self
        self.patched: asyncio.Queue[Any] = asyncio.Queue()

    def informer(self, kind: Resource) -> Copy:
        """The copy of a kind."""
        return self.copies[kind]

    def time(self) -> float:
        """Always the same."""
        return NOW

    async def sleep(self, _seconds: float) -> None:
        """For ever: a clock that stands."""
        await asyncio.Event().wait()

    async def patch(self, _path: str, body: dict[str, Any], *_: str) -> None:
        """Note what is written."""
        await self.patched.put(body["spec"]["taints"])


def node(conditions: list[dict[str, str]], taints: list[dict[str, str]]) -> Object:
    """A node that was registered just now."""
    metadata = {"name": "n", "creationTimestamp": timestamp(NOW)}
    return {"metadata": metadata, "spec": {"taints": taints}, "status": {"conditions": conditions}}


async def test_a_node_that_becomes_ready_loses_its_taints_at_once() -> None:
    """Between registration and the first status a node looks sick; pods do not wait a round longer than that."""
    stand = Stand()
    stand.copies[NODES].tell(node([], []))
    running = asyncio.create_task(NodeLifecycle(stand).run())  # type: ignore[arg-type]  # a stand-in
    try:
        async with asyncio.timeout(3):
            added = await stand.patched.get()
            assert {taint["key"] for taint in added} <= {NOT_READY, UNREACHABLE}
            stand.copies[NODES].tell(node([{"type": "Ready", "status": "True"}], added))
            assert await stand.patched.get() is None
    finally:
        running.cancel()
