"""``kubectl exec`` over a WebSocket: Kubernetes' channel protocol, versions 4 and 5.

Every message starts with a byte that names its channel. The command's end travels as a Status object on the error
channel. Version 5 adds a message that closes a channel, without which a command that reads to the end of its input
would never see it.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
import pty
import struct
import termios
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web
from multidict import MultiMapping

from devcluster.kubelet.plan import Plan
from devcluster.kubelet.runtime import shim_command

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_CHUNK = 32 * 1024
_TRUE = {"true", "True", "1"}


Noting = Callable[[int], contextlib.AbstractContextManager[None]]
"""Writes down whose a process is while it runs."""


async def serve(
    request: web.BaseRequest, *, pid: int, plan: Plan, query: MultiMapping[str], noting: Noting
) -> web.StreamResponse:
    """Run the command that ``query`` names in the container of ``pid``, with its streams on a WebSocket.

    Raises:
        LookupError: the client asks for another protocol.
    """
    socket = web.WebSocketResponse(protocols=_PROTOCOLS, max_msg_size=0)
    if not socket.can_prepare(request):
        raise LookupError(f"Upgrade request required: to a WebSocket that speaks {' or '.join(_PROTOCOLS)}")
    await socket.prepare(request)
    plan = dataclasses.replace(plan, argv=tuple(query.getall("command")))
    session = _Session(socket, tty=query.get("tty") in _TRUE, stdin=query.get("stdin") in _TRUE, noting=noting)
    code = await session.run(pid, plan)
    with contextlib.suppress(ConnectionError):
        await socket.send_bytes(bytes([_ERROR]) + json.dumps(exit_status(code)).encode())
        await socket.close()
    return socket


def exit_status(code: int) -> dict[str, Any]:
    """Return the Status that tells a client how its command ended."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


class _Session:
    """One command and its client."""

    def __init__(self, socket: web.WebSocketResponse, *, tty: bool, stdin: bool, noting: Noting) -> None:
        self._socket = socket
        self._noting = noting
        self._tty = tty
        self._stdin = stdin
        self._terminal = -1
        self._write: Callable[[bytes], None] = lambda _: None
        self._end_input: Callable[[], None] = lambda: None

    async def run(self, pid: int, plan: Plan) -> int:
        """Run the command to its end, or to the client's, and return its exit code."""
        with contextlib.ExitStack() as files:
            process, outputs = await self._start([str(pid), plan.encode().decode(), "tty" if self._tty else "-"], files)
            files.enter_context(self._noting(process.pid))
            pumps = [asyncio.ensure_future(self._pump(reader, channel)) for channel, reader in outputs.items()]
            reading = asyncio.ensure_future(self._read(process))
            try:
                code = await process.wait()
                await asyncio.gather(*pumps)
            finally:
                for task in (reading, *pumps):
                    task.cancel()
                await asyncio.gather(reading, *pumps, return_exceptions=True)
                if process.returncode is None:
                    process.kill()
        return code

    async def _start(
        self, arguments: list[str], files: contextlib.ExitStack
    ) -> tuple[asyncio.subprocess.Process, dict[int, asyncio.StreamReader]]:
        command = [*shim_command("enter"), *arguments]
        if self._tty:
            return await self._start_on_terminal(command, files)
        pipe, source = asyncio.subprocess.PIPE, asyncio.subprocess.PIPE if self._stdin else asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdin=source, stdout=pipe, stderr=pipe, env={})
        if process.stdin is not None:
            self._write, self._end_input = process.stdin.write, process.stdin.close
        streams = {_STDOUT: process.stdout, _STDERR: process.stderr}
        return process, {channel: stream for channel, stream in streams.items() if stream is not None}

    async def _start_on_terminal(
        self, command: list[str], files: contextlib.ExitStack
    ) -> tuple[asyncio.subprocess.Process, dict[int, asyncio.StreamReader]]:
        self._terminal, inner = pty.openpty()
        process = await asyncio.create_subprocess_exec(*command, stdin=inner, stdout=inner, stderr=inner, env={})
        os.close(inner)
        reader = asyncio.StreamReader()
        file = files.enter_context(os.fdopen(self._terminal, "rb", buffering=0))
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), file
        )
        files.callback(transport.close)
        self._write = self._type
        self._end_input = lambda: self._write(b"\x04")
        return process, {_STDOUT: reader}

    def _type(self, data: bytes) -> None:
        os.write(self._terminal, data)

    async def _pump(self, reader: asyncio.StreamReader, channel: int) -> None:
        with contextlib.suppress(OSError):  # a terminal's end reads as EIO
            while data := await reader.read(_CHUNK):
                await self._socket.send_bytes(bytes([channel]) + data)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Take what the client sends; when it leaves, the command goes too."""
        async for message in self._socket:
            if message.type is WSMsgType.BINARY and message.data:
                self._take(message.data[0], message.data[1:])
        if process.returncode is None:
            process.kill()

    def _take(self, channel: int, data: bytes) -> None:
        if channel == _STDIN and data:
            self._write(data)
        elif channel == _CLOSE and data[:1] == bytes([_STDIN]):
            self._end_input()
        elif channel == _RESIZE and self._terminal >= 0:
            size = json.loads(data)
            window = struct.pack("HHHH", size["Height"], size["Width"], 0, 0)
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, window)
