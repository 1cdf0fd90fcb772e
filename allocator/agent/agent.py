"""The agent's loop: read the GPUs, keep the interposer in place, publish, say that one lives.

Nothing in it ends the loop. A driver that fails or hangs, a folder that cannot be written and an API server that
is away are each told (in the inventory where that can be reached, in the log otherwise) and tried again at the next
turn. Running containers need nothing from the agent: stopping it takes nothing away from them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from allocator.agent.gpus import GpuError, GpuSource, OutsideError, Reading
from allocator.agent.patience import Patient, in_daemon_thread
from allocator.agent.report import Preparation, Report, describe, reported, unanswered, without_driver
from allocator.api.errors import VramshareError
from allocator.api.inventory import Inventory
from allocator.kube.clock import Clock

_log = structlog.get_logger(__name__)

CHECK_EVERY: Final = 12
"""Turns between two looks at whether the ConfigMap still says what we wrote."""
ANEW: Final = 120.0
"""Seconds for which a driver has to be out of reach before the agent ends, to get it with its next container."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are done.

    Attributes:
        turn: seconds between two readings of the GPUs.
        beat: seconds between two signs of life; several must fit into the Lease's duration.
        patience: seconds that a reading may take before the GPUs are called hung.
        timetable: seconds between two looks at who shares the GPUs.
        lending: seconds between two looks at who leaves its time idle, where that matters to anybody.
        look: seconds between two looks at whether containers are isolated. What two looks in a row find is told.
    """

    turn: float = 5.0
    beat: float = 10.0
    patience: float = 10.0
    timetable: float = 0.5
    lending: float = 0.1
    look: float = 4.0


class Preparing(Protocol):
    """Puts in place what containers need; called in a thread, and again whenever it is no longer `intact`."""

    def prepare(self) -> Preparation:
        """Install and test."""

    def intact(self, preparation: Preparation) -> bool:
        """Whether what was prepared is still there."""


class Timetabling(Protocol):
    """Says who may launch when; called in threads."""

    @property
    def lending(self) -> bool:
        """Whether `lend` has anything to do."""

    def update(self) -> None:
        """Look at the node's containers, publish what has changed."""

    def lend(self) -> None:
        """Look at who is busy, lend what is idle, take back what its owner wants."""


class Attesting(Protocol):
    """Looks at whether every container is isolated."""

    report: Report
    """What the inventory has to say of it."""

    def recall(self, before: Inventory) -> None:
        """Take over what an earlier agent has published."""

    async def look(self, inventory: Inventory) -> bool:
        """One look; whether the report has changed."""

    def announce(self) -> None:
        """The report is published."""


class Judging(Protocol):
    """Knows which GPUs take no grants although they answer."""

    def recall(self, before: Inventory) -> None:
        """Take over what an earlier agent has published."""

    def judge(self, inventory: Inventory, reading: Reading) -> Inventory:
        """The inventory with them marked as such; called in a thread."""


class Publishing(Protocol):
    """Where the inventory goes."""

    async def recall(self) -> Inventory | None:
        """What was published before this agent started."""

    async def publish(self, inventory: Inventory, *, check: bool = False) -> bool:
        """Make it known; whether anything had to be written."""

    async def beat(self) -> None:
        """Say that the agent lives."""


@dataclass(frozen=True, slots=True)
class Duties:
    """Who does what."""

    preparing: Preparing
    publishing: Publishing
    timetabling: Timetabling
    attesting: Attesting
    judging: Judging


