"""What goes on on GPUs: a process that really holds memory of the simulated driver, seen both ways."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from allocator.agent.gpus import GpuError, GpuProcess
from allocator.agent.nvml import NvmlGpus
from allocator.agent.nvml_usage import usage_of
from allocator.agent.simulated import SimulatedGpus

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "native" / "build" / "fakegpu"
MIB = 1 << 20
GPU = "GPU-00000000-0000-4000-8000-000000000001"
GPUS = f"[{GPU}]\nmodel = Tesla T4\nmemory = 16Gi\nreserve = 450Mi\ncontext = 300Mi\nhidden = 6Mi\n"
HOLD = """
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
context, memory = ctypes.c_void_p(), ctypes.c_uint64()
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(64 << 20)) == 0
print("holding", flush=True)
sys.stdin.read()
"""
ASK = """
import dataclasses, json
from allocator.agent.nvml import NvmlGpus
source = NvmlGpus()
assert source.usage() == ()
source.read()
print(json.dumps([dataclasses.asdict(one) for one in source.usage()]))
"""


def environment(folder: Path) -> dict[str, str]:
    """Of a program that finds the simulated driver."""
    found = {**os.environ, "FAKEGPU_DIR": str(folder), "LD_LIBRARY_PATH": str(LIBRARY), "PYTHONPATH": str(ROOT)}
    found.pop("LD_PRELOAD", None)
    return found


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The simulated driver's state folder."""
    (tmp_path / "gpus.ini").write_text(GPUS)
    return tmp_path


@pytest.fixture
def holder(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds a context and 64 MiB."""
    argv, pipe = [sys.executable, "-c", HOLD], subprocess.PIPE
    with subprocess.Popen(argv, env=environment(state), stdin=pipe, stdout=pipe) as process:  # noqa: S603
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


def test_nvml_and_the_books_tell_the_same(state: Path, holder: subprocess.Popen[bytes]) -> None:
    """Who holds how much: by NVML's own interface, and by the edge that stands in for it on a simulated node."""
    (simulated,) = SimulatedGpus(state / "gpus.ini", books=state / "books").usage()
    ended = subprocess.run([sys.executable, "-c", ASK], env=environment(state), capture_output=True, check=True)  # noqa: S603
    (real,) = json.loads(ended.stdout)
    expected = GpuProcess(pid=holder.pid, memory=(300 + 64) * MIB)
    assert simulated.processes == (expected,)
    assert real["processes"] == [{"pid": expected.pid, "memory": expected.memory}]
    assert (real["uuid"], real["problem"], real["temperature"] > 0, real["power"] > 0) == (GPU, "", True, True)
    assert real["used"] >= expected.memory
    assert simulated.used == expected.memory


def test_the_memory_of_a_dead_process_is_nobodys(state: Path, holder: subprocess.Popen[bytes]) -> None:
    """However it died, the books do not show it."""
    holder.kill()
    holder.wait()
    (usage,) = SimulatedGpus(state / "gpus.ini", books=state / "books").usage()
    assert usage.processes == ()


@pytest.mark.parametrize("content", [b"", b"x" * 10, b"\0" * 5000])
def test_books_that_are_none(state: Path, content: bytes) -> None:
    """Nothing is held there."""
    (state / "books").write_bytes(content)
    (usage,) = SimulatedGpus(state / "gpus.ini", books=state / "books").usage()
    assert usage.processes == ()


def test_books_that_cannot_be_read(state: Path) -> None:
    """That is a failure of the simulated driver."""
    with pytest.raises(GpuError, match="cannot be read"):
        SimulatedGpus(state / "gpus.ini", books=state / "gpus.ini" / "books").usage()


def test_a_simulated_node_without_a_driver_has_no_usage(tmp_path: Path) -> None:
    """No description, no GPU."""
    assert SimulatedGpus(tmp_path / "gpus.ini", books=tmp_path / "books").usage() == ()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """One GPU whose lists and figures the state names; what is missing there fails as not supported."""
    state = SimpleNamespace(lists={"Compute": []}, failing=set(), forms={"_v2", "_v3"})

    def listing(name: str, form: str) -> Any:
        def answer(_handle: int) -> list[SimpleNamespace]:
            if name in state.failing:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
            if name not in state.lists or form not in state.forms:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
            return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in state.lists[name]]

        return answer

    def absent(*_: object, **__: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    for kind in ("Compute", "Graphics", "MPSCompute"):
        for form in ("_v2", "_v3"):
            monkeypatch.setattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses{form}", listing(kind, form))
    for name in ("MemoryInfo", "UtilizationRates", "Temperature", "PowerUsage"):
        monkeypatch.setattr(pynvml, f"nvmlDeviceGet{name}", absent)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda index: f"GPU-{index}")
    return state


def test_a_process_in_two_lists_counts_once(driver: SimpleNamespace) -> None:
    """With the larger figure; one whose memory the driver does not tell stays without."""
    driver.lists = {"Compute": [(7, 100), (8, None)], "Graphics": [(7, 120), (9, 5)]}
    usage = usage_of(0)
    assert usage is not None
    assert usage.processes == (GpuProcess(7, 120), GpuProcess(8, None), GpuProcess(9, 5))
    assert (usage.used, usage.free, usage.utilisation, usage.temperature, usage.power) == (None,) * 5


def test_a_list_that_fails_is_a_problem_of_this_gpu(driver: SimpleNamespace) -> None:
    """Nobody is called isolated on the strength of half an answer."""
    driver.lists = {"Compute": [(7, 100)]}
    driver.failing = {"Graphics"}
    usage = usage_of(0)
    assert usage is not None
    assert (usage.processes, usage.problem) == ((), "NVML fails: Unknown Error")


def test_a_driver_before_510_lists_processes_in_its_own_form(driver: SimpleNamespace) -> None:
    """Pynvml's unversioned call fails there, and with no error of NVML's."""
    driver.lists, driver.forms = {"Compute": [(7, 100)]}, {"_v2"}
    usage = usage_of(0)
    assert usage is not None
    assert (usage.processes, usage.problem) == ((GpuProcess(7, 100),), "")


def test_a_driver_that_lists_no_computing_processes_proves_nothing(driver: SimpleNamespace) -> None:
    """It does not read as "nobody uses it"."""
    driver.forms = set()
    usage = usage_of(0)
    assert usage is not None
    assert usage.problem == "NVML fails: Not Supported"


def test_a_gpu_that_cannot_be_named_has_no_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing could be said of it."""

    def lost(_: int) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lost)
    assert usage_of(0) is None


def test_nvml_failing_as_a_whole_is_an_error(driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as such, and does not read as "nobody uses anything"."""

    def fail() -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)

    source = NvmlGpus()
    source._initialised = True
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", fail)
    with pytest.raises(GpuError, match="NVML fails"):
        source.usage()
