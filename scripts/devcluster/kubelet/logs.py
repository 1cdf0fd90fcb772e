"""Reading container logs, with the options of the log endpoint of a real kubelet."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from devcluster.clock import parse_timestamp
from devcluster.kubelet.records import Ended, Record, Waiting

_POLL_SECONDS = 0.1
_CHUNK = 256 * 1024
_TRUE = {"true", "True", "1"}


@dataclasses.dataclass(frozen=True)
class LogOptions:
    """What of a log is asked for. None: no restriction."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    """Lines from the end."""
    since: float | None = None
    """Only entries from this time on, seconds since 1970."""
    limit: int | None = None
    """Bytes of output."""

    @classmethod
    def parse(cls, query: Mapping[str, str], now: float) -> "LogOptions":
        """Read the query parameters of a log request."""
        since = None
        if query.get("sinceSeconds"):
            since = now - float(query["sinceSeconds"])
        elif query.get("sinceTime"):
            since = parse_timestamp(query["sinceTime"])
        return cls(
            follow=query.get("follow") in _TRUE,
            previous=query.get("previous") in _TRUE,
            timestamps=query.get("timestamps") in _TRUE,
            tail=int(query["tailLines"]) if query.get("tailLines") else None,
            since=since,
            limit=int(query["limitBytes"]) if query.get("limitBytes") else None,
        )


def select(entries: Iterable[bytes], options: LogOptions) -> bytes:
    """Return the output for complete log entries: filtered, cut, without the log's own notation."""
    kept = [entry for entry in entries if options.since is None or _time_of(entry) >= options.since]
    if options.tail is not None:
        kept = kept[len(kept) - min(options.tail, len(kept)) :]
    return b"".join(_rendered(entry, timestamps=options.timestamps) for entry in kept)


def _time_of(entry: bytes) -> float:
    return parse_timestamp(entry.split(b" ", 1)[0].decode()[:26] + "Z")


def _rendered(entry: bytes, *, timestamps: bool) -> bytes:
    moment, _, tag, text = entry.split(b" ", 3)
    line = text + (b"\n" if tag == b"F" else b"")
    return moment + b" " + line if timestamps else line


def choose_run(record: Record, *, pod: str, previous: bool) -> int:
    """Return the number of the run whose log is meant.

    Raises:
        LookupError: there is none; the message is the one of a real kubelet.
    """
    waiting_again = isinstance(record.state, Waiting) and record.last is not None
    if previous:
        number = record.restarts if waiting_again else record.restarts - 1
        if number < 0:
            raise LookupError(f'previous terminated container "{record.name}" in pod "{pod}" not found')
        return number
    if isinstance(record.state, Waiting) and not waiting_again:
        why = record.state.message or record.state.reason
        raise LookupError(f'container "{record.name}" in pod "{pod}" is waiting to start: {why}')
    return record.restarts


async def stream(folder: str, record: Record, *, pod: str, options: LogOptions) -> AsyncIterator[bytes]:
    """Yield the log of a container; with ``follow`` until that run of it has ended.

    Raises:
        LookupError: there is no such log.
    """
    number = choose_run(record, pod=pod, previous=options.previous)
    path = f"{folder}/{record.name}/{number}.log"

    def over() -> bool:
        return record.restarts != number or isinstance(record.state, Ended | Waiting)

    left = options.limit
    async for piece in _pieces(path, options, over):
        if left is None:
            yield piece
            continue
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


async def _pieces(path: str, options: LogOptions, over: Callable[[], bool]) -> AsyncIterator[bytes]:
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        *entries, rest = file.read().split(b"\n")
        yield select(entries, options)
        later = dataclasses.replace(options, tail=None)
        while options.follow:
            ended = over()
            data = file.read(_CHUNK)
            if data:
                *entries, rest = (rest + data).split(b"\n")
                yield select(entries, later)
            elif ended or not os.path.exists(path):
                return
            else:
                await asyncio.sleep(_POLL_SECONDS)
