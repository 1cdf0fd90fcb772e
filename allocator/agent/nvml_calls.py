"""Calls of NVML whose absence is no failure. With `nvml` and its neighbours the only user of pynvml."""

from typing import Any, Final

import pynvml

NO_DRIVER: Final = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
OTHER_DRIVER: Final = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
"""The library is of another version than the kernel's module."""
_NOT_THERE: Final = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)

_ACTIONS: Final = {
    pynvml.NVML_GPU_RECOVERY_ACTION_NONE: "",
    pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET: "a reset of the GPU",
    pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT: "a restart of the node",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_P2P: "an end of all work on the GPUs that it is linked with",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET: "a reset of the GPU after its work has ended",
}


def optional(function: str, *args: Any, **named: Any) -> Any:
    """What an NVML function answers; None where this driver or this GPU does not have it."""
    try:
        return getattr(pynvml, function)(*args, **named)
    except pynvml.NVMLError as reason:
        if reason.value in _NOT_THERE:
            return None
        raise


def recovery(index: int) -> str | None:
    """What the driver asks to be done about a GPU; empty: nothing; None: it does not say (before R565)."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        found = optional("nvmlDeviceGetFieldValues", handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    except pynvml.NVMLError:
        return None
    if found is None or found[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return None
    action = int(found[0].value.uiVal)
    return _ACTIONS.get(action, f"recovery action {action}")


def text(value: str | bytes) -> str:
    """Decode what pynvml before its version 11.5 answered in bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