class Agent:
    """One node's agent. `run` it, or drive `turn` and `beat` yourself."""

    def __init__(
        self,
        *,
        node: str,
        source: GpuSource,
        duties: Duties,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self._node = node
        self._patient = Patient(source.read, patience=pace.patience)
        self._preparing = duties.preparing
        self._publishing = duties.publishing
        self._timetabling = duties.timetabling
        self._attesting = duties.attesting
        self._judging = duties.judging
        self._clock = clock
        self._pace = pace
        self._preparation: Preparation | None = None
        self._started = False
        self._recalled: Inventory | None = None
        self._said: Inventory | None = None
        self._one_write = asyncio.Lock()
        self._turns = 0
        self._quiet = ""
        self._stop = asyncio.Event()
        self._outside_since: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; returns at once then, whatever hangs.

        Sets it itself where a driver can be had only by a new container.
        """
        self._stop = stop
        duties = [
            asyncio.create_task(self._repeat(self.turn, self._pace.turn), name="inventory"),
            asyncio.create_task(self._repeat(self.beat, self._pace.beat), name="lease"),
            asyncio.create_task(self._repeat(self.timetable, self._pace.timetable), name="timetables"),
            asyncio.create_task(self._keep_lending(), name="lending"),
            asyncio.create_task(self._repeat(self.attest, self._pace.look), name="attestation"),
        ]
        try:
            await stop.wait()
        finally:
            for duty in duties:
                duty.cancel()
            await asyncio.gather(*duties, return_exceptions=True)

    async def turn(self) -> None:
        """Read, decide, publish."""
        if not self._started:
            self._recalled = await self._publishing.recall()
            self._started = True
            if self._recalled is not None:
                self._attesting.recall(self._recalled)
                self._judging.recall(self._recalled)
        inventory = await self._look()
        if inventory is None:
            return
        first = self._said is None
        self._said = inventory
        if first:  # before the inventory, which would else come from a node that seems silent
            await self.beat()
        await self._publish(check=self._turns % CHECK_EVERY == 0)
        self._turns += 1

    async def attest(self) -> None:
        """Look at whether every container is isolated; say at once what has changed."""
        if self._said is not None and self._said.gpus and await self._attesting.look(self._said):
            await self._publish()

    async def beat(self) -> None:
        """A sign of life, from a node that has something to offer: the others cost the API server nothing."""
        if self._said is not None and self._said.gpus:
            await self._publishing.beat()

    async def timetable(self) -> None:
        """Let everybody know whose turn it is, on a node whose GPUs can be used."""
        if self._preparation is not None and self._preparation.installed is not None:
            await in_daemon_thread(self._timetabling.update)

    async def lend(self) -> None:
        """Let busy tenants have what others leave idle; costs nothing where nobody may have it."""
        if self._timetabling.lending:
            await in_daemon_thread(self._timetabling.lend)

    async def _publish(self, *, check: bool = False) -> None:
        """Make known what is to be said now. One at a time: a slow write must not bring back what was said before."""
        async with self._one_write:
            if self._said is not None:
                await self._publishing.publish(reported(self._said, self._attesting.report), check=check)
                self._attesting.announce()

    async def _look(self) -> Inventory | None:
        """What is to be said of the node now; None: nothing, it never had a GPU."""
        try:
            reading = await self._patient.read()
            self._outside_since = None
        except GpuError as reason:
            self._tell_once(str(reason))
            self._end_outside(reason)
            return unanswered(self._node, str(reason), before=self._said or self._recalled)
        if reading is None:
            self._tell_once("no NVIDIA driver; looking again at every turn")
            return without_driver(self._node, before=self._said or self._recalled)
        preparation = await self._prepared()
        self._tell_once(preparation.reason)
        described = describe(self._node, reading, preparation, before=self._said)
        return await in_daemon_thread(lambda: self._judging.judge(described, reading))

    def _end_outside(self, reason: GpuError) -> None:
        """End, to be started anew, once it is certain that this container will not get the driver."""
        now = self._clock.monotonic()
        if not isinstance(reason, OutsideError):
            self._outside_since = None
        elif self._outside_since is None:
            self._outside_since = now
        elif now - self._outside_since >= ANEW:
            _log.warning("the agent ends, to get the driver with its next container", node=self._node)
            self._stop.set()

    async def _prepared(self) -> Preparation:
        """The preparation, made again where it failed or was undone."""
        before = self._preparation
        if before is None or before.reason or not self._preparing.intact(before):
            self._preparation = await in_daemon_thread(self._preparing.prepare)
        assert self._preparation is not None  # noqa: S101 - set just above
        return self._preparation

    async def _keep_lending(self) -> None:
        """At its own pace where there is something to lend, which the timetables know."""
        while True:
            await self._guarded(self.lend)
            await self._clock.sleep(self._pace.lending if self._timetabling.lending else self._pace.timetable)

    async def _repeat(self, duty: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            await self._guarded(duty)
            await self._clock.sleep(seconds)

    async def _guarded(self, duty: Callable[[], Awaitable[None]]) -> None:
        try:
            await duty()
        except (VramshareError, OSError) as reason:
            _log.warning("not done, will try again", duty=duty.__name__, node=self._node, reason=str(reason))
        except Exception:  # noqa: BLE001 - nothing may end the loop; the trace is in the log
            _log.exception("a fault of the agent, will try again", duty=duty.__name__, node=self._node)

    def _tell_once(self, reason: str) -> None:
        """Log a state when it begins, not at every turn."""
        if reason and reason != self._quiet:
            _log.warning("node is not usable", node=self._node, reason=reason)
        elif self._quiet and not reason:
            _log.info("node is usable again", node=self._node)
        self._quiet = reason
