"""GPUs as NVML tells them: on the simulated libnvidia-ml, and with pynvml failing as real ones do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from allocator.agent.gpus import GpuError, OutsideError
from allocator.agent.nvml import NvmlGpus

ROOT = Path(__file__).parents[3]
LIBRARY = ROOT / "native" / "build" / "fakegpu"
GPUS = """
[GPU-00000000-0000-4000-8000-000000000001]
model = Tesla T4
memory = 16Gi
reserve = 450Mi
"""
PROGRAM = """
import dataclasses, json, pathlib, sys
from allocator.agent.nvml import NvmlGpus
source = NvmlGpus()
answers = [source.read()]
if sys.argv[1:]:
    pathlib.Path(sys.argv[1]).write_text(sys.argv[2])
answers.append(source.read())
print(json.dumps([one and dataclasses.asdict(one) for one in answers]))
"""


def read_twice(folder: Path, *arguments: str, library: Path = LIBRARY) -> list[Any]:
    """Two readings of one process, on the simulated driver."""
    environment = {**os.environ, "FAKEGPU_DIR": str(folder), "LD_LIBRARY_PATH": str(library), "PYTHONPATH": str(ROOT)}
    environment.pop("LD_PRELOAD", None)
    ended = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return list(json.loads(ended.stdout))


def test_reads_uuid_model_memory_and_the_drivers_reserve(tmp_path: Path) -> None:
    """Through pynvml and a library of NVML's own interface."""
    assert LIBRARY.is_dir(), "run `make -C native fakegpu` first"
    (tmp_path / "gpus.ini").write_text(GPUS)
    first, second = read_twice(tmp_path)
    assert first == second
    (gpu,) = first["gpus"]
    assert (gpu["uuid"], gpu["model"]) == ("GPU-00000000-0000-4000-8000-000000000001", "Tesla T4")
    assert gpu["memory"]["count"] == 16 << 30
    assert gpu["reserve"]["count"] == 450 << 20
    assert gpu["health"] == "ok"
    assert first["cuda"].count(".") == 1


def test_a_driver_that_appears_later_is_noticed(tmp_path: Path) -> None:
    """The same process sees nothing, then GPUs."""
    first, second = read_twice(tmp_path, str(tmp_path / "gpus.ini"), GPUS)
    assert first is None
    assert len(second["gpus"]) == 1


def test_no_library_is_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without NVIDIA's driver is no failure."""
    monkeypatch.setattr(pynvml, "nvmlInit", _raising(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert NvmlGpus().read() is None


@pytest.mark.parametrize(
    "code",
    [
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    ],
)
def test_a_driver_that_came_after_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Said to be there and out of reach, instead of absent; likewise one that took another's place."""
    monkeypatch.setattr(pynvml, "nvmlInit", _raising(code))
    source = NvmlGpus(driver=tmp_path / "version")
    if code != pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        assert source.read() is None
    (tmp_path / "version").touch()
    with pytest.raises(OutsideError, match="has not got it"):
        source.read()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Two good GPUs; the state says what fails."""
    state = SimpleNamespace(inits=0, mig=pynvml.NVML_DEVICE_MIG_DISABLE, lost=set())

    def init() -> None:
        state.inits += 1

    def handle(index: int) -> int:
        if index in state.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    for name, function in {
        "nvmlInit": init,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlSystemGetDriverVersion": lambda: b"470.1",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 11040,
        "nvmlDeviceGetHandleByIndex": handle,
        "nvmlDeviceGetUUID": lambda index: f"GPU-{index}",
        "nvmlDeviceGetName": lambda _: "NVIDIA A100",
        "nvmlDeviceGetMemoryInfo": _memory,
        "nvmlDeviceGetMigMode": lambda _: [state.mig, state.mig],
    }.items():
        monkeypatch.setattr(pynvml, name, function)
    return state


def test_an_older_driver_does_not_tell_its_reserve(driver: SimpleNamespace) -> None:
    """The second version of the call came with driver 510."""
    reading = NvmlGpus().read()
    assert reading is not None
    assert [gpu.reserve.count for gpu in reading.gpus] == [0, 0]
    assert (reading.driver, reading.cuda) == ("470.1", "11.4")


def test_a_gpu_in_mig_mode_is_listed_as_unusable(driver: SimpleNamespace) -> None:
    """With what to do about it."""
    driver.mig = pynvml.NVML_DEVICE_MIG_ENABLE
    reading = NvmlGpus().read()
    assert reading is not None
    assert all("nvidia-smi -mig 0" in gpu.health for gpu in reading.gpus)


def test_a_gpu_without_mig_is_healthy(driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most models do not know the question."""
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMigMode", _raising(pynvml.NVML_ERROR_NOT_SUPPORTED))
    reading = NvmlGpus().read()
    assert reading is not None
    assert all(gpu.healthy for gpu in reading.gpus)


def test_one_failing_gpu_leaves_the_others(driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is unhealthy with NVML's words; one that cannot be named is left out."""

    def name(index: int) -> str:
        if index == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
        return "NVIDIA A100"

    monkeypatch.setattr(pynvml, "nvmlDeviceGetName", name)
    reading = NvmlGpus().read()
    assert reading is not None
    assert [gpu.healthy for gpu in reading.gpus] == [False, True]
    assert "NVML fails" in reading.gpus[0].health
    driver.lost.add(0)
    reading = NvmlGpus().read()
    assert reading is not None
    assert [gpu.uuid for gpu in reading.gpus] == ["GPU-1"]


def test_a_failure_of_nvml_as_a_whole_is_an_error_and_begins_anew(
    driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver upgraded under us: the next reading initialises again."""
    source = NvmlGpus()
    source.read()
    source.read()
    assert driver.inits == 1
    with monkeypatch.context() as broken:
        broken.setattr(pynvml, "nvmlDeviceGetCount", _raising(pynvml.NVML_ERROR_UNINITIALIZED))
        with pytest.raises(GpuError, match="NVML fails"):
            source.read()
    assert source.read() is not None
    assert driver.inits == 2


@pytest.mark.parametrize(
    ("answer", "actions"),
    [
        ((0, 0), {"GPU-0": "", "GPU-1": ""}),
        ((0, 1), {"GPU-0": "a reset of the GPU", "GPU-1": "a reset of the GPU"}),
        ((0, 99), {"GPU-0": "recovery action 99", "GPU-1": "recovery action 99"}),
        ((pynvml.NVML_ERROR_NOT_SUPPORTED, 0), {}),
        (None, {}),
    ],
    ids=["nothing", "reset", "newer", "not on this GPU", "older driver"],
)
def test_what_the_driver_asks_to_be_done(
    driver: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, int] | None, actions: dict[str, str]
) -> None:
    """In words, where it says."""

    def fields(_handle: int, _ids: list[int]) -> list[SimpleNamespace]:
        if answer is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        return [SimpleNamespace(nvmlReturn=answer[0], value=SimpleNamespace(uiVal=answer[1]))]

    monkeypatch.setattr(pynvml, "nvmlDeviceGetFieldValues", fields)
    reading = NvmlGpus().read()
    assert reading is not None
    assert reading.actions == actions


def _memory(_handle: int, version: int | None = None) -> SimpleNamespace:
    if version is not None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    return SimpleNamespace(total=80 << 30)


def _raising(code: int) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise pynvml.NVMLError(code)

    return fail
