"""GPUs as NVML, NVIDIA's management library, tells them.

NVML is initialised on the first reading that finds a driver, and anew after any failure of the library as a whole
(a driver reloaded under us). A single GPU that fails is listed as unhealthy with the reason, and the others go on.
"""

import contextlib
from pathlib import Path
from typing import Any

import pynvml

from allocator.agent.gpus import GpuError, GpuUsage, OutsideError, Reading
from allocator.agent.nvml_calls import NO_DRIVER, OTHER_DRIVER, optional, recovery, text
from allocator.agent.nvml_usage import usage_of
from allocator.api.inventory import HEALTHY, Gpu
from allocator.api.quantities import NO_MEMORY, Memory


class NvmlGpus:
    """The GPUs of this machine.

    Args:
        driver: in a container, the file that stands while the host's kernel has the driver loaded. A container gets
            the driver's library when it is made, and never again.
    """

    def __init__(self, *, driver: Path | None = None) -> None:
        self._initialised = False
        self._driver = driver

    def read(self) -> Reading | None:
        """All GPUs now; None without a driver.

        Raises:
            OutsideError: the driver was loaded, or replaced, after this container was made.
            GpuError: NVML as a whole fails, such as when library and kernel module are of different versions.
        """
        try:
            if not self._initialised:
                pynvml.nvmlInit()
                self._initialised = True
            count = pynvml.nvmlDeviceGetCount()
            driver = text(pynvml.nvmlSystemGetDriverVersion())
            cuda = _cuda(optional("nvmlSystemGetCudaDriverVersion_v2"))
        except pynvml.NVMLError as reason:
            self._shut_down()
            if reason.value in (*NO_DRIVER, OTHER_DRIVER) and self._driver is not None and self._driver.exists():
                raise OutsideError(
                    f"the driver is loaded and the agent's container has not got it ({reason}); the agent starts anew "
                    "now and then. If that does not help: NVIDIA's container toolkit, or the agent's RuntimeClass"
                ) from None
            if reason.value in NO_DRIVER:
                return None
            raise GpuError(f"NVML fails: {reason}") from None
        gpus = [gpu for index in range(count) if (gpu := _gpu(index)) is not None]
        actions = {gpu.uuid: action for gpu in gpus if (action := recovery(gpu.index)) is not None}
        return Reading(gpus=tuple(gpus), driver=driver, cuda=cuda, actions=actions)

    def usage(self) -> tuple[GpuUsage, ...]:
        """What goes on on all GPUs now; nothing before the first successful `read`.

        Raises:
            GpuError: NVML as a whole fails.
        """
        if not self._initialised:
            return ()
        try:
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as reason:
            raise GpuError(f"NVML fails: {reason}") from None
        return tuple(usage for index in range(count) if (usage := usage_of(index)) is not None)

    def _shut_down(self) -> None:
        if self._initialised:
            self._initialised = False
            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()


def _gpu(index: int) -> Gpu | None:
    """One GPU; None where it has fallen off the bus so far that it cannot even be named."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = text(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError:
        return None
    model, memory, reserve, health = "unknown", NO_MEMORY, NO_MEMORY, HEALTHY
    try:
        model = text(pynvml.nvmlDeviceGetName(handle))
        memory, reserve = _memory(handle)
        mode = optional("nvmlDeviceGetMigMode", handle)
        if mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            health = "MIG is enabled; turn it off (nvidia-smi -mig 0) to share this GPU"
    except pynvml.NVMLError as reason:
        health = f"NVML fails: {reason}"
    return Gpu(uuid=uuid, index=index, model=model, memory=memory, reserve=reserve, health=health)


def _memory(handle: Any) -> tuple[Memory, Memory]:
    """Total memory, and what the driver keeps for itself. Drivers before 510 do not tell the latter."""
    newer = optional("nvmlDeviceGetMemoryInfo", handle, version=pynvml.nvmlMemory_v2)
    if newer is not None:
        return Memory(newer.total), Memory(newer.reserved)
    return Memory(pynvml.nvmlDeviceGetMemoryInfo(handle).total), NO_MEMORY


def _cuda(version: int | None) -> str:
    """`13.0` from NVML's 13000."""
    return f"{version // 1000}.{version % 1000 // 10}" if version else ""
