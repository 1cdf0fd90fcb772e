"""Replicas of `vramshare webhook` as processes, behind one address as behind a Service. For scripts/bench-ledger."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import aiohttp
from bench_admission import free_port, wait_for

HERE = Path(__file__).parent
_CHUNK = 64 * 1024


@dataclass
class Replica:
    """One process.

    Attributes:
        process: the process.
        port: where it takes reviews.
        metrics_port: where it tells its metrics.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    metrics_port: int

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    async def metric(self, name: str) -> float:
        """One value of its metrics; 0 where it is not there."""
        try:
            url = f"http://127.0.0.1:{self.metrics_port}/metrics"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                text = await answer.text()
        except aiohttp.ClientError:
            return 0.0
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


class Replicas:
    """So many of them, and the address under which one of those that live answers.

    The address does what a Service does: connections go to the replicas in turn, and none to one that takes none.
    """

    def __init__(self, stack: ExitStack, folder: Path, *, host: str) -> None:
        """Prepare.

        Args:
            stack: stops them.
            folder: for logs and certificates.
            host: where the API server finds this machine.
        """
        self._stack = stack
        self._folder = folder
        self._turns = count()
        self._host = host
        self.port = free_port()
        self.members: list[Replica] = []

    async def start(self, number: int, kubeconfig: Path) -> None:
        """Start them, and wait until one leads and all are ready."""
        for at in range(number):
            self._begin(at, kubeconfig)
            if at == 0:  # it makes the certificate that all of them serve
                await wait_for("the certificate", self._certified)
        await wait_for("replicas that are ready", self._ready)
        await wait_for("a leader", self.led)

    @property
    def ca(self) -> bytes:
        """The CA of what they serve."""
        return (self._folder / "certificates" / "ca.crt").read_bytes()

    async def leader(self) -> Replica | None:
        """The one that leads."""
        for one in self.members:
            if one.alive and await one.metric("vramshare_leading") == 1:
                return one
        return None

    async def led(self) -> bool:
        """Whether one leads."""
        return await self.leader() is not None

    async def total(self, name: str) -> float:
        """One value of their metrics, added up."""
        return sum([await one.metric(name) for one in self.members if one.alive])

    async def serve(self) -> asyncio.Server:
        """Open the common address."""
        return await asyncio.start_server(self._relay, self._host if self._host == "127.0.0.1" else None, self.port)

    # --- inside ----------------------------------------------------------------------------------------------

    def _begin(self, at: int, kubeconfig: Path) -> None:
        ports = free_port(), free_port()
        options = {
            "--host": "127.0.0.1",
            "--port": ports[0],
            "--metrics-host": "127.0.0.1",
            "--metrics-port": ports[1],
            "--names": ",".join(dict.fromkeys(("127.0.0.1", self._host))),
            "--certificates": self._folder / "certificates",
            "--kubeconfig": kubeconfig,
            "--drain": 0,
            "--log-level": "warning",
        }
        command = ["vramshare", "webhook", *(str(part) for option in options.items() for part in option)]
        process = started(self._stack, command, self._folder / f"webhook-{at}.log")
        self.members.append(Replica(process=process, port=ports[0], metrics_port=ports[1]))

    async def _certified(self) -> bool:
        return all((self._folder / "certificates" / name).exists() for name in ("tls.crt", "tls.key", "ca.crt"))

    async def _ready(self) -> bool:
        for one in self.members:
            if not one.alive:
                raise SystemExit(f"a webhook ended with {one.process.returncode}; see its log in {self._folder}")
            if await one.metric('vramshare_watch_age_seconds{resource="pods"}') > 0 or not await _listens(one.port):
                return False
        return True

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to the replica whose turn it is, or the next that takes it."""
        first = next(self._turns)
        for at in range(len(self.members)):
            one = self.members[(first + at) % len(self.members)]
            with suppress(OSError, asyncio.CancelledError):  # cancelled at the end, by the loop
                theirs = await asyncio.open_connection("127.0.0.1", one.port)
                await asyncio.gather(_copy(reader, theirs[1]), _copy(theirs[0], writer))
                return
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def started(stack: ExitStack, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """A process whose output goes to a log; it is stopped at the end."""
    output = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603 - our own program
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


async def start_api(stack: ExitStack, folder: Path) -> Path:
    """The embedded API server as a process; its kubeconfig."""
    kubeconfig = folder / "kubeconfig"
    command = [sys.executable, str(HERE / "bench_servers.py"), "apiserver", str(folder)]
    started(stack, command, folder / "apiserver.log")

    async def there() -> bool:
        return kubeconfig.exists()

    await wait_for("the API server", there)
    return kubeconfig


def kill(replica: Replica) -> None:
    """Kill -9."""
    os.kill(replica.process.pid, signal.SIGKILL)
    replica.process.wait()
