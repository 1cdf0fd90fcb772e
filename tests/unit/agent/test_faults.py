"""The fault table: what goes wrong around an agent that looks at its node, and what is told then."""

import os
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from allocator.agent.agent import Agent, Duties, Pace
from allocator.agent.attest import Attestation, Kubelet, Senses
from allocator.agent.gpus import GpuError, GpuProcess, GpuUsage, Reading
from allocator.agent.hostproc import Proc
from allocator.agent.patience import Patient
from allocator.agent.sample import Sample
from allocator.agent.sight import BLIND
from allocator.agent.tenancy import LedgerView
from allocator.agent.tracker import Change
from allocator.agent.users import Users
from allocator.api.inventory import Gpu, Inventory
from allocator.api.isolation import Isolation
from allocator.api.quantities import GIB, MIB, Memory
from allocator.kube.errors import UnreachableError
from tests.unit.agent.fakes import Board, FakeClock, Judge, Prepared, Script, Tables
from tests.unit.agent.nodes import Node
from tests.unit.agent.scenes import EPOCH, GPU, OTHER, UID, grant, ledger
from tests.unit.agent.test_hostproc import put
from tests.unit.agent.test_region import made

FILE = "08:01 99"
MAPS = "7f00-7f01 r-xp 00000000 08:01 99 /opt/vramshare/libvramshare-0.1.0-abcdefabcdef.so\n"
BARE = "55-56 r-xp 00000000 08:01 5 /usr/bin/python3\n"
"""The memory of a process without the interposer."""
GPUS = (Gpu(uuid=GPU, index=0, model="Tesla T4", memory=Memory(16 * GIB)),)
INVENTORY = Inventory(node="n1", gpus=GPUS, interposer="/opt/vramshare/x.so")
PID, START, INNER = 4711, 100, 7


class Bench:
    """A node of one granted pod with one GPU process, and an attestation that looks at it."""

    def __init__(self, root: Path) -> None:
        self.node = Node(root)
        self.proc = root / "proc"
        self.held = {PID: GIB}
        self.problem: Exception | None = None
        self.clock = FakeClock()
        self.changes: list[Change] = []
        self.view = LedgerView("n1")
        self.view.ledger = ledger(grant())
        self.node.pod(UID, "team/worker")
        self.node.allocate(UID, "main", f"{GPU} memory={4 * GIB} cores=25 tenant=a/main\n")
        self.region = self.node.region(UID, "main")
        self.process()
        users = Users(proc=Proc(self.proc), trusted=lambda: frozenset({FILE}), monotonic=self.clock.monotonic)
        self.senses = Senses(Patient(self.usage, patience=30), users, kubelet=Kubelet(root), ledger=self.view)
        self.attestation = Attestation(
            self.senses, clock=self.clock, known=lambda _: False, changed=self.changes.append
        )

    def usage(self) -> tuple[GpuUsage, ...]:
        """The driver's word."""
        if self.problem is not None:
            raise self.problem
        return (GpuUsage(uuid=GPU, processes=tuple(GpuProcess(pid, held) for pid, held in self.held.items())),)

    def process(self, pid: int = PID, *, start: int = START, maps: str = MAPS) -> None:
        """A process of the pod, and a region that knows it."""
        shutil.rmtree(self.proc / str(pid), ignore_errors=True)
        put(self.proc, pid, start=start, inner=INNER, maps=maps, cgroup=f"0::/kubepods/pod{UID}/{'ab' * 32}\n")
        self.region.write_bytes(self.written(start))

    def written(self, start: int = START) -> bytes:
        """A region whose one slot is that of the process."""
        raw = made(slots_high=1)
        struct.pack_into("<QQQQII", raw, 4096, 9, 9, 0, start, INNER, 0)
        return bytes(raw)

    async def look(self, times: int = 2) -> tuple[Isolation | None, str]:
        """What is told of the container after so many looks."""
        for _ in range(times):
            await self.attestation.look(INVENTORY)
            self.attestation.announce()
            self.clock.seconds += 4
        sample = self.sample()
        one = next(one for one in sample.containers if one.uid == UID)
        return one.state, one.reason

    def sample(self) -> Sample:
        """The newest."""
        assert self.attestation.latest.sample is not None
        return self.attestation.latest.sample


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """All is well."""
    return Bench(tmp_path)


async def test_all_is_well(bench: Bench) -> None:
    """Isolated from the first look; the sample says what is held, and nobody is told anything."""
    assert await bench.look(1) == (Isolation.ISOLATED, "")
    assert await bench.look() == (Isolation.ISOLATED, "")
    (one,) = bench.sample().containers
    assert (one.namespace, one.pod, one.container, one.processes) == ("team", "worker", "main", 1)
    assert [(part.limit, part.host, part.cores) for part in one.slices] == [(4 * GIB, GIB, 0.25)]
    assert bench.changes == []
    assert bench.attestation.report.findings == ()


