"""No allocation path gets past the slice, read from outside the container's view."""

import pytest

from tests.native.support import CONTEXT, MIB, SMALL_GPU, UUID, Machine, describe, numbers

SLICE = 256 * MIB
CHUNK = 2 * MIB
WANTED = 8192 * MIB
OUT_OF_MEMORY = 2

# Paths whose sizes the program chooses: they reach the slice almost exactly.
EXACT = [
    "alloc",
    "alloc-2MiB+1",
    "alloc-1-byte",
    "alloc-pitch",
    "alloc-pitch-narrow",
    "create",
    "create-map-release",
    "array",
    "array-3d",
    "mipmap",
    "lazy-code",
]
# Paths where the driver takes memory in steps of its own.
LOOSE = [
    "managed",
    "managed-touched",
    "async",
    "pool-threshold",
    "pool",
    "free-async",
    "graph-node",
    "captured-async",
    "module-global",
    "library-global",
    "heap-limit",
    "stack-limit",
    "local-memory",
    "green-contexts",
    "contexts",
]


def test_every_path_is_tested(machine: Machine):
    """The program's own list of paths is the list tested here."""
    listed = dict(line.split() for line in machine.run(machine.command("take", "--list")).splitlines())
    assert listed == dict.fromkeys(EXACT, "exact") | dict.fromkeys(LOOSE, "loose") | {"graph-upload": "shared"}


@pytest.mark.parametrize("path", EXACT + LOOSE)
def test_path_stops_at_the_slice(machine: Machine, path: str):
    """Asked for 8 GiB, the device loses at most the slice, and the program stays healthy."""
    running = machine.start(machine.command("take", path, CHUNK, WANTED), memory="256Mi")
    report = running.report()
    seen = machine.observe()
    after = running.finish()
    assert report.startswith("refused"), report
    assert numbers(report)["code"] == OUT_OF_MEMORY
    assert seen.used <= SLICE, f"{(seen.used - SLICE) / MIB} MiB past the slice"
    if path in EXACT:
        assert seen.used >= SLICE - 2 * CHUNK, f"refused with {(SLICE - seen.used) / MIB} MiB left"
    assert after == "healthy"


def test_an_upload_is_refused(machine: Machine):
    """A graph whose memory does not fit is refused when it is uploaded, before any launch."""
    running = machine.start(machine.command("take", "graph-upload", SLICE, WANTED), memory="256Mi")
    report = running.report()
    used = machine.observe().used
    assert running.finish() == "healthy"
    assert numbers(report) | {"free": 0} == {"code": OUT_OF_MEMORY, "steps": 0, "free": 0, "total": SLICE}
    assert used <= SLICE


@pytest.mark.parametrize("path", ["alloc", "async", "create", "graph-node"])
def test_without_a_limit_nothing_is_refused_early(machine: Machine, path: str):
    """The interposer without any limit lets a program take the whole device."""
    running = machine.start(machine.command("take", path, CHUNK, WANTED), LD_PRELOAD=str(machine.native.interposer))
    report = running.report()
    used = machine.observe().used
    running.finish()
    assert report.startswith("refused")
    assert used >= 960 * MIB - 32 * MIB


def test_the_context_counts(machine: Machine):
    """What the driver takes for the context is part of the slice."""
    running = machine.start(machine.command("take", "alloc", CHUNK, WANTED), memory="256Mi")
    report = running.report()
    running.finish()
    assert numbers(report)["steps"] * CHUNK <= SLICE - CONTEXT


def test_what_starting_cuda_takes_counts(machine: Machine):
    """The first user of a GPU pays for what cuInit takes of it, though no figure of the process shows it."""
    describe(machine.folder, {UUID: {**SMALL_GPU, "start": "4Mi"}})
    running = machine.start(machine.command("take", "alloc", CHUNK, WANTED), memory="256Mi")
    running.report()
    used = machine.observe().used
    running.finish()
    assert SLICE - 2 * CHUNK <= used <= SLICE


def test_a_slice_smaller_than_a_context_refuses_the_context(machine: Machine):
    """A program that cannot even start CUDA learns it as an ordinary out-of-memory error."""
    done = machine.attempt(machine.command("take", "alloc", CHUNK, WANTED), memory="16Mi")
    assert done.returncode == 1
    assert f"code={OUT_OF_MEMORY}" in done.stdout
    assert machine.observe().used == 0
