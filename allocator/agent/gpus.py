"""Where an agent's knowledge of its node's GPUs comes from: one small protocol, so that NVML stays at the edge.

Implementations: `nvml.NvmlGpus` (a real driver), `simulated.SimulatedGpus` (a description file), `AbsentGpus`
(no driver at all). `patience.Patient` puts a deadline around any call of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from allocator.api.errors import VramshareError
from allocator.api.inventory import Gpu


class GpuError(VramshareError):
    """The node's GPUs cannot be read now; the message says why. They may be readable later."""


class OutsideError(GpuError):
    """The host has a driver of which this container has no library, or that of another one; a new container may."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source says at one moment.

    Attributes:
        gpus: the GPUs in NVML's order.
        driver: version of the NVIDIA driver.
        cuda: version of CUDA that it supports.
        actions: what the driver asks to be done about a GPU, by UUID; empty: nothing. Older drivers do not say.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    actions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that uses a GPU.

    Attributes:
        pid: as the host counts, if the agent shares the host's PID namespace.
        memory: bytes that it holds there; None: the driver does not tell.
    """

    pid: int
    memory: int | None


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """What goes on on one GPU at one moment. None: this GPU or this driver does not tell.

    Attributes:
        uuid: the GPU.
        processes: those that use it, each once.
        used: bytes taken by everybody, without the driver's reserve.
        free: bytes left.
        utilisation: 0 to 1: part of the time in which something ran.
        temperature: degrees Celsius.
        power: watts.
        problem: why its processes are not known; empty: they are.
    """

    uuid: str
    processes: tuple[GpuProcess, ...] = ()
    used: int | None = None
    free: int | None = None
    utilisation: float | None = None
    temperature: float | None = None
    power: float | None = None
    problem: str = ""


class GpuSource(Protocol):
    """Reads the node's GPUs. Blocks; may hang as long as a broken driver does."""

    def read(self) -> Reading | None:
        """The GPUs as they are now; None where there is no driver (yet).

        Raises:
            GpuError: there is a driver and it fails.
        """

    def usage(self) -> tuple[GpuUsage, ...]:
        """What goes on on them now; nothing where there is no driver, or before the first `read`.

        Raises:
            GpuError: there is a driver and it fails.
        """


class AbsentGpus:
    """A node without a driver."""

    def read(self) -> Reading | None:
        """Never anything."""
        return None

    def usage(self) -> tuple[GpuUsage, ...]:
        """Never anything."""
        return ()