def header(**changed: int) -> bytes:
    """A region with a bad header."""
    return bytes(made(**changed))


CORRUPTIONS: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"V",
    "cut off in the header": header()[:40],
    "cut off in the GPU table": header()[:300],
    "cut off in the slots": header()[:4200],
    "zeros": bytes(8192),
    "ones": b"\xff" * 8192,
    "text": b"nothing to see here\n" * 500,
    "another magic": header(magic=1),
    "another version": header(version=99),
    "no GPUs": header(gpu_count=0),
    "most GPUs": header(gpu_count=2**32 - 1),
    "a GPU stride of nothing": header(gpu_stride=0),
    "a slot stride of nothing": header(slot_stride=0),
    "an enormous slot stride": header(slot_stride=2**32 - 1),
    "enormously many slots": header(slot_count=2**32 - 1, slots_high=2**32 - 1),
    "slots beyond the end": header(slot_offset=2**32 - 1),
    "GPUs beyond the end": header(gpu_offset=2**32 - 1),
    "uses beyond their slot": header(slot_gpu_offset=1400),
    "uses that overlap": header(slot_gpu_stride=1),
}


@pytest.mark.parametrize("content", CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
async def test_a_region_that_is_corrupted(bench: Bench, content: bytes) -> None:
    """Unverified with the reason; limits and the driver's figures are known all the same, and nothing is written."""
    bench.region.write_bytes(content)
    state, reason = await bench.look()
    assert (state, "region" in reason) == (Isolation.UNVERIFIED, True)
    (one,) = bench.sample().containers
    assert [(part.limit, part.host) for part in one.slices] == [(4 * GIB, GIB)]
    assert bench.region.read_bytes() == content


def numbers(bench: Bench) -> None:
    """Every count as large as it gets."""
    raw = bytearray(bench.written())
    struct.pack_into("<6Q", raw, 256 + 16, *[2**64 - 1] * 6)
    struct.pack_into("<3Q", raw, 4096 + 128, *[2**64 - 1] * 3)
    bench.region.write_bytes(raw)


def huge(bench: Bench) -> None:
    """A sparse file of a petabyte."""
    with bench.region.open("r+b") as stream:
        os.ftruncate(stream.fileno(), 1 << 43)


def linked(bench: Bench) -> None:
    """A link to a file of the host."""
    bench.region.rename(bench.region.with_name("real"))
    bench.region.symlink_to("real")


def folder_linked(bench: Bench) -> None:
    """A link in the folder's place."""
    bench.region.parent.rename(bench.region.parent.with_name("real"))
    bench.region.parent.symlink_to("real")


def fifo(bench: Bench) -> None:
    """A FIFO that nobody writes to."""
    bench.region.unlink()
    os.mkfifo(bench.region)


def directory(bench: Bench) -> None:
    """A folder."""
    bench.region.unlink()
    bench.region.mkdir()


@pytest.mark.parametrize("damage", [linked, folder_linked, fifo, directory])
async def test_a_region_that_is_something_else(bench: Bench, damage: Callable[[Bench], None]) -> None:
    """No link is followed, nothing is waited for."""
    damage(bench)
    state, reason = await bench.look()
    assert state is Isolation.UNVERIFIED
    assert reason


@pytest.mark.parametrize("damage", [numbers, huge])
async def test_a_region_that_lies(bench: Bench, damage: Callable[[Bench], None]) -> None:
    """What can be read is read within bounds. A tenant's own numbers make nobody isolated, or another's use."""
    damage(bench)
    assert (await bench.look())[0] is Isolation.ISOLATED
    bench.held[PID] = 9 * GIB
    assert (await bench.look())[0] is Isolation.VIOLATED


async def test_a_region_that_is_gone(bench: Bench) -> None:
    """A GPU process with the interposer and no region: not proven."""
    bench.region.unlink()
    assert (await bench.look())[0] is Isolation.UNVERIFIED


async def test_a_process_without_the_interposer(bench: Bench) -> None:
    """Told to its owner, and in the inventory; told again when it is over."""
    bench.process(maps=BARE)
    assert (await bench.look())[0] is Isolation.VIOLATED
    assert [one.pod for one in bench.attestation.report.findings] == ["team/worker"]
    bench.process()
    assert (await bench.look())[0] is Isolation.ISOLATED
    assert [one.now.state for one in bench.changes] == [Isolation.VIOLATED, Isolation.ISOLATED]


async def test_a_driver_that_hangs(bench: Bench) -> None:
    """The look ends with the reason; what was deducted stays; when the driver answers, all is well again."""
    go = threading.Event()

    def hang() -> tuple[GpuUsage, ...]:
        go.wait()
        return bench.usage()

    senses = replace(bench.senses, usage=Patient(hang, patience=0.0))
    bench.attestation.senses = senses
    state, reason = await bench.look()
    assert (state, "does not answer" in reason) == (Isolation.UNVERIFIED, True)
    assert not bench.sample().agent.driver_answers
    go.set()
    senses.usage._patience = 30
    assert (await bench.look(3))[0] is Isolation.ISOLATED


@pytest.mark.parametrize("problem", [GpuError("NVML fails: GPU is lost"), RuntimeError("segfault, nearly")])
async def test_a_driver_that_fails(bench: Bench, problem: Exception) -> None:
    """Likewise, in the driver's words."""
    bench.problem = problem
    state, reason = await bench.look()
    assert (state, str(problem) in reason) == (Isolation.UNVERIFIED, True)


async def test_a_process_id_that_is_used_again(bench: Bench) -> None:
    """The region knows the process of before: the new one is not it."""
    await bench.look()
    old = bench.region.read_bytes()
    bench.process(start=START + 50)
    bench.region.write_bytes(old)
    assert (await bench.look())[0] is Isolation.UNVERIFIED


async def test_a_container_that_is_started_again(bench: Bench) -> None:
    """Another process, another region: isolated throughout."""
    await bench.look()
    shutil.rmtree(bench.proc / str(PID))
    bench.held = {}
    assert (await bench.look())[0] is Isolation.ISOLATED
    bench.held = {PID + 1: GIB}
    bench.process(PID + 1, start=START + 900)
    assert (await bench.look())[0] is Isolation.ISOLATED
    assert bench.changes == []


async def test_a_slice_that_was_made_smaller(bench: Bench) -> None:
    """Told after two looks that agree, and not while more is held."""
    bench.node.allocate(UID, "main", f"{GPU} memory={2 * GIB} cores=25 tenant=a/main\n")
    bench.region.write_bytes(bytes(made(slots_high=0)))
    bench.held = {}
    await bench.look(1)
    assert bench.attestation.report.settled == ()
    await bench.look(1)
    told = {one.memory.count for one in tuple(bench.attestation.report.settled)}
    assert told == {2 * GIB}


async def test_a_kubelet_folder_that_is_missing(bench: Bench, tmp_path: Path) -> None:
    """The processes of a granted pod are seen and not proven; when the folder is back, they are."""
    bench.node.kubelet.rename(tmp_path / "away")
    state, reason = await bench.look()
    assert (state, "region" in reason) == (Isolation.UNVERIFIED, True)
    (tmp_path / "away").rename(bench.node.kubelet)
    assert (await bench.look())[0] is Isolation.ISOLATED


@pytest.mark.parametrize("seconds", [-86400, 86400 * 365])
async def test_a_clock_that_jumps(bench: Bench, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """The time of day plays no part in what is told; samples carry it as it is."""
    await bench.look()
    today = bench.clock.now()
    monkeypatch.setattr(bench.clock, "now", lambda: today.fromtimestamp(today.timestamp() + seconds, tz=today.tzinfo))
    assert await bench.look() == (Isolation.ISOLATED, "")
    assert bench.changes == []
    assert bench.sample().at == bench.clock.now()


async def test_a_ledger_that_is_not_known_yet(bench: Bench) -> None:
    """An agent that starts while the API server is away accuses nobody, and shows use all the same."""
    bench.view.ledger = None
    assert await bench.look() == (None, "")
    assert not bench.sample().agent.ledger_known
    assert bench.attestation.report.findings == ()


async def test_an_agent_that_sees_itself_alone(bench: Bench) -> None:
    """Without the host's processes nothing is proven, and above all nothing is released."""
    bench.view.ledger = ledger(replace(grant(), releasing=EPOCH))
    bench.attestation.senses = replace(bench.senses, blind=BLIND)
    bench.held = {}
    shutil.rmtree(bench.proc / str(PID))
    shutil.rmtree(bench.node.kubelet / "pods" / UID)
    for _ in range(200):
        await bench.attestation.look(INVENTORY)
        bench.clock.seconds += 4
    assert bench.attestation.report.released == frozenset()


async def test_a_pod_that_was_deleted_by_force(bench: Bench) -> None:
    """Its grant is released once its process and its folder are gone, and not before."""
    bench.view.ledger = ledger(replace(grant(), releasing=EPOCH))
    await bench.look(100)
    assert bench.attestation.report.released == frozenset()
    bench.held = {}
    await bench.look(3)
    assert bench.attestation.report.released == frozenset()
    shutil.rmtree(bench.proc / str(PID))
    shutil.rmtree(bench.node.kubelet / "pods" / UID)
    for _ in range(2):
        await bench.attestation.look(INVENTORY)
    assert bench.attestation.report.released == {"a"}
    bench.view.ledger = ledger()
    await bench.attestation.look(INVENTORY)
    assert bench.attestation.report.released == frozenset()


async def test_a_kubelet_folder_that_cannot_be_read_now(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for one that the kubelet has cleaned up: a container may be about to start again in it."""
    bench.view.ledger = ledger(grant(releasing=EPOCH))
    shutil.rmtree(bench.proc / str(PID))
    bench.held = {}
    with monkeypatch.context() as broken:
        for name in ("listdir", "scandir"):
            broken.setattr(os, name, unreadable(getattr(os, name), bench.node.kubelet / "pods"))
        for _ in range(3):
            await bench.attestation.look(INVENTORY)
    assert bench.attestation.report.released == frozenset()


def unreadable(usual: Callable[[Path | str], Any], folder: Path) -> Callable[[Path | str], Any]:
    """A listing that fails for one folder."""

    def listing(place: Path | str) -> Any:
        if Path(place) == folder:
            raise OSError(24, "Too many open files")
        return usual(place)

    return listing


async def test_a_pod_without_a_grant(bench: Bench) -> None:
    """Found, named by its logs, and what it holds is promised to nobody."""
    put(bench.proc, PID + 1, maps=BARE, cgroup=f"0::/kubepods/pod{OTHER}/{'cd' * 32}\n")
    bench.node.pod(OTHER, "default/thief")
    bench.held[PID + 1] = 100 * MIB
    await bench.look()
    (finding,) = bench.attestation.report.findings
    assert (finding.state, finding.pod) == (Isolation.VIOLATED, "default/thief")
    assert bench.attestation.report.foreign == {GPU: Memory(128 * MIB)}
    thief = next(one for one in bench.sample().containers if one.uid == OTHER)
    assert (thief.namespace, thief.pod, thief.slices, thief.processes) == ("default", "thief", (), 1)


class Away(Board):
    """An API server that is away for as long as the clock says."""

    def __init__(self, clock: FakeClock, until: float) -> None:
        super().__init__()
        self.clock, self.until = clock, until

    async def publish(self, inventory: Inventory, *, check: bool = False) -> bool:
        """Not before it is back."""
        if 60 < self.clock.seconds < self.until:
            raise UnreachableError("no route")
        return await super().publish(inventory, check=check)


async def drive(agent: Agent, clock: FakeClock, *, until: float) -> None:
    """Turns and looks at their pace, failures passed over as the loop does."""
    while clock.seconds < until:
        for duty in (agent.turn, agent.attest):
            try:
                await duty()
            except UnreachableError:
                continue
        clock.seconds += 4


async def test_an_api_server_that_is_away_for_ten_minutes(bench: Bench) -> None:
    """Looks go on; the finding and its Event are out as soon as the server is back, each once."""
    board, reading = Away(bench.clock, until=660), Reading(gpus=GPUS)
    agent = Agent(
        node="n1",
        source=Script(reading),
        duties=Duties(
            preparing=Prepared(),
            publishing=board,
            timetabling=Tables(),
            attesting=bench.attestation,
            judging=Judge(),
        ),
        clock=bench.clock,
        pace=Pace(),
    )
    await drive(agent, bench.clock, until=100)
    assert board.published[-1].findings == ()
    bench.process(maps=BARE)
    await drive(agent, bench.clock, until=600)
    assert bench.sample().containers[0].state is Isolation.VIOLATED
    assert (board.published[-1].findings, bench.changes) == ((), [])
    await drive(agent, bench.clock, until=700)
    assert [one.state for one in board.published[-1].findings] == [Isolation.VIOLATED]
    assert [one.now.state for one in bench.changes] == [Isolation.VIOLATED]


@pytest.fixture(autouse=True)
def _nothing_is_written(bench: Bench) -> Iterator[None]:
    """Whatever goes wrong: an agent that looks opens nothing of the kubelet's folder for writing."""
    opened: list[str] = []
    real, kubelet = os.open, str(bench.node.kubelet)

    def watched(path: Any, flags: int, *args: Any, **named: Any) -> int:
        if threading.current_thread().name.startswith("blocking:"):
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            opened.extend([str(path)] if writes else [])
        return real(path, flags, *args, **named)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", watched)
        yield
    assert [one for one in opened if one.startswith(kubelet) or not one.startswith("/")] == []
