"""Brings together what the driver reports of errors and what the inventory says of GPUs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from allocator.agent.gpus import Reading
from allocator.agent.health import Health
from allocator.agent.xids import Listener
from allocator.api.inventory import Inventory

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Infirmary:
    """The sick GPUs of a node.

    Attributes:
        health: who is sick.
        listener: what is heard.
        booted: when the node was started.
        now: UTC.
    """

    health: Health
    listener: Listener
    booted: Callable[[], datetime]
    now: Callable[[], datetime]

    def recall(self, before: Inventory) -> None:
        """Take over what an earlier agent told."""
        self.health.recall(before, booted=self.booted())

    def judge(self, inventory: Inventory, reading: Reading) -> Inventory:
        """The inventory with sick GPUs marked as such."""
        for one in self.listener.taken():
            _log.warning("Xid", gpu=one.uuid, xid=one.number)
            self.health.error(one.uuid, one.number, at=one.at)
        return self.health.judge(inventory, reading.actions, now=self.now())
