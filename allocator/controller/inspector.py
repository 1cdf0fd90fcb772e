"""Tells the owners of pods what is wrong with the GPUs under them: gone, shrunk, unhealthy, over-committed.

Nothing else is done: no new grants go there anyway, and what runs may still save its work. The leader's duty.
"""

from collections.abc import Callable

import structlog

from allocator.controller.engine import Engine
from allocator.controller.recovery_notes import trouble_note
from allocator.core.troubles import troubles
from allocator.kube import EventRecorder

_log = structlog.get_logger(__name__)


class Inspector:
    """Looks at a node when its inventory has changed, and at all of them now and again."""

    def __init__(self, engine: Engine, recorder: EventRecorder, *, leading: Callable[[], bool]) -> None:
        self._engine = engine
        self._recorder = recorder
        self._leading = leading
        self._told: dict[str, dict[str, str]] = {}

    def look_at_all(self) -> None:
        """Every node with an inventory."""
        for node in self._engine.world.inventories.nodes():
            self.look_at(node)

    def look_at(self, node: str) -> None:
        """One node. Each trouble of a pod is told once."""
        world = self._engine.world
        inventory = world.inventories.get(node)
        if inventory is None or not (self._leading() and world.synced):
            return
        before, now = self._told.get(node, {}), {}
        for grant, sentence in troubles(world.ledgers.get(node).ledger, inventory):
            now[grant.uid] = sentence
            if before.get(grant.uid) != sentence:
                _log.warning("trouble under a pod", node=node, pod=f"{grant.namespace}/{grant.pod}", trouble=sentence)
                self._recorder.record(trouble_note(grant, sentence))
        self._told[node] = now
