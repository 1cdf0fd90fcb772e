"""The container runtime interface's log format: ``<RFC 3339 time> <stream> <F|P> <text>``, one line each.

``F`` ends a line of the program, ``P`` is a piece of a longer one. Both the shim, which writes it, and the kubelet's
log endpoint, which reads it, know it. Standard library only.
"""

import datetime as dt

PIECE = 16 * 1024
"""Bytes of one line after which it is cut into pieces."""


def stamp(seconds: float) -> str:
    """Return the time in the log's notation, in UTC."""
    moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


class LineWriter:
    """Cuts one stream of a container into log lines."""

    def __init__(self, stream: str) -> None:
        self._stream = stream.encode()
        self._rest = b""

    def feed(self, data: bytes, now: float) -> bytes:
        """Return the log lines that ``data`` completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        entries = [entry for line in lines for entry in self._entries(line, now)]
        while len(self._rest) >= PIECE:
            entries.append(self._entry(b"P", self._rest[:PIECE], now))
            self._rest = self._rest[PIECE:]
        return b"".join(entries)

    def finish(self, now: float) -> bytes:
        """Return what the stream left without a newline."""
        rest, self._rest = self._rest, b""
        return self._entry(b"P", rest, now) if rest else b""

    def _entries(self, line: bytes, now: float) -> list[bytes]:
        entries = []
        while len(line) > PIECE:
            entries.append(self._entry(b"P", line[:PIECE], now))
            line = line[PIECE:]
        entries.append(self._entry(b"F", line, now))
        return entries

    def _entry(self, tag: bytes, text: bytes, now: float) -> bytes:
        return b"%s %s %s %s\n" % (stamp(now).encode(), self._stream, tag, text)
