"""Drives a headless Chromium over its DevTools protocol: for the tests of the page and for scripts/bench-page.

Needs a `chromium` and nothing else: Debian's package, or any Chrome whose path $CHROMIUM names.
"""

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

PATIENCE: Final = 60.0
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # tests run as root, for which Chromium has no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)


class PageError(Exception):
    """A script in the page failed; the message is the browser's."""


def chromium() -> str | None:
    """Path of a Chromium; None: there is none here."""
    named = os.environ.get("CHROMIUM")
    return named or next((found for name in _NAMES if (found := shutil.which(name))), None)


class Tab:
    """One page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE):
            found = await answer
        if "error" in found:
            raise PageError(f"{method}: {found['error'].get('message')}")
        result: dict[str, Any] = found["result"]
        return result

    async def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        found = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise PageError(str(found["exceptionDetails"].get("exception", {}).get("description")))
        return found["result"].get("value")

    async def until(self, expression: str, *, seconds: float = PATIENCE) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(seconds):
            while not await self.ask(f"!!({expression})"):  # noqa: ASYNC110 - the page has no event of ours
                await asyncio.sleep(0.02)

    async def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        await self.call("Page.navigate", url=url)
        await self.until(f"location.href.startsWith({url!r}) && document.readyState === 'complete'")

    async def press(self, key: str) -> None:
        """Press a key."""
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        code = {"Enter": 13, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38, "End": 35, "Home": 36}.get(key, 0)
        shared = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **shared)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **shared)

    async def look(self, *, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Become a screen of this kind."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, file: Path) -> None:
        """Write a screenshot, PNG."""
        found = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(found["data"]))

    async def close(self) -> None:
        """Let go."""
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        await self._socket.close()

    async def _read(self) -> None:
        async for message in self._socket:
            found = message.json()
            if "id" in found:
                answer = self._answers.pop(found["id"], None)
                if answer is not None and not answer.done():
                    answer.set_result(found)
            elif found["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(found["params"]["exceptionDetails"]))
            elif found["method"] == "Log.entryAdded" and found["params"]["entry"]["level"] == "error":
                self.complaints.append(found["params"]["entry"]["text"])


@asynccontextmanager
async def browsing(folder: Path) -> AsyncIterator[Tab]:
    """A tab of a fresh Chromium, which ends with it.

    Args:
        folder: an empty one, for its profile.

    Raises:
        FileNotFoundError: there is no Chromium here.
    """
    program = chromium()
    if program is None:
        raise FileNotFoundError("no Chromium: install the package chromium, or set CHROMIUM to its path")
    process = await asyncio.create_subprocess_exec(
        program,
        *_FLAGS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        port = await _port(process)
        draining = asyncio.create_task(_drain(process))  # or it would stop to wait for its complaints to be read
        async with aiohttp.ClientSession(trust_env=False) as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                target = next(one for one in await answer.json() if one["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                for part in ("Page", "Runtime", "Log"):
                    await tab.call(f"{part}.enable")
                yield tab
                await tab.close()
        draining.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None  # noqa: S101 - it was asked for
    while await process.stderr.read(1 << 16):
        pass


async def _port(process: asyncio.subprocess.Process) -> int:
    """The port of the protocol, which Chromium tells on standard error."""
    assert process.stderr is not None  # noqa: S101 - it was asked for
    async with asyncio.timeout(PATIENCE):
        while line := (await process.stderr.readline()).decode(errors="replace"):
            if "DevTools listening on" in line:
                return int(line.rsplit(":", 1)[1].partition("/")[0])
    raise PageError("Chromium ended before it listened")
