"""Waits for Xid errors, in a thread of its own: NVML's call for that blocks, and may hang with the driver.

Nothing depends on the thread. What it hears goes into a queue that never blocks; if it hangs, no errors are heard and
the readings of the GPUs tell of the hang.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

_log = structlog.get_logger(__name__)

WAIT: Final = 5.0
"""Seconds that one wait takes at most; then GPUs that have appeared since are listened to as well."""
AGAIN: Final = 30.0
"""Seconds between two attempts where there is no driver, or it fails."""
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Xid:
    """An error of a GPU.

    Attributes:
        uuid: the GPU.
        number: which error.
        at: when it was heard, UTC.
    """

    uuid: str
    number: int
    at: datetime


class Ears(Protocol):
    """Hears errors."""

    def listen(self, heard: Callable[[str, int], None]) -> bool:
        """Wait a few seconds at most for errors and tell them; False: there is nothing to listen to now."""


@dataclass(slots=True)
class Listener:
    """A thread that listens for as long as the process lives.

    Attributes:
        ears: what hears.
        now: UTC.
        again: seconds before the next attempt where there is nothing to listen to.
    """

    ears: Ears
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    again: float = AGAIN
    _heard: deque[Xid] = field(default_factory=lambda: deque(maxlen=_MOST))
    _pause: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin. The thread does not keep the process from ending."""
        threading.Thread(target=self._run, name="xids", daemon=True).start()

    def stop(self) -> None:
        """End after the wait that is going on."""
        self._pause.set()

    def taken(self) -> list[Xid]:
        """What was heard since the last call; never blocks."""
        found = []
        with contextlib.suppress(IndexError):
            while True:
                found.append(self._heard.popleft())
        return found

    def _run(self) -> None:
        while not self._pause.is_set():
            if not self._listened():
                self._pause.wait(self.again)

    def _listened(self) -> bool:
        try:
            return self.ears.listen(lambda uuid, number: self._heard.append(Xid(uuid, number, self.now())))
        except Exception:  # noqa: BLE001 - logged; nobody else waits for it
            # Whatever a broken driver makes pynvml throw, errors to come must still be heard.
            _log.exception("listening for errors of GPUs fails; the next attempt follows")
            return False


class NvmlEars:
    """NVML's events."""

    def __init__(self, *, wait: float = WAIT) -> None:
        self._wait = wait
        self._set: Any = None
        self._listening: set[str] = set()

    def listen(self, heard: Callable[[str, int], None]) -> bool:
        """One wait; where NVML fails, everything begins anew with the next."""
        import pynvml  # noqa: PLC0415 - an extra; a simulated node needs none

        try:
            if self._set is None:
                pynvml.nvmlInit()
                self._set = pynvml.nvmlEventSetCreate()
            self._register(pynvml)
            if not self._listening:
                self._leave(pynvml)
                return False
            event = pynvml.nvmlEventSetWait_v2(self._set, int(self._wait * 1000))
            if event.eventType == pynvml.nvmlEventTypeXidCriticalError:
                uuid = pynvml.nvmlDeviceGetUUID(event.device)
                heard(uuid if isinstance(uuid, str) else uuid.decode(errors="replace"), int(event.eventData))
        except pynvml.NVMLError as reason:
            if reason.value == pynvml.NVML_ERROR_TIMEOUT:
                return True
            self._leave(pynvml)
            return False
        return True

    def _register(self, pynvml: Any) -> None:
        """Listen to GPUs that are not listened to yet; one that cannot be is left out."""
        for index in range(pynvml.nvmlDeviceGetCount()):
            with contextlib.suppress(pynvml.NVMLError):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                uuid = str(pynvml.nvmlDeviceGetUUID(handle))
                if uuid not in self._listening:
                    pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._set)
                    self._listening.add(uuid)

    def _leave(self, pynvml: Any) -> None:
        with contextlib.suppress(pynvml.NVMLError):
            if self._set is not None:
                pynvml.nvmlEventSetFree(self._set)
                pynvml.nvmlShutdown()
        self._set, self._listening = None, set()


class FileEars:
    """The simulated driver's events: lines `GPU-<uuid> 8 <xid>` in a file of its state folder. A marked edge."""

    def __init__(self, file: Path, *, wait: Callable[[float], object] | None = None) -> None:
        self._file = file
        self._wait = wait or threading.Event().wait
        self._read = self._size()

    def listen(self, heard: Callable[[str, int], None]) -> bool:
        """Read what has been added."""
        if self._size() == self._read:
            self._wait(1.0)
            return True
        with contextlib.suppress(OSError), self._file.open("rb") as stream:
            stream.seek(self._read if self._size() >= self._read else 0)
            text = stream.read()
            self._read = stream.tell()
            for line in text.decode(errors="replace").splitlines():
                match line.split():
                    case [uuid, "8", number] if number.isdecimal():
                        heard(uuid, int(number))
        return True

    def _size(self) -> int:
        try:
            return self._file.stat().st_size
        except OSError:
            return 0
