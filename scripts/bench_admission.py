"""Pods per second through the TLS webhook with real grants, against a webhook that allows everything at once.

The embedded API server, `vramshare webhook` and the allow-all webhook run as processes of their own on this
machine. Rounds of both kinds alternate, so that whatever else the machine does hits both. Prints one line per
round, then the medians and the ratio with its spread.
"""

import argparse
import asyncio
import base64
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allocator.api import names
from allocator.api.inventory import Gpu, Inventory
from allocator.api.quantities import Memory
from allocator.kube import (
    CONFIGMAPS,
    LEASES,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    NODES,
    PODS,
    BusyError,
    Client,
    KubeError,
    KubeSettings,
    SystemClock,
    renew,
)

HERE = Path(__file__).parent
SYSTEM = names.DEFAULT_NAMESPACE
OURS, ALLOW = "vramshare", "allow-all"
OPTED_IN = {names.INJECT_LABEL: names.INJECT_ENABLED}
_PATIENCE = 60.0  # seconds for a process to come up, or for grants to return


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        pods: created per round.
        concurrency: create requests under way at a time.
        rounds: of each kind.
        nodes: GPU nodes, with four GPUs of 16 GiB each.
        folder: where logs go; None: nowhere that lasts.
    """

    pods: int
    concurrency: int
    rounds: int
    nodes: int
    folder: Path | None = None


@dataclass(frozen=True)
class Round:
    """What came of one round.

    Attributes:
        rate: pods per second.
        seconds: of each create.
        cpu: milliseconds of processor time per pod, by process. Unlike rates they hardly depend on what else the
            machine does.
        refused: creates that were told to try again, and did, as a controller does.
    """

    rate: float
    seconds: Sequence[float]
    cpu: Mapping[str, float]
    refused: int = 0

    def quantile(self, share: float) -> float:
        """Milliseconds within which this share of the creates was answered."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))] * 1000


def pod(name: str) -> dict[str, Any]:
    """A pod that asks for a slice of 1 GiB and 6 % of a GPU's time."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {names.MEMORY: "1Gi", names.CORES: "6"}},
        "spec": {"containers": [{"name": "worker", "image": "cuda", "command": ["train"]}]},
    }


async def furnish(client: Client, plan: Plan) -> None:
    """Make namespaces, nodes, inventories and agents' Leases."""
    for name, labels in ((SYSTEM, {}), (OURS, {"bench": OURS, **OPTED_IN}), (ALLOW, {"bench": ALLOW})):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        await client.create(NAMESPACES, body)
    for number in range(plan.nodes):
        node = f"gpu-{number:03}"
        status = {
            "allocatable": {"cpu": "128", "memory": "512Gi", "pods": "500"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}, "status": status})
        gpus = tuple(
            Gpu(uuid=f"GPU-{number:03}-{at}", index=at, model="Tesla T4", memory=Memory.mib(16384)) for at in range(4)
        )
        inventory = Inventory(node=node, gpus=gpus, interposer=f"{names.LIBRARY_DIR}/libvramshare-bench.so")
        metadata = {"name": names.inventory_name(node), "labels": {names.KIND_LABEL: names.KIND_INVENTORY}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": inventory.to_data()}
        await client.create(CONFIGMAPS, body, namespace=SYSTEM)


async def keep_alive(client: Client, plan: Plan) -> None:
    """Renew the agents' Leases for ever."""
    while True:
        for number in range(plan.nodes):
            node = f"gpu-{number:03}"
            name, now = names.agent_lease_name(node), SystemClock().now()
            await renew(client, namespace=SYSTEM, name=name, holder=node, seconds=60, now=now)
        await asyncio.sleep(20)


def registration(name: str, *, port: int, ca: bytes) -> dict[str, Any]:
    """The webhook for the pods of one namespace, by URL on loopback."""
    return {
        "apiVersion": MUTATING_WEBHOOKS.api_version,
        "kind": MUTATING_WEBHOOKS.kind,
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": f"{name}.bench.vramshare.io",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {
                    "url": f"https://127.0.0.1:{port}/mutate",
                    "caBundle": base64.b64encode(ca).decode(),
                },
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                        "scope": "Namespaced",
                    }
                ],
                "namespaceSelector": {"matchLabels": {"bench": name}},
                "failurePolicy": "Fail",
                "sideEffects": "NoneOnDryRun",
                "timeoutSeconds": 10,
            }
        ],
    }


