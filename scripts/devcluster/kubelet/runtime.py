"""Starting containers: one shim process each, or none at all for a container that has no command.

The image is ignored, so a container whose spec has no command idles until it is stopped. That costs no process, which
lets a node run thousands of such pods.
"""

import asyncio
import json
import logging
import os
import pathlib
import signal
import sys
from typing import Any, Protocol

from devcluster.kubelet.plan import NAMESPACES, PROCESS, USER_NAMESPACES, Plan

_SCRIPTS = str(pathlib.Path(__file__).resolve().parents[2])
_ENTRY = "import sys; sys.path.insert(0, {scripts!r}); from devcluster.kubelet.shim.{module} import main; main()"
_log = logging.getLogger(__name__)


class StartError(Exception):
    """The container's command could not be started."""


class Container(Protocol):
    """A started container."""

    async def wait(self) -> int:
        """Return the exit code once the container has ended; 128 + n for signal n."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process."""
        ...


class IdleContainer:
    """A container without a command: ends with 0 when asked to."""

    def __init__(self) -> None:
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        """Return 0 after SIGTERM, 137 after SIGKILL."""
        return await asyncio.shield(self._ended)

    def signal(self, number: int) -> None:
        """End."""
        if not self._ended.done():
            self._ended.set_result(0 if number == signal.SIGTERM else 128 + number)


class ShimContainer:
    """A container in a shim process. ``wait`` may be called again after the end."""

    def __init__(self, process: asyncio.subprocess.Process, pid: int) -> None:
        self.pid = pid
        """Of the container's first process, as this machine counts."""
        self.ancestor = process.pid
        """Of the process that every process of the container descends from."""
        self._process = process
        self._code: int | None = None
        self._lock = asyncio.Lock()

    async def wait(self) -> int:
        """Return the exit code once the container has ended."""
        async with self._lock:
            if self._code is None:
                message = await _message(self._process)
                self._code = int(message.get("code", 128 + signal.SIGKILL))
                await self._process.wait()
        return self._code

    def signal(self, number: int) -> None:
        """Pass a signal on; to a container that has ended this does nothing."""
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(json.dumps({"signal": number}).encode() + b"\n")


async def start(plan: Plan) -> Container:
    """Start a container.

    Raises:
        StartError: its command could not be started; the message says why.
    """
    if not plan.argv:
        os.makedirs(os.path.dirname(plan.log_path), exist_ok=True)
        pathlib.Path(plan.log_path).touch()
        return IdleContainer()
    os.makedirs(plan.scratch, exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *shim_command("supervisor"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={}, start_new_session=True,
    )  # fmt: skip
    try:
        if process.stdin is not None:
            process.stdin.write(plan.encode())
        message = await _message(process)
    except asyncio.CancelledError:
        process.kill()
        raise
    if message.get("event") != "started":
        await process.wait()
        raise StartError(message.get("message", "the container shim ended at once"))
    return ShimContainer(process, int(message["pid"]))


def shim_command(module: str) -> list[str]:
    """Return the command that runs a module of the shim, without site-packages."""
    return [sys.executable, "-I", "-S", "-c", _ENTRY.format(scripts=_SCRIPTS, module=module)]


async def _message(process: asyncio.subprocess.Process) -> dict[str, Any]:
    line = await process.stdout.readline() if process.stdout is not None else b""
    message: dict[str, Any] = json.loads(line) if line else {}
    return message


async def detect_isolation(scratch: str) -> str:
    """Return the strongest isolation that this machine allows, by starting a container in it."""
    for isolation in (NAMESPACES, USER_NAMESPACES):
        folder = f"{scratch}/probe-{isolation}"
        log = f"{folder}.log"
        plan = Plan(argv=("true",), env={"PATH": os.defpath}, log_path=log, scratch=folder, isolation=isolation)
        try:
            container = await start(plan)
            if await container.wait() == 0:
                return isolation
        except StartError as error:
            _log.info("isolation by %s is not possible here: %s", isolation, error)
    _log.warning("containers run without a file system of their own: mounts become rewritten paths")
    return PROCESS
