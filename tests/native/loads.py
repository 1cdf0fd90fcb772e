"""Loads under a cap, and what share of the GPU's time they got."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from allocator.core.timetable import Tenant, build
from tests.native.support import UUID, Container, Machine, Running, numbers

MEMORY = "512Mi"
SECONDS = 1.0
NEAR = 10
"""Points by which a share may be off here."""
ALL = 80
"""Percent from which on a load has the GPU for itself."""
ATTEMPTS = 5
PHASES = 1000
SLOT_AT, SLOT_STRIDE, SLOTS, LAUNCHES_AT = 4096, 1664, 1024, 128 + 72
"""Where native/include/region.h has the count of launches that went through the limiter, of the first GPU."""


def percent(line: str) -> float:
    """The share of GPU time that a line of the load program tells."""
    return numbers(line)["share"] / 10


def settles(measure: Callable[[], Sequence[float]], *wanted: float) -> bool:
    """Whether shares become what they should be, within a few attempts.

    Several, because a machine with other things to do takes time from the load; a load that is not held at all has
    nearly all of the GPU each time.
    """
    return any(
        all(abs(found - share) <= NEAR for found, share in zip(measure(), wanted, strict=True)) for _ in range(ATTEMPTS)
    )


def frees(measure: Callable[[], Sequence[float]]) -> bool:
    """Whether a load gets nearly all of the GPU, within a few attempts."""
    return any(measure()[0] > ALL for _ in range(ATTEMPTS))


def launches(region: Path) -> int:
    """Launches of all living processes that were counted."""
    raw = region.read_bytes()
    places = range(SLOT_AT, SLOT_AT + SLOTS * SLOT_STRIDE, SLOT_STRIDE)
    return sum(struct.unpack_from("<Q", raw, at + LAUNCHES_AT)[0] for at in places)


def shared(machine: Machine, *arguments: object, cores: int) -> Callable[[], Sequence[float]]:
    """Measures what share of the GPU's time the load program gets under a cap, in a run of its own."""
    return lambda: [percent(run(machine, *arguments, cores=cores))]


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


def contained(machine: Machine, container: Container, *, cores: int, tenant: str = "1/a") -> Running:
    """A saturating load in a container, which reports its share once per phase; to be ended by a kill."""
    if not container.allocation.exists():
        container.limit(limits(cores, tenant=tenant))
    command = container.wrap(machine.command("turns", "share", "kernel", SECONDS, 1, PHASES))
    return machine.start(command, LD_PRELOAD=str(machine.native.interposer))


def phase(*running: Running) -> list[float]:
    """The shares in one further phase of loads that run at the same time."""
    for one in running:
        again(one)
    return [percent(one.report()) for one in running]


def table(**cores: int) -> str:
    """The timetable of tenants with these shares."""
    tenants = [Tenant(f"1/{name}", {UUID: share}) for name, share in cores.items()]
    return build(tenants, {})[UUID].to_text()
