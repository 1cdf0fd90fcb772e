"""Failed admissions and p99 under a steady load: a rolling restart of all replicas, then certificates that rotate.

The embedded API server and each replica of `vramshare webhook` run as processes of their own. Between them a balancer
does what a Service does: new connections go to replicas whose /readyz said yes lately. A restart goes as a Deployment
with `maxUnavailable: 0` does it: a new replica, once it is ready, for an old one, which gets SIGTERM. Certificates
live for seconds here, so that CA and certificate are exchanged several times in a minute.
"""

import argparse
import asyncio
import base64
import itertools
import re
import signal
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
from bench_admission import HERE, OURS, SYSTEM, furnish, keep_alive, pod, registration
from bench_admission import Plan as Fleet

from allocator.api.names import CERTIFICATE_SECRET
from allocator.kube import MUTATING_WEBHOOKS, PODS, SECRETS, Client, KubeError, KubeSettings

DAY = 86400
_PROBE = 0.5  # seconds between two looks at a replica's readiness; the manifests say 2
_PATIENCE = 60.0


@dataclass
class Load:
    """What came of the admissions so far: seconds of each, and why which failed."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def line(self, what: str, took: float) -> str:
        """For people."""
        ordered = sorted(self.seconds) or [0.0]
        p50, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 for share in (0.5, 0.99))
        count = len(self.seconds) + len(self.failed)
        rate = count / took
        return (
            f"{what}: {count} admissions in {took:.0f} s ({rate:.0f}/s), {len(self.failed)} failed,"
            f" p50 {p50:.1f} ms, p99 {p99:.1f} ms, slowest {ordered[-1] * 1000:.0f} ms"
        )


class Balancer:
    """A Service in front of the replicas, on a port of its own."""

    def __init__(self) -> None:
        self.ready: dict[int, bool] = {}
        self._random = Random(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def listen(self, stack: AsyncExitStack) -> None:
        """Serve until the stack is left."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        stack.callback(server.close)
        probing = asyncio.create_task(self._probe())
        stack.callback(probing.cancel)

    async def until_ready(self, port: int) -> None:
        """Wait for a replica."""
        async with asyncio.timeout(_PATIENCE):
            while not self.ready[port]:  # noqa: ASYNC110 - the probe is the event
                await asyncio.sleep(_PROBE / 5)

    async def _probe(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                for port in list(self.ready):
                    good = False
                    with suppress(aiohttp.ClientError, OSError, TimeoutError):
                        limit = aiohttp.ClientTimeout(total=1)
                        url = f"https://127.0.0.1:{port}/readyz"
                        async with session.get(url, ssl=False, timeout=limit) as answer:
                            good = answer.status == 200
                    if port in self.ready:
                        self.ready[port] = good
                await asyncio.sleep(_PROBE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = [port for port, good in self.ready.items() if good]
        if not ready:
            writer.close()
            return
        try:
            there, to = await asyncio.open_connection("127.0.0.1", self._random.choice(ready))
        except ConnectionError:  # as behind a Service: the client is cut off
            writer.close()
            return
        pumps = [asyncio.create_task(_pump(reader, to)), asyncio.create_task(_pump(there, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, to):
            one.close()
        for pump in pumps:
            pump.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()


class Replicas:
    """The webhook's processes."""

    def __init__(self, folder: Path, balancer: Balancer, options: argparse.Namespace) -> None:
        self._folder, self._balancer, self._options = folder, balancer, options
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._numbers = itertools.count(1)

    async def add(self) -> None:
        """Start one and wait until it is ready."""
        number, port = next(self._numbers), _free_port()
        life = self._options.life / DAY
        argv = ["--kubeconfig", self._folder / "kubeconfig", "--host", "127.0.0.1", "--port", port]
        argv += ["--metrics-host", "127.0.0.1", "--metrics-port", 0, "--drain", self._options.drain]
        argv += ["--certificate-secret", CERTIFICATE_SECRET, "--names", "127.0.0.1", "--registrations", OURS]
        argv += ["--certificate-days", f"{life:.8f}", "--ca-days", f"{2.01 * life:.8f}", "--ca-settles", 2]
        with (self._folder / f"webhook-{number}.log").open("wb") as log:
            self._running[port] = await asyncio.create_subprocess_exec(
                "vramshare", "webhook", *(str(one) for one in argv), stdout=log, stderr=log
            )
        self._balancer.ready[port] = False
        await self._balancer.until_ready(port)

    async def remove(self, port: int) -> None:
        """Stop one as a kubelet does."""
        process = self._running.pop(port)
        process.send_signal(signal.SIGTERM)
        await process.wait()
        self._balancer.ready.pop(port)

    async def restart(self) -> None:
        """All of them, one after the other."""
        for port in list(self._running):
            await self.add()
            await self.remove(port)

    async def stop(self) -> None:
        """At the end."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _free_port() -> int:
    import socket  # noqa: PLC0415 - the one place

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_pods = itertools.count()


async def under_load(client: Client, rate: float, work: Awaitable[None]) -> tuple[Load, float]:
    """Create pods at a steady rate, whatever becomes of them, until the work is done."""
    load, pending = Load(), set()
    doing, started = asyncio.ensure_future(work), time.perf_counter()

    async def create() -> None:
        begun = time.perf_counter()
        try:
            await client.create(PODS, pod(f"p{next(_pods)}"), namespace=OURS)
            load.seconds.append(time.perf_counter() - begun)
        except KubeError as reason:
            load.failed.append(str(reason))

    for number in itertools.count():
        if doing.done():
            break
        task = asyncio.create_task(create())
        pending.add(task)
        task.add_done_callback(pending.discard)
        await asyncio.sleep(max(0.0, started + (number + 1) / rate - time.perf_counter()))
    await asyncio.gather(doing, *pending)
    return load, time.perf_counter() - started


async def follow(client: Client, seconds: float, seen: set[tuple[str, str]]) -> None:
    """Note every CA and certificate that the Secret holds."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        with suppress(KubeError):  # what counts is whether admissions fail
            found = (await client.get(SECRETS, CERTIFICATE_SECRET, namespace=SYSTEM))["data"]
            seen.add((found["ca.crt"], found["tls.crt"]))
        await asyncio.sleep(0.5)


async def run(options: argparse.Namespace) -> int:
    """Both measurements; the process' exit code."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = await asyncio.create_subprocess_exec(
            sys.executable, str(HERE / "bench_servers.py"), "apiserver", str(folder)
        )
        stack.callback(server.terminate)
        async with asyncio.timeout(_PATIENCE):
            while not (folder / "kubeconfig").exists():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.1)
        client = await stack.enter_async_context(Client(KubeSettings(kubeconfig=folder / "kubeconfig")))
        fleet = Fleet(pods=0, concurrency=0, rounds=0, nodes=options.nodes)
        await furnish(client, fleet)
        alive = asyncio.create_task(keep_alive(client, fleet))
        stack.callback(alive.cancel)
        balancer = Balancer()
        await balancer.listen(stack)
        hook = registration(OURS, port=balancer.port, ca=b"")
        hook["webhooks"][0]["clientConfig"].pop("caBundle")
        await client.create(MUTATING_WEBHOOKS, hook)
        replicas = Replicas(folder, balancer, options)
        stack.push_async_callback(replicas.stop)
        for _ in range(options.replicas):
            await replicas.add()
        await _trusted(client)
        return await _measure(client, replicas, options)


async def _measure(client: Client, replicas: Replicas, options: argparse.Namespace) -> int:
    rolled, took = await under_load(client, options.rate, replicas.restart())
    print(rolled.line(f"rolling restart of {options.replicas} replicas", took), flush=True)
    _why(rolled)
    seen: set[tuple[str, str]] = set()
    rotated, took = await under_load(client, options.rate, follow(client, options.seconds, seen))
    authorities, certificates = (len(set(column)) for column in zip(*seen, strict=True))
    print(rotated.line(f"rotation ({authorities} CAs, {certificates} certificates)", took), flush=True)
    _why(rotated)
    return 1 if rolled.failed or rotated.failed else 0


def _why(load: Load) -> None:
    """The commonest reasons of failures."""
    found = Counter(re.sub(r'p\d+|"https[^"]*"', "…", one) for one in load.failed)
    for reason, count in found.most_common(5):
        print(f"  {count} x {reason}", flush=True)


async def _trusted(client: Client) -> None:
    """Wait until the registration names a CA."""
    async with asyncio.timeout(_PATIENCE):
        while True:
            found = await client.get(MUTATING_WEBHOOKS, OURS)
            bundle = base64.b64decode(found["webhooks"][0]["clientConfig"].get("caBundle", ""))
            if bundle:
                ssl.create_default_context(cadata=bundle.decode())
                return
            await asyncio.sleep(0.1)


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50, help="admissions per second")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--drain", type=float, default=5, help="the webhook's --drain")
    parser.add_argument("--life", type=float, default=24, help="seconds that a certificate lives")
    parser.add_argument("--seconds", type=float, default=60, help="how long to watch certificates rotate")
    parser.add_argument("--nodes", type=int, default=120, help="GPU nodes, four GPUs of 16 GiB each")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
