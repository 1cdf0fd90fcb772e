"""GPUs as NVML, NVIDIA's management library, tells them. The only user of pynvml.

NVML is initialised on the first reading that finds a driver, and anew after any failure of the library as a whole
(a driver reloaded under us). A single GPU that fails is listed as unhealthy with the reason, and the others go on.
"""

import contextlib
from typing import Any, Final

import pynvml

from allocator.agent.gpus import GpuError, Reading
from allocator.api.inventory import HEALTHY, Gpu
from allocator.api.quantities import NO_MEMORY, Memory

_NO_DRIVER: Final = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
_NOT_THERE: Final = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


class NvmlGpus:
    """The GPUs of this machine."""

    def __init__(self) -> None:
        self._initialised = False

    def read(self) -> Reading | None:
        """All GPUs now; None without a driver.

        Raises:
            GpuError: NVML as a whole fails, such as when library and kernel module are of different versions.
        """
        try:
            if not self._initialised:
                pynvml.nvmlInit()
                self._initialised = True
            count = pynvml.nvmlDeviceGetCount()
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
            cuda = _cuda(_optional("nvmlSystemGetCudaDriverVersion_v2"))
        except pynvml.NVMLError as reason:
            self._shut_down()
            if reason.value in _NO_DRIVER:
                return None
            raise GpuError(f"NVML fails: {reason}") from None
        gpus = [gpu for index in range(count) if (gpu := _gpu(index)) is not None]
        return Reading(gpus=tuple(gpus), driver=driver, cuda=cuda)

    def _shut_down(self) -> None:
        if self._initialised:
            self._initialised = False
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()


def _gpu(index: int) -> Gpu | None:
    """One GPU; None where it has fallen off the bus so far that it cannot even be named."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError:
        return None
    model, memory, reserve, health = "unknown", NO_MEMORY, NO_MEMORY, HEALTHY
    try:
        model = _text(pynvml.nvmlDeviceGetName(handle))
        memory, reserve = _memory(handle)
        mode = _optional("nvmlDeviceGetMigMode", handle)
        if mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            health = "MIG is enabled; turn it off (nvidia-smi -mig 0) to share this GPU"
    except pynvml.NVMLError as reason:
        health = f"NVML fails: {reason}"
    return Gpu(uuid=uuid, index=index, model=model, memory=memory, reserve=reserve, health=health)


def _memory(handle: Any) -> tuple[Memory, Memory]:
    """Total memory, and what the driver keeps for itself. Drivers before 510 do not tell the latter."""
    newer = _optional("nvmlDeviceGetMemoryInfo", handle, version=pynvml.nvmlMemory_v2)
    if newer is not None:
        return Memory(newer.total), Memory(newer.reserved)
    return Memory(pynvml.nvmlDeviceGetMemoryInfo(handle).total), NO_MEMORY


def _optional(function: str, *args: Any, **named: Any) -> Any:
    """What an NVML function answers; None where this driver or this GPU does not have it."""
    try:
        return getattr(pynvml, function)(*args, **named)
    except pynvml.NVMLError as reason:
        if reason.value in _NOT_THERE:
            return None
        raise


def _cuda(version: int | None) -> str:
    """`13.0` from NVML's 13000."""
    return f"{version // 1000}.{version % 1000 // 10}" if version else ""


def _text(value: str | bytes) -> str:
    """Decode what pynvml before its version 11.5 answered in bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
