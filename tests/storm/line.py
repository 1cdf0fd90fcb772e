"""A replica's line to the API server, with all that can happen to a request and to a watch on the way.

Requests are late, refused, lost before they are carried out or after, or carried out long after the client has given
up. Watch events lag, come twice, and come in an order that is right for each object only.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from allocator.kube import JSON_PATCH, MERGE_PATCH, errors
from tests.storm.api import StormApi
from tests.storm.process import Process
from tests.storm.trace import Trace

CLIENT_TIMEOUT = 10.0
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


@dataclass
class Weather:
    """How bad it is.

    Attributes:
        random: decides.
        faults: share of requests that go wrong.
        latency: seconds that a request takes one way, usually.
        slow: share of requests that take seconds.
        lag: seconds by which a watch lags, usually.
    """

    random: Random
    faults: float = 0.06
    latency: float = 0.01
    slow: float = 0.01
    lag: float = 0.05

    def calm(self) -> None:
        """Nothing goes wrong any more."""
        self.faults = self.slow = 0.0
        self.latency, self.lag = 0.005, 0.02

    def travel(self) -> float:
        """Seconds on the way."""
        if self.random.random() < self.slow:
            return self.random.uniform(0.5, 6)
        return self.random.uniform(0, 2 * self.latency)

    def watch_lag(self) -> float:
        """Seconds until a watch shows what happened."""
        if self.random.random() < self.slow * 4:
            return self.random.uniform(1, 12)
        return self.random.uniform(0, 2 * self.lag)

    def fate(self, verb: str) -> str:
        """What becomes of a request: `fine`, or a word that `Line._send` knows."""
        if self.random.random() >= self.faults:
            return "fine"
        kinds = ["busy", "unreachable", "lost", "broken"]
        if verb in _WRITES:
            kinds += ["answer lost", "late", "conflict"]
        return self.random.choice(kinds)


_REFUSALS = {
    "busy": (errors.BusyError, 429, "TooManyRequests"),
    "unreachable": (errors.UnreachableError, 0, ""),
    "broken": (errors.UnknownOutcomeError, 500, "InternalError"),
    "conflict": (errors.StaleError, 409, "Conflict"),
}


class Line:
    """The face of `allocator.kube.Client`, for one process.

    Attributes:
        sent: how many requests have left; `on_send` and `on_answer` are told their number, `heard` what was asked.
        open: False: cut between this replica and the server.
    """

    def __init__(self, api: StormApi, process: Process, weather: Weather, trace: Trace) -> None:
        self._api = api
        self._process = process
        self._weather = weather
        self._trace = trace
        self._background: set[asyncio.Task[Any]] = set()
        self.sent = 0
        self.open = True
        self.cuts = 0
        self.on_send: Callable[[int], None] = lambda _: None
        self.on_answer: Callable[[int], None] = lambda _: None
        self.heard: Callable[[str, str], None] = lambda *_: None

    async def get(self, resource, name, *, namespace=""):
        """See Client."""
        path = resource.path(namespace=namespace, name=name)
        return await self._send("GET", path, lambda: self._api.get(resource, name, namespace=namespace))

    async def list(self, resource, *, namespace="", labels="", fields=""):
        """See Client."""
        path = resource.path(namespace=namespace)
        return await self._send(
            "LIST", path, lambda: self._api.list(resource, namespace=namespace, labels=labels, fields=fields)
        )

    async def page(self, resource, *, namespace="", query):
        """How far the server has come."""
        path = resource.path(namespace=namespace)
        return await self._send("LIST", path, lambda: self._api.page(resource, namespace=namespace, query=query))

    async def create(self, resource, body, *, namespace=""):
        """See Client."""
        path = resource.path(namespace=namespace, name=body["metadata"]["name"])
        return await self._send("POST", path, lambda: self._api.create(resource, body, namespace=namespace))

    async def replace(self, resource, body):
        """See Client."""
        path = resource.path(namespace=body["metadata"].get("namespace", ""), name=body["metadata"]["name"])
        return await self._send("PUT", path, lambda: self._api.replace(resource, body))

    async def patch(self, resource, name, patch, *, namespace="", kind=MERGE_PATCH):
        """See Client."""
        path = resource.path(namespace=namespace, name=name)
        what = "PATCH" if kind == JSON_PATCH else "PATCH merge"
        return await self._send(
            what, path, lambda: self._api.patch(resource, name, patch, namespace=namespace, kind=kind)
        )

    async def act(self, resource, name, subresource, body, *, namespace=""):
        """See Client."""
        path = f"{resource.path(namespace=namespace, name=name)}/{subresource}"
        return await self._send(
            "POST", path, lambda: self._api.act(resource, name, subresource, body, namespace=namespace)
        )

    async def delete(self, resource, name, *, namespace="", uid=""):
        """See Client."""
        path = resource.path(namespace=namespace, name=name)
        return await self._send("DELETE", path, lambda: self._api.delete(resource, name, namespace=namespace, uid=uid))

    @asynccontextmanager
    async def watch(self, resource, *, namespace="", query, seconds) -> AsyncIterator[AsyncIterator[dict]]:
        """See Client."""

        async def begin() -> int:
            return self._api.begin_watch(query["resourceVersion"])

        at = await self._send("WATCH", resource.path(namespace=namespace), begin)
        yield self._stream(resource, namespace, query.get("labelSelector", ""), at, seconds)

    def cut(self) -> None:
        """All watches break."""
        self.cuts += 1

    # --- inside ----------------------------------------------------------------------------------------------

    async def _send(self, verb: str, path: str, act: Callable[[], Awaitable[Any]]) -> Any:
        await self._process.gate()
        self.sent += 1
        number = self.sent
        self.on_send(number)
        epoch, fate = self._api.epoch, self._weather.fate(verb.split(maxsplit=1)[0])
        if not self.open or self._api.down:
            fate = "unreachable"
        if fate != "fine":
            self._trace(self._process.name, verb, path, fate)
        try:
            return await self._carried(fate, verb, path, act, epoch)
        finally:
            self.on_answer(number)
            self.heard(verb, path)
            await self._process.gate()

    async def _carried(self, fate: str, verb: str, path: str, act: Callable[[], Awaitable[Any]], epoch: int) -> Any:
        await asyncio.sleep(self._weather.travel())
        if fate in _REFUSALS:
            kind, status, reason = _REFUSALS[fate]
            raise kind(fate, status=status, reason=reason)
        if fate == "late":
            self._later(verb, path, act)
        if fate in ("lost", "late"):
            await asyncio.sleep(self._weather.random.uniform(0, CLIENT_TIMEOUT))
            raise errors.UnknownOutcomeError("timed out")
        if self._api.epoch != epoch:
            raise errors.UnknownOutcomeError("connection reset")
        answer = await self._applied(verb, path, act)
        await asyncio.sleep(self._weather.travel())
        if fate == "answer lost" or self._api.epoch != epoch:
            raise errors.UnknownOutcomeError("answer lost", status=504)
        return answer

    async def _applied(self, verb: str, path: str, act: Callable[[], Awaitable[Any]]) -> Any:
        """Carry it out, in no time."""
        self._api.writer = self._process.name
        try:
            answer = await act()
        except errors.KubeError as reason:
            self._trace(self._process.name, verb, path, type(reason).__name__)
            raise
        finally:
            self._api.writer = ""
        self._trace(self._process.name, verb, path)
        return answer

    def _later(self, verb: str, path: str, act: Callable[[], Awaitable[Any]]) -> None:
        """A request that was stuck on the way arrives when nobody waits for it any more."""
        epoch = self._api.epoch

        async def arrive() -> None:
            await asyncio.sleep(self._weather.random.uniform(0, 2 * CLIENT_TIMEOUT))
            if self._api.epoch == epoch:
                try:
                    await self._applied(f"late {verb}", path, act)
                except errors.KubeError:
                    return

        task = asyncio.create_task(arrive())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _stream(self, resource, namespace, labels, at, seconds) -> AsyncIterator[dict]:
        epoch, cuts = self._api.epoch, self.cuts
        loop, random = asyncio.get_running_loop(), self._weather.random
        ends = loop.time() + seconds
        while True:
            await self._api.news(resource, at, seconds=max(0.0, ends - loop.time()))
            await asyncio.sleep(self._weather.watch_lag())
            await self._process.gate()
            if (epoch, cuts) != (self._api.epoch, self.cuts):
                if random.random() < 0.5:
                    raise errors.UnknownOutcomeError("connection reset")
                return
            if loop.time() >= ends:
                return
            if random.random() < self._weather.faults / 10:
                yield {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}
            seen, at = at, self._api.version
            batch = list(self._api.events(resource, namespace=namespace, labels=labels, at=seen))
            for event in jumbled(batch, random) if self._weather.faults else batch:
                yield event
            if random.random() < 0.2:
                yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(at)}}}


def jumbled(events: list[dict], random: Random) -> list[dict]:
    """Another order, right for each object, with the newest event last; now and then one comes twice.

    The last event is where a client resumes: were it an older one, it would not be told of what lies between.
    """
    if len(events) < 2:
        return events
    last = events[-1]
    of: dict[tuple[str, str], list[dict]] = {}
    for event in events:
        of.setdefault(_place(event), []).append(event)
    of[_place(last)].pop()
    found: list[dict] = []
    queues = [queue for queue in of.values() if queue]
    while queues:
        queue = random.choice(queues)
        found.append(queue.pop(0))
        if random.random() < 0.05:
            found.append(found[-1])
        if not queue:
            queues.remove(queue)
    return [*found, last]


def _place(event: dict) -> tuple[str, str]:
    """Two objects of one name, one after the other, are one to whoever watches."""
    metadata = event["object"]["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
