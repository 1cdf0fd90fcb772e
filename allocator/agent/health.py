"""Which GPUs are sick, by the driver's Xid errors, and when they are well again. Pure.

An Xid is what the driver writes when something went wrong on a GPU. Some are the application's own doing (it used
memory that is not its own, or was ended) and say nothing about the GPU. All others take it out of service:

  - one that leaves the GPU usable, until nothing has happened for a quiet time;
  - one that NVIDIA's documentation answers with a reset, until there has been one: the GPU was gone and is back, the
    node has been started anew, or the driver itself says that nothing needs to be done any more;
  - and whatever the driver asks to be done, where it says so (from R565 on), as long as it asks.

What is known stands in the inventory in words that are read back by the next agent, so that a restart heals nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from allocator.api.inventory import Gpu, Inventory

APPLICATION: Final = frozenset({13, 31, 43, 45, 68, 109})
"""13 fault of a kernel, 31 access to foreign memory, 43 stopped by such a fault, 45 ended early, 68 faulty video input,
109 a kernel that ran too long for a context switch: NVIDIA's device plugin passes over the same."""
RESET: Final = frozenset({48, 62, 64, 74, 79, 95, 119, 120, 140, 142, 143})
"""Those after which the GPU is not to be used before it was reset."""
MEANINGS: Final = {
    48: "double-bit memory error",
    62: "halt of an internal micro-controller",
    63: "a row of memory was remapped",
    64: "a row of memory could not be remapped",
    74: "NVLink error",
    79: "the GPU has fallen off the bus",
    92: "many single-bit memory errors",
    94: "contained memory error",
    95: "uncontained memory error",
    119: "the GPU's system processor does not answer",
    120: "error of the GPU's system processor",
    140: "unrecovered memory error",
}
QUIET: Final = timedelta(minutes=10)
_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"
_TOLD: Final = re.compile(r"Xid (\d+) at (\S+?Z)\b")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a GPU.

    Attributes:
        xid: the error.
        at: when it came last, UTC.
        away: whether the GPU has been gone since.
    """

    xid: int
    at: datetime
    away: bool = False


@dataclass(slots=True)
class Health:
    """The troubles of a node's GPUs.

    Attributes:
        quiet: how long nothing may have happened before a GPU counts as well.
        ignored: Xids that say nothing about the GPU.
    """

    quiet: timedelta = QUIET
    ignored: frozenset[int] = APPLICATION
    _troubles: dict[str, Trouble] = field(default_factory=dict)

    def error(self, uuid: str, xid: int, *, at: datetime) -> None:
        """The driver reports an Xid. The graver one stands until it is over."""
        if xid in self.ignored:
            return
        before = self._troubles.get(uuid)
        if before is not None and before.xid in RESET and xid not in RESET and not before.away:
            xid = before.xid
        self._troubles[uuid] = Trouble(xid=xid, at=at)

    def recall(self, before: Inventory, *, booted: datetime) -> None:
        """Take over what an earlier agent told, unless the node has been started since."""
        for gpu in before.gpus:
            told = _TOLD.search(gpu.health)
            if told is None:
                continue
            try:
                at = datetime.strptime(told[2], _STAMP).replace(tzinfo=UTC)
            except ValueError:
                continue
            if at > booted:
                self._troubles.setdefault(gpu.uuid, Trouble(xid=int(told[1]), at=at))

    def judge(self, inventory: Inventory, actions: Mapping[str, str], *, now: datetime) -> Inventory:
        """The inventory with sick GPUs marked as such.

        Args:
            inventory: as read; a GPU that is unhealthy for another reason is away.
            actions: what the driver asks to be done, by GPU; empty: nothing. A GPU that is not in it is on a driver
                that does not say.
            now: UTC.
        """
        return replace(inventory, gpus=tuple(self._judged(gpu, actions.get(gpu.uuid), now) for gpu in inventory.gpus))

    def _judged(self, gpu: Gpu, action: str | None, now: datetime) -> Gpu:
        trouble = self._troubles.get(gpu.uuid)
        if trouble is not None and not gpu.healthy:
            self._troubles[gpu.uuid] = replace(trouble, away=True)
        if not gpu.healthy:
            return gpu
        if trouble is not None and self._over(trouble, action, now):
            del self._troubles[gpu.uuid]
            trouble = None
        if trouble is None:
            return replace(gpu, health=f"the driver asks for: {action}") if action else gpu
        return replace(gpu, health=self._shown(trouble, action))

    def _over(self, trouble: Trouble, action: str | None, now: datetime) -> bool:
        if action:
            return False
        calm = now - trouble.at >= self.quiet or now < trouble.at  # a clock set back must not keep it sick for ever
        return trouble.away or (calm and (trouble.xid not in RESET or action == ""))

    def _shown(self, trouble: Trouble, action: str | None) -> str:
        meaning = MEANINGS.get(trouble.xid, "see NVIDIA's documentation of Xid errors")
        if action:
            remedy = f"the driver asks for: {action}"
        elif trouble.xid in RESET:
            remedy = "reset the GPU (nvidia-smi --gpu-reset) or restart the node"
        else:
            remedy = f"in use again after {int(self.quiet.total_seconds() // 60)} quiet minutes"
        return f"Xid {trouble.xid} at {trouble.at.astimezone(UTC).strftime(_STAMP)}: {meaning}; {remedy}"