async def create_all(client: Client, namespace: str, plan: Plan, servers: "Servers") -> Round:
    """Create the pods of one round, `concurrency` at a time."""
    numbers = iter(range(plan.pods))
    seconds: list[float] = []
    refused: list[str] = []

    async def worker() -> None:
        for number in numbers:
            started = time.perf_counter()
            while not await created(number):
                pass
            seconds.append(time.perf_counter() - started)

    async def created(number: int) -> bool:
        try:
            await client.create(PODS, pod(f"p{number}"), namespace=namespace)
        except BusyError as reason:
            refused.append(str(reason))
            return False
        return True

    before, started = servers.cpu(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(plan.concurrency)))
    rate = plan.pods / (time.perf_counter() - started)
    cpu = {name: 1000 * (used - before[name]) / plan.pods for name, used in servers.cpu().items()}
    return Round(rate=rate, seconds=seconds, cpu=cpu, refused=len(refused))


async def check_granted(client: Client, plan: Plan) -> None:
    """Every pod holds a grant, and no GPU is given away twice."""
    pods, _ = await client.list(PODS, namespace=OURS)
    ids = {(one["metadata"].get("annotations") or {}).get(names.ALLOCATION_ID) for one in pods}
    if len(ids - {None}) != plan.pods:
        raise SystemExit(f"{plan.pods} pods, but {len(ids - {None})} grants")


async def clear(client: Client, namespace: str, plan: Plan) -> None:
    """Delete the pods, and wait until their grants have returned."""
    for number in range(plan.pods):
        await client.delete(PODS, f"p{number}", namespace=namespace)

    async def empty() -> bool:
        ledgers, _ = await client.list(CONFIGMAPS, namespace=SYSTEM, labels=f"{names.KIND_LABEL}={names.KIND_LEDGER}")
        return not any(ledger.get("data") for ledger in ledgers)

    await wait_for("the grants to return", empty)


