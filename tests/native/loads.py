"""Loads under a cap, and what share of the GPU's time they got."""

import struct
from pathlib import Path

from allocator.core.timetable import Tenant, build
from tests.native.support import UUID, Container, Machine, Running, numbers

MEMORY = "512Mi"
SECONDS = 1.0
NEAR = 10
"""Points by which a share may be off here."""
SLOT_AT, SLOT_STRIDE, SLOTS, LAUNCHES_AT = 4096, 1664, 1024, 128 + 72
"""Where native/include/region.h has the count of launches that went through the limiter, of the first GPU."""


def percent(line: str) -> float:
    """The share of GPU time that a line of the load program tells."""
    return numbers(line)["share"] / 10


def near(found: float, wanted: float) -> bool:
    """Whether a share is what it should be, as well as can be told here."""
    return wanted - NEAR <= found <= wanted + NEAR


def launches(region: Path) -> int:
    """Launches of all living processes that were counted."""
    raw = region.read_bytes()
    places = range(SLOT_AT, SLOT_AT + SLOTS * SLOT_STRIDE, SLOT_STRIDE)
    return sum(struct.unpack_from("<Q", raw, at + LAUNCHES_AT)[0] for at in places)


def run(machine: Machine, *arguments: object, cores: int) -> str:
    """What the load program prints under a cap."""
    return machine.run(machine.command("turns", *arguments), memory=MEMORY, VRAMSHARE_CORES=str(cores))


def start(machine: Machine, *arguments: object, cores: int) -> Running:
    """The load program under a cap, still running."""
    return machine.start(machine.command("turns", *arguments), memory=MEMORY, VRAMSHARE_CORES=str(cores))


def again(running: Running) -> None:
    """Lets it begin its next phase."""
    assert running.process.stdin is not None
    running.process.stdin.write("\n")
    running.process.stdin.flush()


def limits(cores: int, *, tenant: str, more: str = "") -> str:
    """A limits file with this share."""
    return f"{UUID} memory={512 << 20} cores={cores} {more} tenant={tenant}\n"


def contained(machine: Machine, container: Container, *, cores: int, tenant: str = "1/a", phases: int = 1) -> Running:
    """A saturating load in a container, which reports its share once per phase."""
    if not container.allocation.exists():
        container.limit(limits(cores, tenant=tenant))
    command = container.wrap(machine.command("turns", "share", "kernel", SECONDS, 1, phases))
    return machine.start(command, LD_PRELOAD=str(machine.native.interposer))


def table(**cores: int) -> str:
    """The timetable of tenants with these shares."""
    tenants = [Tenant(f"1/{name}", {UUID: share}) for name, share in cores.items()]
    return build(tenants, {})[UUID].to_text()


def phases_of(running: Running, *between: object) -> list[float]:
    """The shares of a run's phases; before each but the first, something is done and a phase passes unused."""
    shares = [percent(running.report())]
    for act in between:
        assert callable(act)
        act()
        again(running)
        running.report()
        again(running)
        shares.append(percent(running.report()))
    running.finish()
    return shares
