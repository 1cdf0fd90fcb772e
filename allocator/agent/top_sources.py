"""Where `vramshare top` looks: at this node's files, or at the whole cluster."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from allocator.agent.top_cluster import Uses, ask, remarks
from allocator.agent.top_cluster import rows as cluster_rows
from allocator.agent.top_rows import Reading, read, rows
from allocator.agent.top_screen import Shown
from allocator.core.picture import draw_node, draw_waiting
from allocator.core.queue import Waiting, in_order
from allocator.kube import Client, KubeError
from allocator.kube.look import PENDING, look


class Source(Protocol):
    """Something to look at again and again."""

    async def look(self) -> Shown:
        """What there is now; rates are of the time since the look before."""


@dataclass(slots=True)
class Node:
    """This node: the kubelet's folder and the containers' own accounts. No API server, no driver.

    Attributes:
        kubelet: its folder.
        root: where the node's file system is.
    """

    kubelet: Path
    root: Path
    _before: Reading | None = None

    async def look(self) -> Shown:
        """Read the files."""
        now = read(self.kubelet, self.root)
        found = rows(now, self._before or now)
        self._before = now
        return Shown(where="this node", rows=found)


@dataclass(slots=True)
class Cluster:
    """All nodes: what is granted, by the ledgers; what is used, by the agents.

    Attributes:
        client: an open session.
        namespace: vramshare's own.
    """

    client: Client
    namespace: str
    _before: Uses | None = None

    async def look(self) -> Shown:
        """Ask the API server."""
        listing = await look(self.client, self.namespace, fields=PENDING)
        fleet = listing.fleet(now=datetime.now(UTC))
        nodes = tuple(drawn for node in fleet.nodes() if (drawn := draw_node(node)) is not None)
        waiting = in_order(one for pod in listing.pods if (one := Waiting.of(pod)) is not None)
        try:
            uses = await ask(self.client, self.namespace, now=time.monotonic())
            said = remarks(nodes, uses)
        except KubeError as reason:
            uses, said = Uses(), [f"no live use: {reason}"]
        found = cluster_rows(nodes, uses, self._before or Uses())
        self._before = uses
        count = len(nodes)
        return Shown(
            where=f"{count} node{'s' * (count != 1)}",
            rows=found,
            nodes=nodes,
            queue=tuple(draw_waiting(one) for one in waiting),
            remarks=said,
        )
