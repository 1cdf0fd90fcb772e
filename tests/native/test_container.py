"""Limits from the files of a GPU container, which the environment cannot change."""

import os

import pytest

from tests.native.support import CONTEXT, MIB, OTHER_UUID, UUID, Container, Machine, numbers

OUT_OF_MEMORY = 2
CHUNK = 2 * MIB


def line(uuid: str, memory: int) -> str:
    """One line of the limits file."""
    return f"{uuid} memory={memory} cores=0\n"


def probe(machine: Machine, container: Container, size: int, *, way: str = "handle", **more: str) -> dict[str, int]:
    """Asks for memory inside the container."""
    environment = {"LD_PRELOAD": str(machine.native.interposer)} | more
    return numbers(machine.run(container.wrap(machine.command("probe", way, size)), **environment))


def test_the_file_sets_the_limit(machine: Machine, container: Container):
    """The slice is what the limits file says."""
    container.limit(line(UUID, 200 * MIB))
    assert probe(machine, container, 300 * MIB) == {"code": OUT_OF_MEMORY, "total": 200 * MIB}
    assert probe(machine, container, 100 * MIB) == {"code": 0, "total": 200 * MIB}


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", f"{UUID} memory=lots\n", f"{UUID}\n", f"{UUID} memory=-1\n", line(OTHER_UUID, 500 * MIB)],
    ids=["empty", "comment", "no number", "no memory", "negative", "other GPU"],
)
def test_what_the_file_does_not_grant_is_refused(machine: Machine, container: Container, text: str):
    """A GPU without a readable line has a limit of 0: not even a context can be made."""
    container.limit(text)
    done = machine.attempt(
        container.wrap(machine.command("probe", "handle", MIB)), LD_PRELOAD=str(machine.native.interposer)
    )
    assert f"no start, code={OUT_OF_MEMORY}" in done.stdout
    assert machine.observe().used == 0


def test_unknown_words_are_ignored(machine: Machine, container: Container):
    """A newer agent may add words to a line."""
    container.limit(f"\n# by the agent\n{UUID} policy=burst cores=0 memory={200 * MIB} more=x\n")
    assert probe(machine, container, MIB)["total"] == 200 * MIB


@pytest.mark.parametrize(
    "variables",
    [
        {"VRAMSHARE_MEMORY": "900Mi"},
        {"VRAMSHARE_MEMORY": "100%", "VRAMSHARE_REGION": "/tmp/elsewhere"},
        {"VRAMSHARE_MEMORY": "", "VRAMSHARE_CORES": "100", "VRAMSHARE_LOG": "debug"},
    ],
    ids=["more", "elsewhere", "empty"],
)
def test_the_environment_changes_nothing(machine: Machine, container: Container, variables: dict[str, str]):
    """Where the limits file exists, no variable can raise, disable or redirect anything."""
    container.limit(line(UUID, 200 * MIB))
    assert probe(machine, container, 300 * MIB, **variables) == {"code": OUT_OF_MEMORY, "total": 200 * MIB}
    assert container.region.exists()


def test_a_scrubbed_environment_is_still_limited(machine: Machine, container: Container):
    """With /etc/ld.so.preload the wall stands where `env -i` has removed LD_PRELOAD."""
    container.limit(line(UUID, 200 * MIB))
    kept = [f"FAKEGPU_DIR={machine.folder}", f"LD_LIBRARY_PATH={machine.native.fakegpu}"]
    command = ["env", "-i", *kept, *machine.command("probe", "handle", 300 * MIB)]
    out = machine.run(container.wrap(command, preload=str(machine.native.interposer)))
    assert numbers(out) == {"code": OUT_OF_MEMORY, "total": 200 * MIB}


def test_both_preloads_load_it_once(machine: Machine, container: Container):
    """LD_PRELOAD and /etc/ld.so.preload together count everything once."""
    container.limit(line(UUID, 200 * MIB))
    fits = 200 * MIB - CONTEXT
    out = machine.run(
        container.wrap(machine.command("probe", "handle", fits), preload=str(machine.native.interposer)),
        LD_PRELOAD=str(machine.native.interposer),
    )
    assert numbers(out) == {"code": 0, "total": 200 * MIB}


