"""Kubernetes Events, for whoever runs `kubectl describe`: written in the background, repeats counted, never spam.

Events are a courtesy. They are paced, the queue is bounded, and what cannot be written is dropped with a log line:
nothing that matters may wait for one.
"""

import asyncio
import hashlib
from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from allocator.kube.client import Client
from allocator.kube.clock import Clock
from allocator.kube.errors import KubeError, NotFoundError
from allocator.kube.resources import EVENTS, JsonObject

_log = structlog.get_logger(__name__)

NORMAL: Final = "Normal"
WARNING: Final = "Warning"
_LONGEST_MESSAGE: Final = 1024
_REMEMBERED: Final = 4096
_WAITING: Final = 2048
_NAME_PREFIX: Final = 200


@dataclass(frozen=True, slots=True)
class Note:
    """What happened to an object.

    Attributes:
        kind: of the object, `Pod`.
        namespace: its namespace; empty for a node.
        name: its name.
        uid: its UID, by which `describe` finds the event.
        reason: one word in CamelCase.
        message: one sentence.
        level: NORMAL or WARNING.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    reason: str
    message: str
    level: str = NORMAL


@dataclass(slots=True)
class _Written:
    name: str
    count: int


class EventRecorder:
    """Writes notes as core/v1 Events. `run` it in a task of its own."""

    def __init__(
        self,
        client: Client,
        *,
        component: str,
        instance: str,
        clock: Clock,
        per_second: float = 5.0,
        burst: int = 25,
    ) -> None:
        """Prepare.

        Args:
            client: the session to use.
            component: shown in the column FROM.
            instance: which replica of it.
            clock: time stamps and pacing.
            per_second: how many writes in the long run; the API server has better things to do.
            burst: how many writes at once after a quiet time.
        """
        self._client = client
        self._component = component
        self._instance = instance
        self._clock = clock
        self._per_second = per_second
        self._burst = burst
        self._credit = float(burst)
        self._counted = clock.monotonic()
        self._waiting: deque[Note] = deque(maxlen=_WAITING)
        self._known: OrderedDict[Note, _Written] = OrderedDict()
        self._wake = asyncio.Event()

    def record(self, note: Note) -> None:
        """Have it written soon. The oldest waiting note is dropped where too many wait."""
        if len(self._waiting) == _WAITING:
            _log.warning("event dropped", reason="too many are waiting", note=self._waiting[0].message)
        self._waiting.append(note)
        self._wake.set()

    async def run(self) -> None:
        """Write what is recorded until cancelled."""
        while True:
            await self._wake.wait()
            while self._waiting:
                await self._pace()
                await self.write(self._waiting.popleft())
            self._wake.clear()

    async def _pace(self) -> None:
        """Wait until one more write is due; credit grows with time, up to the burst."""
        while True:
            now = self._clock.monotonic()
            self._credit = min(self._burst, self._credit + (now - self._counted) * self._per_second)
            self._counted = now
            if self._credit >= 1:
                self._credit -= 1
                return
            await self._clock.sleep((1 - self._credit) / self._per_second)

    async def write(self, note: Note) -> None:
        """Write one note now: a new Event, or a higher count on the one that says the same."""
        known = self._known.get(note)
        try:
            if known is None or not await self._count_up(note, known):
                await self._create(note)
        except KubeError as reason:
            _log.warning("event not written", reason=str(reason), note=note.message)

    async def _create(self, note: Note) -> None:
        now = self._clock.now()
        body = event_object(note, now=now, component=self._component, instance=self._instance)
        await self._client.create(EVENTS, body, namespace=body["metadata"]["namespace"])
        self._known[note] = _Written(name=body["metadata"]["name"], count=1)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _count_up(self, note: Note, known: _Written) -> bool:
        """Whether the Event was still there to be counted up."""
        patch = {"count": known.count + 1, "lastTimestamp": stamp(self._clock.now())}
        try:
            await self._client.patch(EVENTS, known.name, patch, namespace=note.namespace or "default")
        except NotFoundError:
            del self._known[note]
            return False
        known.count += 1
        self._known.move_to_end(note)
        return True


def event_object(note: Note, *, now: datetime, component: str, instance: str) -> JsonObject:
    """The Event for a note, as first written."""
    version = "v1"
    digest = hashlib.sha256(f"{note}{now.timestamp()}{instance}".encode()).hexdigest()[:16]
    regarding = {"apiVersion": version, "kind": note.kind, "name": note.name, "uid": note.uid}
    if note.namespace:
        regarding["namespace"] = note.namespace
    return {
        "apiVersion": version,
        "kind": "Event",
        "metadata": {"name": f"{note.name[:_NAME_PREFIX]}.{digest}", "namespace": note.namespace or "default"},
        "involvedObject": regarding,
        "reason": note.reason,
        "message": note.message[:_LONGEST_MESSAGE],
        "type": note.level,
        "count": 1,
        "firstTimestamp": stamp(now),
        "lastTimestamp": stamp(now),
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": instance,
    }


def stamp(when: datetime) -> str:
    """A metav1.Time."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
