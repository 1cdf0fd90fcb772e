"""What goes on on one GPU, as NVML tells it: its processes, its memory, what it draws and how warm it is."""

import contextlib
from typing import Any, Final

import pynvml

from allocator.agent.gpus import GpuProcess, GpuUsage
from allocator.agent.nvml_calls import optional, text

_COMPUTE: Final = "Compute"
_LISTS: Final = (_COMPUTE, "Graphics", "MPSCompute")
_FORMS: Final = ("_v3", "_v2")
"""Of the lists: since driver 510, and before. Asked for by name: calls of pynvml without a version know the newest."""


def usage_of(index: int) -> GpuUsage | None:
    """One GPU now; None where it cannot even be named."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = text(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError:
        return None
    processes: tuple[GpuProcess, ...] = ()
    problem = ""
    try:
        processes = _processes(handle)
    except pynvml.NVMLError as reason:
        problem = f"NVML fails: {reason}"
    used, free = _memory(handle)
    return GpuUsage(
        uuid=uuid,
        processes=processes,
        used=used,
        free=free,
        utilisation=_scaled("nvmlDeviceGetUtilizationRates", handle, per=100, field="gpu"),
        temperature=_scaled("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU, per=1),
        power=_scaled("nvmlDeviceGetPowerUsage", handle, per=1000),
        problem=problem,
    )


def _processes(handle: Any) -> tuple[GpuProcess, ...]:
    """All processes that hold something there; one that is in two lists counts with its larger figure.

    Raises:
        pynvml.NVMLError: a list fails, or the driver has none of programs that compute.
    """
    found: dict[int, int | None] = {}
    for kind in _LISTS:
        for one in _listed(handle, kind):
            memory, before = one.usedGpuMemory, found.get(one.pid)
            found[one.pid] = memory if before is None else max(before, memory or 0)
    return tuple(GpuProcess(pid=pid, memory=memory) for pid, memory in sorted(found.items()))


def _listed(handle: Any, kind: str) -> Any:
    for form in _FORMS:
        found = optional(f"nvmlDeviceGet{kind}RunningProcesses{form}", handle)
        if found is not None:
            return found
    if kind == _COMPUTE:  # nobody is called isolated because nobody can be seen
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return ()


def _memory(handle: Any) -> tuple[int | None, int | None]:
    """Bytes used and free. Before driver 510 what is used holds the driver's reserve too."""
    with contextlib.suppress(pynvml.NVMLError):
        found = optional("nvmlDeviceGetMemoryInfo", handle, version=pynvml.nvmlMemory_v2)
        found = found or pynvml.nvmlDeviceGetMemoryInfo(handle)
        return int(found.used), int(found.free)
    return None, None


def _scaled(function: str, *args: Any, per: int, field: str = "") -> float | None:
    """A figure in our unit; None where this GPU has none."""
    with contextlib.suppress(pynvml.NVMLError):
        found = optional(function, *args)
        return None if found is None else float(getattr(found, field) if field else found) / per
    return None