def test_two_versions_count_once(machine: Machine, container: Container):
    """A second copy of the library in one process passes everything through."""
    container.limit(line(UUID, 200 * MIB))
    copy = machine.folder / "libvramshare-other.so"
    copy.write_bytes(machine.native.interposer.read_bytes())
    fits = 200 * MIB - CONTEXT
    preload = f"{machine.native.interposer} {copy}"
    assert probe(machine, container, fits, LD_PRELOAD=preload) == {"code": 0, "total": 200 * MIB}
    assert probe(machine, container, fits + CHUNK, LD_PRELOAD=preload)["code"] == OUT_OF_MEMORY


@pytest.mark.parametrize("order", ["0,1", "1,0", f"{OTHER_UUID},{UUID}", "1"])
def test_limits_follow_the_uuid(pair: Machine, container: Container, order: str):
    """However CUDA_VISIBLE_DEVICES orders the GPUs, each keeps its own limit."""
    container.limit(line(UUID, 200 * MIB) + line(OTHER_UUID, 300 * MIB))
    first_is_other = order.startswith(("1", OTHER_UUID))
    expected = 300 * MIB if first_is_other else 200 * MIB
    told = probe(pair, container, 250 * MIB, CUDA_VISIBLE_DEVICES=order)
    assert told == {"code": 0 if first_is_other else OUT_OF_MEMORY, "total": expected}


def test_a_raised_limit_works_for_a_running_program(machine: Machine, container: Container):
    """A program that was refused gets memory after the file was replaced."""
    container.limit(line(UUID, 100 * MIB))
    running = machine.start(
        container.wrap(["python3", "-c", RETRY, "0"]),
        LD_PRELOAD=str(machine.native.interposer),
    )
    assert running.report() == f"{OUT_OF_MEMORY}"
    container.limit(line(UUID, 400 * MIB))
    assert running.finish() == "0"


def test_a_lowered_limit_refuses_what_is_new(machine: Machine, container: Container):
    """Lowering below use takes nothing away, but gives nothing more."""
    container.limit(line(UUID, 400 * MIB))
    running = machine.start(
        container.wrap(["python3", "-c", RETRY, str(OUT_OF_MEMORY)]), LD_PRELOAD=str(machine.native.interposer)
    )
    assert running.report() == "0"
    container.limit(line(UUID, 200 * MIB))
    assert running.finish() == f"{OUT_OF_MEMORY}"


RETRY = """
import ctypes as c, sys
cu = c.CDLL("libcuda.so.1")
device, context, memory = c.c_int(), c.c_void_p(), c.c_uint64()
assert cu.cuInit(0) == 0 and cu.cuDeviceGet(c.byref(device), 0) == 0
assert cu.cuDevicePrimaryCtxRetain(c.byref(context), device) == 0 and cu.cuCtxSetCurrent(context) == 0
def alloc():
    return cu.cuMemAlloc_v2(c.byref(memory), c.c_size_t(150 << 20))
wanted = int(sys.argv[1])
print(alloc(), flush=True)
input()
# A changed file is noticed within a fraction of a second, sooner where it helps.
while (code := alloc()) != wanted:
    cu.cuMemFree_v2(memory)
print(code)
"""


def test_the_region_is_shared_between_users(machine: Machine, container: Container):
    """Processes of different users in one container use one region."""
    if os.geteuid():
        pytest.skip("only root becomes another user")
    container.limit(line(UUID, 300 * MIB))
    for folder in (machine.folder, *machine.folder.parents[:3]):
        folder.chmod(0o755)
    (machine.folder / "run").mkdir(exist_ok=True)
    (machine.folder / "run").chmod(0o777)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    first = machine.start(
        container.wrap(machine.command("take", "alloc", CHUNK, 200 * MIB)),
        LD_PRELOAD=str(machine.native.interposer),
    )
    assert first.report().startswith("took")
    out = machine.run(
        container.wrap([*as_nobody, *machine.command("probe", "handle", 100 * MIB)]),
        LD_PRELOAD=str(machine.native.interposer),
    )
    first.finish()
    assert numbers(out)["code"] == OUT_OF_MEMORY
    assert container.region.stat().st_mode & 0o666 == 0o666
