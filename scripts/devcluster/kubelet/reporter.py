"""Writes a pod's status to the API server: the newest state, never a backlog of old ones."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from devcluster.client import PODS, ApiError, Client
from devcluster.informer import FAILURES

_PAUSE = 0.2
_log = logging.getLogger(__name__)


class Reporter:
    """Pushes what ``compute`` returns, whenever told that it changed."""

    def __init__(
        self, client: Client, *, namespace: str, name: str, uid: str, compute: Callable[[], dict[str, Any]]
    ) -> None:
        self._client = client
        self._path = PODS.path(namespace, name, "status")
        self._uid = uid
        self._compute = compute
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._silent = False
        self._sent: dict[str, Any] | None = None

    def changed(self) -> None:
        """Have the status written soon."""
        self._wanted.set()
        self._idle.clear()

    def silence(self) -> None:
        """Write nothing any more."""
        self._silent = True

    async def flush(self) -> None:
        """Return when the newest status is written, or can no longer be."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            status = self._compute()
            if status != self._sent and not self._silent:
                await self._write(status)
            if not self._wanted.is_set():
                self._idle.set()

    async def _write(self, status: dict[str, Any]) -> None:
        try:
            body = {"metadata": {"uid": self._uid}, "status": _cleared(status)}
            await self._client.patch(self._path, body, "strategic")
            self._sent = status
        except ApiError as error:
            if error.code not in {404, 409}:
                _log.warning("status of %s refused: %s", self._path, error)
        except FAILURES as error:
            _log.warning("status of %s not written, trying again: %s", self._path, error)
            await asyncio.sleep(_PAUSE)
            self._wanted.set()


def _cleared(status: dict[str, Any]) -> dict[str, Any]:
    """Name the fields of conditions that are to vanish: a strategic merge keeps what is not mentioned."""
    conditions = [{"reason": None, "message": None, **condition} for condition in status["conditions"]]
    return {**status, "conditions": conditions}
