"""Calls of NVML whose absence is no failure. With `nvml` and its neighbours the only user of pynvml."""

from typing import Any, Final

import pynvml

NO_DRIVER: Final = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
_NOT_THERE: Final = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)


def optional(function: str, *args: Any, **named: Any) -> Any:
    """What an NVML function answers; None where this driver or this GPU does not have it."""
    try:
        return getattr(pynvml, function)(*args, **named)
    except pynvml.NVMLError as reason:
        if reason.value in _NOT_THERE:
            return None
        raise


def text(value: str | bytes) -> str:
    """Decode what pynvml before its version 11.5 answered in bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
