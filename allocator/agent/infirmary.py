"""Which GPUs take no grants although they answer: those with errors, and those that others give out."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from allocator.agent.gpus import Reading
from allocator.agent.health import Health
from allocator.agent.neighbours import Neighbourhood
from allocator.agent.xids import Listener
from allocator.api.inventory import Inventory

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Infirmary:
    """Judges a node's GPUs.

    Attributes:
        health: who is sick.
        neighbourhood: who else gives them out.
        listener: what is heard.
        booted: when the node was started.
        now: UTC.
    """

    health: Health
    neighbourhood: Neighbourhood
    listener: Listener
    booted: Callable[[], datetime]
    now: Callable[[], datetime]

    def recall(self, before: Inventory) -> None:
        """Take over what an earlier agent told."""
        self.health.recall(before, booted=self.booted())

    def judge(self, inventory: Inventory, reading: Reading) -> Inventory:
        """The inventory with GPUs that take no grants marked as such; reads files."""
        for one in self.listener.taken():
            _log.warning("Xid", gpu=one.uuid, xid=one.number)
            self.health.error(one.uuid, one.number, at=one.at)
        return self.neighbourhood.judge(self.health.judge(inventory, reading.actions, now=self.now()))
