"""One slice for all processes of a container, whatever happens to any of them."""

import pytest

from tests.native.support import CONTEXT, MIB, UUID, Machine, describe, numbers

SLICE = 512 * MIB
CHUNK = 2 * MIB


@pytest.mark.parametrize("chunk", [CHUNK, 3 * MIB, 64 << 10], ids=["2MiB", "3MiB", "64KiB"])
def test_eight_processes_race_for_the_last_bytes(machine: Machine, chunk: int):
    """Together they never hold more than the slice, nor leave more than one request unused."""
    running = machine.start(machine.command("race", 8, chunk), memory="512Mi")
    report = numbers(running.report())
    used = machine.observe().used
    running.finish()
    assert report["failed"] == 0
    assert used <= SLICE
    largest_request = max(CHUNK, -(-chunk // CHUNK) * CHUNK)
    assert used > SLICE - 8 * CONTEXT if chunk < CHUNK else used > SLICE - largest_request - 1


def test_two_processes_share_one_slice(machine: Machine):
    """What one process holds, the other cannot have."""
    first = machine.start(machine.command("take", "alloc", CHUNK, 300 * MIB), memory="512Mi")
    assert first.report().startswith("took")
    second = machine.start(machine.command("take", "alloc", CHUNK, 300 * MIB), memory="512Mi")
    assert second.report().startswith("refused")
    assert machine.observe().used <= SLICE
    first.finish()
    second.finish()


def test_a_killed_process_holds_nothing(machine: Machine):
    """After a kill, the next allocation may have the whole slice."""
    first = machine.start(machine.command("take", "alloc", CHUNK, 400 * MIB), memory="512Mi")
    assert first.report().startswith("took")
    first.kill()
    second = machine.start(machine.command("take", "alloc", CHUNK, 400 * MIB), memory="512Mi")
    assert second.report().startswith("took")
    second.finish()


def test_a_killed_process_is_not_shown(machine: Machine):
    """Free memory as shown to a new process does not miss what a dead one held."""
    first = machine.start(machine.command("take", "alloc", CHUNK, 400 * MIB), memory="512Mi")
    assert first.report().startswith("took")
    first.kill()
    second = machine.start(machine.command("take", "alloc", CHUNK, 2 * MIB), memory="512Mi")
    shown = numbers(second.report())
    second.finish()
    assert shown["free"] == SLICE - CONTEXT - CHUNK


def test_kills_at_random_moments_lose_nothing(machine: Machine):
    """A thousand processes die anywhere while taking and freeing; no hang, no lost byte."""
    whole = SLICE - CONTEXT
    out = machine.run(machine.command("killed", 334, whole, 20260707), memory="512Mi")
    assert numbers(out)["kills"] >= 1000


def test_forks_beside_busy_threads(machine: Machine):
    """Children of a multithreaded CUDA program can fork, exec and exit."""
    out = machine.run(machine.command("forker", 150), memory="512Mi")
    assert numbers(out) == {"forks": 150}


def test_a_region_that_cannot_be_made_keeps_the_wall(machine: Machine):
    """Without a place for the shared region each process is held to the slice on its own."""
    running = machine.start(
        machine.command("take", "alloc", CHUNK, 8 * SLICE), memory="512Mi", VRAMSHARE_REGION="/nowhere/region"
    )
    assert running.report().startswith("refused")
    assert machine.observe().used <= SLICE
    running.finish()


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\0" * 4096, b"\xff" * 100_000], ids=["empty", "short", "zeros", "noise"]
)
def test_a_corrupt_region_keeps_the_wall(machine: Machine, content: bytes):
    """A region that is not one crashes nothing and opens nothing."""
    machine.region.write_bytes(content)
    running = machine.start(machine.command("take", "alloc", CHUNK, 8 * SLICE), memory="512Mi")
    assert running.report().startswith("refused")
    assert machine.observe().used <= SLICE
    running.finish()


IMPORTER = """
import ctypes as c, sys
class Handle(c.Structure):
    _fields_ = [("bytes", c.c_ubyte * 64)]
cu = c.CDLL("libcuda.so.1")
cu.cuIpcOpenMemHandle_v2.argtypes = [c.c_void_p, Handle, c.c_uint]
context, memory, handle = c.c_void_p(), c.c_uint64(), Handle()
assert cu.cuInit(0) == 0 and cu.cuDevicePrimaryCtxRetain(c.byref(context), 0) == 0
assert cu.cuCtxSetCurrent(context) == 0
if sys.argv[1] == "export":
    assert cu.cuMemAlloc_v2(c.byref(memory), c.c_size_t(300 << 20)) == 0
    assert cu.cuIpcGetMemHandle(c.byref(handle), memory) == 0
    print(bytes(handle.bytes).hex(), flush=True)
else:
    handle = Handle.from_buffer_copy(bytes.fromhex(sys.argv[1]))
    print(cu.cuIpcOpenMemHandle_v2(c.byref(memory), handle, 1), flush=True)
input()
"""


def test_imported_memory_counts_once(machine: Machine):
    """Memory that one process of the container exports and another imports is in the slice once."""
    exporter = machine.start(["python3", "-c", IMPORTER, "export"], memory="512Mi")
    handle = exporter.report()
    importer = machine.start(["python3", "-c", IMPORTER, handle], memory="512Mi")
    assert importer.report() == "0"
    third = machine.start(machine.command("take", "alloc", CHUNK, 8 * SLICE), memory="512Mi")
    steps = numbers(third.report())["steps"]
    third.finish()
    importer.finish()
    exporter.finish()
    assert steps * CHUNK == (SLICE - 300 * MIB - 3 * CONTEXT) // CHUNK * CHUNK


def test_sixty_four_processes_share_one_slice(machine: Machine):
    """Many processes that start and take at once stay within the slice together."""
    describe(machine.folder, {UUID: {"memory": "8Gi", "context": "4Mi", "hidden": "1Mi"}})
    running = machine.start(machine.command("race", 64, CHUNK), memory="512Mi")
    report = numbers(running.report())
    used = machine.observe().used
    running.finish()
    assert report["failed"] == 0
    assert report["bytes"] > 0
    assert used <= SLICE


THREADS = """
import ctypes as c, threading
cu = c.CDLL("libcuda.so.1")
context = c.c_void_p()
assert cu.cuInit(0) == 0 and cu.cuDevicePrimaryCtxRetain(c.byref(context), 0) == 0
def take():
    memory = c.c_uint64()
    cu.cuCtxSetCurrent(context)
    while cu.cuMemAlloc_v2(c.byref(memory), c.c_size_t(1 << 20)) == 0:
        pass
threads = [threading.Thread(target=take) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("refused", flush=True)
input()
"""


def test_threads_race_for_the_last_bytes(machine: Machine):
    """Threads of one process fill the slice and no more."""
    running = machine.start(["python3", "-c", THREADS], memory="512Mi")
    assert running.report() == "refused"
    used = machine.observe().used
    running.finish()
    assert SLICE - 2 * CHUNK <= used <= SLICE


def test_the_region_is_open_to_all_users_whatever_the_umask(machine: Machine):
    """A strict umask of the first process does not lock the others out, and stays what it was."""
    command = ["sh", "-c", 'umask 077; "$@" && umask', "sh", *machine.command("probe", "handle", MIB)]
    out = machine.run(command, memory="512Mi")
    assert out.splitlines()[-1] == "0077"
    assert machine.region.stat().st_mode & 0o777 == 0o666
