"""Keeps the board in step with the allocator, and hands every difference to whoever follows.

While nobody looks, nothing is drawn: only a point is added to the history twice a minute.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

import orjson
import structlog

from allocator.core.fleet import Fleet
from allocator.core.fragmentation import by_model
from allocator.core.queue import Waiting
from webhook.page.board import AT_ONCE, Board

_log: Final = structlog.get_logger(__name__)

KEPT: Final = 120
"""Differences that are kept for browsers that come back."""
BEHIND: Final = 60
"""Differences that a browser may be behind before it has to read the whole board again."""
_MODELS_EVERY: Final = 5
"""Turns between two looks at fragmentation, which costs some milliseconds on a large fleet."""


class Watched(Protocol):
    """What the page needs of the allocator."""

    @property
    def ready(self) -> bool:
        """Whether the cluster has been seen lately."""

    @property
    def fleet(self) -> Fleet | None:
        """The fleet, to be read only; None: not entered."""

    def waiting(self) -> Sequence[Waiting]:
        """The queue, first come first."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are done.

    Attributes:
        turn: seconds between two looks while somebody follows.
        sample: seconds between two points of the history.
    """

    turn: float = 1.0
    sample: float = 30.0


@dataclass(frozen=True, slots=True)
class Difference:
    """One step of the board, ready to be sent.

    Attributes:
        version: of the board after it.
        body: JSON.
    """

    version: int
    body: bytes


class TooFarBehindError(Exception):
    """A browser must read the whole board again."""


@dataclass(slots=True)
class Feed:
    """The board and who follows it.

    Attributes:
        source: the allocator.
        now: the time, in seconds since 1970.
        pace: how often things are done.
        board: what the page shows.
        version: of the board; grows by one with each difference.
    """

    source: Watched
    now: Callable[[], float]
    pace: Pace = field(default_factory=Pace)
    board: Board = field(default_factory=Board)
    version: int = 0
    _kept: deque[Difference] = field(default_factory=lambda: deque(maxlen=KEPT))
    _followers: set[asyncio.Queue[Difference]] = field(default_factory=set)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _turns: int = 0

    @property
    def followers(self) -> int:
        """How many follow."""
        return len(self._followers)

    async def run(self) -> NoReturn:
        """Look, for ever."""
        sampled = float("-inf")
        while True:
            try:
                due = self.now() - sampled >= self.pace.sample
                if due:
                    sampled = self.now()
                if due or self._followers:
                    await self.look(sample=due)
            except Exception:  # noqa: BLE001 - a page must not take the process with it; the trace is in the log
                _log.exception("page_not_refreshed")
            await asyncio.sleep(self.pace.turn)

    async def whole(self) -> tuple[int, dict[str, Any]]:
        """The board of this moment and its version."""
        await self.look()
        return self.version, self.board.whole()

    async def look(self, *, sample: bool = False) -> None:
        """Bring the board up to date and tell those who follow. One look at a time."""
        async with self._lock:
            fleet = self.source.fleet
            if fleet is None:
                self._tell(self.board.changed_readiness(ready=False))
                return
            for nodes in self.board.changed_nodes(fleet):
                self._tell({"nodes": nodes} if nodes else {})
                await asyncio.sleep(0)
            found = self.board.changed_queue(self.source.waiting())
            found |= self.board.changed_readiness(ready=self.source.ready)
            if sample or self._turns % _MODELS_EVERY == 0:
                models = by_model(fleet.table)
                found |= self.board.changed_models(models)
                found |= self.board.sample(models, at=self.now()) if sample else {}
            self._turns += 1
            self._tell(found)

    @asynccontextmanager
    async def follow(self, since: int) -> AsyncIterator[AsyncIterator[Difference]]:
        """The differences after a version, as they come.

        Raises:
            TooFarBehindError: some of them are kept no more.
        """
        behind = [one for one in self._kept if one.version > since]
        if since > self.version or len(behind) != self.version - since:
            raise TooFarBehindError
        queue: asyncio.Queue[Difference] = asyncio.Queue(maxsize=KEPT + BEHIND + AT_ONCE)
        for one in behind:
            queue.put_nowait(one)
        self._followers.add(queue)
        try:
            yield self._differences(queue)
        finally:
            self._followers.discard(queue)

    async def _differences(self, queue: asyncio.Queue[Difference]) -> AsyncIterator[Difference]:
        while queue in self._followers:
            yield await queue.get()
        raise TooFarBehindError

    def _tell(self, found: Mapping[str, Any]) -> None:
        """Hand a difference on. Who does not keep up is let go, and comes back for the whole."""
        if not found:
            return
        self.version += 1
        one = Difference(self.version, orjson.dumps(found))
        self._kept.append(one)
        for queue in [*self._followers]:
            if queue.full():
                self._followers.discard(queue)
            else:
                queue.put_nowait(one)
