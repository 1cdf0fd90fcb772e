"""What the page shows, kept up to date by differences. No I/O, no clock of its own.

A browser reads the whole board once and follows the differences. To draw one node costs some ten microseconds for
each slice, so only nodes that the fleet's log of changes names are drawn anew, a few at a time: admission reviews
wait behind whatever this process does.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from allocator.core.fleet import Fleet
from allocator.core.fragmentation import Fragmentation
from allocator.core.picture import draw_node, draw_waiting, models_json
from allocator.core.queue import Waiting
from allocator.core.state import NodeState

Json = dict[str, Any]

QUEUE_SHOWN: Final = 500
"""Pods of the queue that are named; the rest is counted."""
SAMPLES: Final = 120
"""Points of the history."""
AT_ONCE: Final = 16
"""Nodes drawn between two chances for others."""


@dataclass(slots=True)
class Board:
    """The page's contents.

    Attributes:
        nodes: by name, as JSON.
        queue: the first who wait.
        queued: how many wait.
        models: fragmentation by GPU model.
        history: samples of the last hour, oldest first.
        ready: whether the allocator has seen the cluster lately.
    """

    nodes: dict[str, Json] = field(default_factory=dict)
    queue: list[Json] = field(default_factory=list)
    queued: int = 0
    models: Json = field(default_factory=dict)
    history: deque[Json] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    ready: bool = False
    _generation: int = -1
    _read: int = 0
    _drawn: dict[tuple[str, str], Json] = field(default_factory=dict)

    def whole(self) -> Json:
        """All of it."""
        return {
            "nodes": self.nodes,
            "queue": self.queue,
            "queued": self.queued,
            "models": self.models,
            "history": list(self.history),
            "ready": self.ready,
        }

    def changed_nodes(self, fleet: Fleet) -> Iterator[Json]:
        """Draw the nodes that have changed since the last call, some at each step: by name, null for one that is gone.

        Between two steps the fleet may change; that is found at the next call.
        """
        names = self._touched(fleet)
        for start in range(0, len(names), AT_ONCE):
            changed: Json = {}
            for name in names[start : start + AT_ONCE]:
                found = self._draw(fleet.node(name))
                if found != self.nodes.get(name):
                    changed[name] = found
                    _keep(self.nodes, name, found)
            yield changed

    def changed_queue(self, waiting: Iterable[Waiting]) -> Json:
        """The queue, if it has changed."""
        listed = list(waiting)
        drawn: dict[tuple[str, str], Json] = {}
        for one in listed[:QUEUE_SHOWN]:
            key = (one.uid, str((one.pod.get("metadata") or {}).get("resourceVersion", "")))
            drawn[key] = self._drawn.get(key) or draw_waiting(one).to_json()
        queue = list(drawn.values())
        self._drawn = drawn
        if (queue, len(listed)) == (self.queue, self.queued):
            return {}
        self.queue, self.queued = queue, len(listed)
        return {"queue": queue, "queued": self.queued}

    def changed_models(self, models: Mapping[str, Fragmentation]) -> Json:
        """Fragmentation, if it has changed."""
        found = models_json(models)
        if found == self.models:
            return {}
        self.models = found
        return {"models": found}

    def changed_readiness(self, *, ready: bool) -> Json:
        """Whether the allocator sees the cluster, if that has changed."""
        if ready == self.ready:
            return {}
        self.ready = ready
        return {"ready": ready}

    def sample(self, models: Mapping[str, Fragmentation], *, at: float) -> Json:
        """Add a point to the history: GPUs in all, used and stranded; pods waiting. `at`: seconds since 1970."""
        total = sum(one.total for one in models.values())
        point = {
            "at": round(at),
            "total": round(total, 2),
            "used": round(total - sum(one.free for one in models.values()), 2),
            "stranded": round(sum(one.stranded for one in models.values()), 2),
            "queued": self.queued,
        }
        self.history.append(point)
        return {"sample": point}

    def _touched(self, fleet: Fleet) -> list[str]:
        """Names of the nodes that may have changed. The log is cut from time to time; then all may have."""
        table = fleet.table
        if self._generation != table.generation or self._read > len(table.log):
            found = {*self.nodes, *table.rows}
        else:
            found = {table.names[row] for row in table.log[self._read :]} - {""}
            found |= self.nodes.keys() - table.rows.keys()
        self._generation, self._read = table.generation, len(table.log)
        return sorted(found)

    @staticmethod
    def _draw(node: NodeState | None) -> Json | None:
        found = draw_node(node) if node is not None else None
        return found.to_json() if found is not None else None


def _keep(nodes: dict[str, Json], name: str, found: Json | None) -> None:
    if found is None:
        nodes.pop(name, None)
    else:
        nodes[name] = found
