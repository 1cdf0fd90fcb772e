"""The agent of `bench_agent`, in a process of its own: all its duties at their real pace, on a node made of files."""

import asyncio
import json
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from bench_agent import GIB, INTERPOSER, NODE, Tenant

from allocator import logs
from allocator.agent.agent import Agent, Duties, Pace
from allocator.agent.attest import Attestation, Kubelet, Senses
from allocator.agent.gpus import GpuProcess, GpuUsage, Reading
from allocator.agent.health import Health
from allocator.agent.infirmary import Infirmary
from allocator.agent.neighbours import Neighbourhood
from allocator.agent.patience import Patient
from allocator.agent.prepare import NodePreparation
from allocator.agent.sample import Latest
from allocator.agent.serve import holding
from allocator.agent.show import MetricsSettings, showing
from allocator.agent.simulated_proc import RECORDS, SimulatedProc
from allocator.agent.tenancy import Ledger, LedgerView
from allocator.agent.trust import Trust
from allocator.agent.turns import Timetables
from allocator.agent.users import Users
from allocator.agent.xids import FileEars, Listener
from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.inventory import Gpu, Inventory, Strategy
from allocator.api.quantities import Memory
from allocator.kube.clock import SystemClock

WARM_UP: Final = 125.0
"""Seconds before the measurement: until a pod's volumes count as complete, it is looked at more closely."""


class Driver:
    """What the driver would say: every process holds 1 GiB."""

    def __init__(self, held: dict[str, list[int]]) -> None:
        self._held = held

    def read(self) -> Reading | None:
        """The GPUs."""
        gpus = (Gpu(uuid, at, "NVIDIA H100", Memory(80 * GIB)) for at, uuid in enumerate(self._held))
        return Reading(gpus=tuple(gpus), driver="580", cuda="13.0")

    def usage(self) -> tuple[GpuUsage, ...]:
        """Their processes."""
        return tuple(
            GpuUsage(uuid, tuple(GpuProcess(pid, GIB) for pid in pids), used=len(pids) * GIB, free=GIB)
            for uuid, pids in self._held.items()
        )


class Memo:
    """An API server that remembers."""

    said: Inventory | None = None

    async def recall(self) -> Inventory | None:
        """Nothing yet."""
        return None

    async def publish(self, inventory: Inventory, *, check: bool = False) -> bool:
        """Remember."""
        changed = check or inventory != self.said
        self.said = inventory
        return changed

    async def beat(self) -> None:
        """Nothing to do."""


class Timed(Agent):
    """Notes the processor time of each duty, threads included, as long as no other duty runs meanwhile."""

    costs: ClassVar[defaultdict[str, list[float]]] = defaultdict(list)

    async def _guarded(self, duty: Callable[[], Awaitable[None]]) -> None:
        begun = time.process_time()
        await super()._guarded(duty)
        self.costs[duty.__name__].append(time.process_time() - begun)


def ledger_of(containers: int, gpus: int) -> Ledger:
    """A grant for each container."""
    grants = {}
    for one in (Tenant(number, gpus) for number in range(containers)):
        slices = {"main": (Slice(uuid=one.gpu, memory=Memory(2 * GIB), cores=2),)}
        grants[one.allocation] = Grant(
            allocation=Allocation(id=one.allocation, node=NODE, containers=slices),
            namespace=f"team-{one.number % 20}",
            pod=one.pod,
            granted=datetime.now(UTC),
            uid=one.uid,
        )
    return Ledger(grants=grants)


def agent_of(root: Path, ledger: LedgerView, latest: Latest) -> Timed:
    """An agent with all its duties."""
    clock, kubelet = SystemClock(), Kubelet(root)
    driver = Driver(json.loads((root / "processes.json").read_text()))
    host_dir = root / "var/lib/vramshare"
    proc = SimulatedProc(Path("/proc"), records=root / RECORDS)
    users = Users(proc=proc, trusted=Trust(host_dir).identities, monotonic=time.monotonic)
    senses = Senses(usage=Patient(driver.usage, patience=10), users=users, kubelet=kubelet, ledger=ledger)
    listener = Listener(FileEars(root / "events"))
    listener.start()
    return Timed(
        node=NODE,
        source=driver,
        duties=Duties(
            preparing=NodePreparation(source=INTERPOSER, host_dir=host_dir, version="0.1.0", chosen=Strategy.ENV),
            publishing=Memo(),
            timetabling=Timetables(
                host_dir=host_dir,
                look=holding(kubelet, ledger),
                activity=lambda _: {},
                now=time.monotonic_ns,
            ),
            attesting=Attestation(
                senses=senses, clock=clock, known=lambda _: False, changed=lambda _: None, latest=latest
            ),
            judging=Infirmary(Health(), Neighbourhood(root), listener, booted=proc.booted, now=clock.now),
        ),
        clock=clock,
        pace=Pace(),
    )


def resident() -> int:
    """Bytes of memory that this process has now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) << 10


async def run(root: Path, *, seconds: float, containers: int, gpus: int) -> dict[str, Any]:
    """Measure."""
    latest, ledger, stop = Latest(), LedgerView(NODE), asyncio.Event()
    ledger.ledger = ledger_of(containers, gpus)
    agent = agent_of(root, ledger, latest)
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with showing(latest, MetricsSettings("127.0.0.1", 0), clock=SystemClock(), listening=port.set_result):
        running = asyncio.create_task(agent.run(stop))
        while latest.sample is None:  # noqa: ASYNC110 - set in another task, without an event
            await asyncio.sleep(0.05)
        print(await port, flush=True)
        await asyncio.sleep(WARM_UP)
        first = agent.costs["attest"][1] if len(agent.costs["attest"]) > 1 else 0.0
        agent.costs.clear()
        begun, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        passed, spent = time.monotonic() - begun, time.process_time() - cpu
        stop.set()
        await running
    looks = sorted(agent.costs["attest"])
    sample = latest.sample
    return {
        "cpu": spent / passed,
        "seconds": passed,
        "shares": {name: sum(costs) / passed for name, costs in agent.costs.items()},
        "rss": resident(),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
        "look": looks[len(looks) // 2],
        "looks": len(looks),
        "first": first,
        "states": Counter(str(one.state) for one in sample.containers),
    }


if __name__ == "__main__":
    logs.configure(level="error", log_format="console")
    folder, length, count, cards = sys.argv[1:]
    print(json.dumps(asyncio.run(run(Path(folder), seconds=float(length), containers=int(count), gpus=int(cards)))))