async def wait_for(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until it holds."""
    deadline = time.monotonic() + _PATIENCE
    while not await holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {_PATIENCE:g} s in vain for {what}")
        await asyncio.sleep(0.1)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Servers:
    """The processes under test, and where they listen."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self.ports = {name: free_port() for name in (OURS, ALLOW, "metrics")}
        self.ca = b""
        self._processes = {"client": os.getpid()}

    def start(self, name: str, *argv: object) -> None:
        """Start a process whose output goes to a log; it is stopped at the end."""
        log = self._stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen([str(one) for one in argv], stdout=log, stderr=log)  # noqa: S603 - our own programs
        self._processes[name] = process.pid
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time used so far, by process (proc(5), `stat`)."""
        tick = os.sysconf("SC_CLK_TCK")
        used = {}
        for name, process in self._processes.items():
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            used[name] = (int(fields[11]) + int(fields[12])) / tick
        return used

    async def start_api(self) -> None:
        """Start the API server."""
        self.start("apiserver", sys.executable, HERE / "bench_servers.py", "apiserver", self.folder)
        await wait_for("the API server", _answers(self.kubeconfig.exists))

    async def start_webhooks(self) -> None:
        """Start ours, then the one that allows everything, with the same certificate."""
        certificates = self.folder / "certificates"
        ports = ("--port", self.ports[OURS], "--metrics-port", self.ports["metrics"])
        hosts = ("--host", "127.0.0.1", "--metrics-host", "127.0.0.1", "--names", "127.0.0.1")
        options = ("--kubeconfig", self.kubeconfig, "--certificates", certificates, "--log-level", "warning")
        self.start(OURS, "vramshare", "webhook", *hosts, *ports, *options)
        await wait_for("vramshare webhook", _answers(lambda: self.metric("vramshare_leading") == 1))
        certificate, key, ca = (certificates / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self.ca = ca.read_bytes()
        self.start(ALLOW, sys.executable, HERE / "bench_servers.py", "allow", certificate, key, self.ports[ALLOW])
        await wait_for("the allow-all webhook", _answers(lambda: _listens(self.ports[ALLOW])))

    def metric(self, name: str) -> float:
        """One value of our webhook's metrics; 0 where it is not there."""
        url = f"http://127.0.0.1:{self.ports['metrics']}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return 0.0
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def _answers(check: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return await asyncio.to_thread(check)

    return ask


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def measure(client: Client, servers: Servers, plan: Plan) -> dict[str, list[Round]]:
    """All rounds, ours and allow-all in turn."""
    written = 'vramshare_ledger_writes_total{result="written"}'
    rounds: dict[str, list[Round]] = {OURS: [], ALLOW: []}
    for name in (OURS, ALLOW):
        await client.create(MUTATING_WEBHOOKS, registration(name, port=servers.ports[name], ca=servers.ca))
    for number in range(-1, plan.rounds):
        for name in (OURS, ALLOW) if number % 2 else (ALLOW, OURS):
            before = servers.metric(written)
            result = await create_all(client, name, plan, servers)
            writes = (servers.metric(written) - before) / plan.pods
            if name == OURS:
                await check_granted(client, plan)
            await clear(client, name, plan)
            label = f"round {number + 1:2}" if number >= 0 else "warm-up "
            more = f"  {writes:.2f} ledger writes per grant" if name == OURS else ""
            more += f"  {result.refused} refused once" if result.refused else ""
            print(
                f"{label}  {name:9}  {result.rate:6.1f} pods/s  p50 {result.quantile(0.5):5.1f} ms"
                f"  p99 {result.quantile(0.99):5.1f} ms{more}",
                flush=True,
            )
            if number >= 0:
                rounds[name].append(result)
    return rounds


def report(rounds: dict[str, list[Round]]) -> None:
    """Medians, and the ratio of neighbouring rounds with its spread."""
    totals = {}
    for name, found in rounds.items():
        rate = statistics.median(one.rate for one in found)
        p50, p99 = (statistics.median(one.quantile(share) for one in found) for share in (0.5, 0.99))
        cpu = {process: statistics.median(one.cpu[process] for one in found) for process in found[0].cpu}
        totals[name] = sum(cpu.values())
        parts = ", ".join(f"{process} {used:.2f}" for process, used in cpu.items() if used >= 0.005)
        print(f"{name:9}  median {rate:6.1f} pods/s  admission p50 {p50:.1f} ms  p99 {p99:.1f} ms")
        print(f"{'':9}  processor time per pod {totals[name]:.2f} ms: {parts}")
    ratios = [ours.rate / allow.rate for ours, allow in zip(rounds[OURS], rounds[ALLOW], strict=True)]
    print(f"rate       ratio {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"processor  ratio {totals[ALLOW] / totals[OURS]:.2f} (allow-all over ours)")


async def run(plan: Plan) -> None:
    """Everything, in a temporary folder."""
    with ExitStack() as stack:
        servers = Servers(stack, plan.folder or Path(stack.enter_context(tempfile.TemporaryDirectory())))
        await servers.start_api()
        async with Client(KubeSettings(kubeconfig=servers.kubeconfig)) as client:
            await furnish(client, plan)
            alive = asyncio.create_task(keep_alive(client, plan))
            try:
                await wait_for("a Lease", lambda: _exists(client))
                await servers.start_webhooks()
                report(await measure(client, servers, plan))
            finally:
                alive.cancel()


async def _exists(client: Client) -> bool:
    try:
        found, _ = await client.list(LEASES, namespace=SYSTEM)
    except KubeError:
        return False
    return bool(found)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=1000, help="pods per round")
    parser.add_argument("--concurrency", type=int, default=20, help="creates under way at a time")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each kind, after one to warm up")
    parser.add_argument("--nodes", type=int, default=20, help="GPU nodes, four GPUs of 16 GiB each")
    parser.add_argument("--folder", type=Path, help="an empty folder for logs; default: a temporary one")
    asyncio.run(run(Plan(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
