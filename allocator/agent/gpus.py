"""Where an agent's knowledge of its node's GPUs comes from: one small protocol, so that NVML stays at the edge.

Implementations: `nvml.NvmlGpus` (a real driver), `simulated.SimulatedGpus` (a description file), `AbsentGpus`
(no driver at all). `patience.Patient` puts a deadline around any of them.
"""

from dataclasses import dataclass
from typing import Protocol

from allocator.api.errors import VramshareError
from allocator.api.inventory import Gpu


class GpuError(VramshareError):
    """The node's GPUs cannot be read now; the message says why. They may be readable later."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source says at one moment.

    Attributes:
        gpus: the GPUs in NVML's order.
        driver: version of the NVIDIA driver.
        cuda: version of CUDA that it supports.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""


class GpuSource(Protocol):
    """Reads the node's GPUs. Blocks; may hang as long as a broken driver does."""

    def read(self) -> Reading | None:
        """The GPUs as they are now; None where there is no driver (yet).

        Raises:
            GpuError: there is a driver and it fails.
        """


class AbsentGpus:
    """A node without a driver."""

    def read(self) -> Reading | None:
        """Never anything."""
        return None
