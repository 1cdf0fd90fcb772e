"""Grants, containers and processes for tests of attestation."""

from datetime import UTC, datetime
from typing import Any

from allocator.agent.cgroups import Owner
from allocator.agent.hostproc import HostProcess, Identity
from allocator.agent.judge import Evidence, Loaded, User
from allocator.agent.kubelet import Container
from allocator.agent.region import GpuUse, Process, Region
from allocator.agent.tenancy import Ledger
from allocator.api.allocation import Allocation, Slice
from allocator.api.grant import Grant
from allocator.api.quantities import GIB, Memory

UID = "0b6f7a1e-1234-4abc-8def-000000000001"
OTHER = "0b6f7a1e-1234-4abc-8def-000000000002"
GPU = "GPU-00000000-0000-4000-8000-00000000000a"
GPU_B = "GPU-00000000-0000-4000-8000-00000000000b"
NAMESPACE_INODE = 4026531836
LIMIT = 4 * GIB
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def grant(uid: str = UID, *, name: str = "a", memory: int = LIMIT, pod: str = "worker", **more: Any) -> Grant:
    """A pod's grant: its container `main` has one slice of `GPU`."""
    slices = {"main": (Slice(uuid=GPU, memory=Memory(memory), cores=25),)}
    allocation = Allocation(id=name, node="n1", containers=slices)
    return Grant(allocation=allocation, namespace="team", pod=pod, granted=EPOCH, uid=uid, **more)


def ledger(*grants: Grant, unreadable: frozenset[str] = frozenset()) -> Ledger:
    """A node's ledger."""
    return Ledger(grants={one.allocation.id: one for one in grants}, unreadable=unreadable)


def region(*pids: int, namespace: int = NAMESPACE_INODE) -> Region:
    """A region that knows processes; each started at 100 ticks and its id."""
    use = GpuUse(uuid=GPU, used=10, overhead=5, pending=0, peak=20, limit=LIMIT, refused=1)
    processes = (Process(pid=pid, command="python", version="1", start=100 + pid, namespace=namespace) for pid in pids)
    return Region(gpus=(use,), processes=tuple(processes))


def container(uid: str = UID, *, name: str = "main", pod: str = "team/worker", **more: Any) -> Container:
    """A container as the kubelet's folder shows it, with the allocation `a`."""
    facts = {"region": None, "tenant": f"a/{name}", "slices": (Slice(uuid=GPU, memory=Memory(LIMIT), cores=25),)}
    return Container(uid=uid, name=name, pod=pod, **{**facts, **more})


def user(
    pid: int, uid: str | None = UID, *, memory: int | None = GIB, gpu: str = GPU, name: str = "main", **more: Any
) -> User:
    """A process that uses a GPU: its id in the container is `pid`, the host's is 1000 more."""
    process = HostProcess(
        identity=Identity(pid=1000 + pid, start=100 + pid, command="python"),
        owner=Owner(uid, "ab" * 32) if uid else None,
        inner=pid,
        namespace=NAMESPACE_INODE,
        container=name,
    )
    return User(process=process, memory=more.pop("held", {gpu: memory}), loaded=more.pop("loaded", Loaded.YES))


def evidence(*users: User, **more: Any) -> Evidence:
    """A look at a node with one granted pod, whose container's region knows the ids 1 to 3."""
    facts = {"ledger": ledger(grant()), "containers": (container(region=region(1, 2, 3)),)}
    return Evidence(users=users, **{**facts, **more})
