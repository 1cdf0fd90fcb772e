"""What must show the slice shows it; what a GPU does not know stays untouched."""

import json

from tests.native.support import CONTEXT, MIB, UUID, Machine

SLICE = 256 * MIB

ASK = """
import ctypes as c, json, os, pynvml as n
cu = c.CDLL("libcuda.so.1")
device, context, memory = c.c_int(), c.c_void_p(), c.c_uint64()
free, total, whole = c.c_size_t(), c.c_size_t(), c.c_size_t()
for code in (cu.cuInit(0), cu.cuDeviceGet(c.byref(device), 0),
             cu.cuDevicePrimaryCtxRetain(c.byref(context), device), cu.cuCtxSetCurrent(context),
             cu.cuMemAlloc_v2(c.byref(memory), c.c_size_t(100 << 20)),
             cu.cuMemGetInfo_v2(c.byref(free), c.byref(total)),
             cu.cuDeviceTotalMem_v2(c.byref(whole), device)):
    assert code == 0, code
n.nvmlInit()
gpu = n.nvmlDeviceGetHandleByIndex(0)
first, second = n.nvmlDeviceGetMemoryInfo(gpu), n.nvmlDeviceGetMemoryInfo(gpu, version=n.nvmlMemory_v2)
print(json.dumps({
    "cuda": [free.value, total.value, whole.value],
    "v1": [first.total, first.used, first.free],
    "v2": [second.total, second.used + second.reserved, second.free],
    "mine": [p.usedGpuMemory for p in n.nvmlDeviceGetComputeRunningProcesses(gpu) if p.pid == os.getpid()],
    "others": [p.pid for p in n.nvmlDeviceGetComputeRunningProcesses(gpu) if p.pid != os.getpid()],
    "name": n.nvmlDeviceGetName(gpu), "uuid": n.nvmlDeviceGetUUID(gpu),
}))
"""


def ask(machine: Machine, python: str, memory: str | None) -> dict:
    """Takes 100 MiB and asks every interface about it."""
    return json.loads(machine.run([python, "-c", ASK], memory=memory))


def test_cuda_and_nvml_show_the_slice(machine: Machine, python: str):
    """Total is the slice; used is what the container holds, driver overhead included."""
    told = ask(machine, python, "256Mi")
    used = 100 * MIB + CONTEXT
    assert told["cuda"] == [SLICE - used, SLICE, SLICE]
    assert told["v1"] == [SLICE, used, SLICE - used]
    assert told["v2"] == [SLICE, used, SLICE - used]
    assert told["mine"] == [used]
    assert (told["name"], told["uuid"]) == ("Tesla T4", UUID)


def test_other_containers_are_not_shown(machine: Machine, python: str):
    """A neighbour's process and memory are neither listed nor counted."""
    neighbour = machine.start(machine.command("take", "alloc", 2 * MIB, 300 * MIB))
    assert neighbour.report().startswith("took")
    told = ask(machine, python, "256Mi")
    neighbour.finish()
    assert told["others"] == []
    assert told["v1"][1] == 100 * MIB + CONTEXT


def test_own_processes_are_shown(machine: Machine, python: str):
    """The container's other processes are counted in the slice."""
    sibling = machine.start(machine.command("take", "alloc", 2 * MIB, 40 * MIB), memory="256Mi")
    assert sibling.report().startswith("took")
    told = ask(machine, python, "256Mi")
    sibling.finish()
    assert told["v1"][1] == 140 * MIB + 2 * CONTEXT


def test_without_a_limit_everything_is_shown(machine: Machine, python: str):
    """Without limits the interposer changes no answer."""
    told = ask(machine, python, None)
    preloaded = json.loads(machine.run([python, "-c", ASK], LD_PRELOAD=str(machine.native.interposer)))
    assert told == preloaded
