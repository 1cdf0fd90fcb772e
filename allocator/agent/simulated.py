"""GPUs out of a description file, for nodes that have none. Simulation's marked edge in the agent.

What processes hold of them stands in the fake driver's books (`simulated_books`), where these are to be seen. The
file is the one that the fake driver reads (native/tests/fakegpu): INI, a section per GPU named by its UUID,
with `model`, `memory` and optionally `reserve` (256Mi). What else stands there concerns the fake driver alone.
Read again at each turn, so that an edit is a GPU that changes.
"""

import configparser
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from allocator.agent.gpus import GpuError, GpuProcess, GpuUsage, Reading
from allocator.agent.simulated_books import Holding, holdings
from allocator.api.inventory import Gpu
from allocator.api.quantities import Memory, QuantityError

DRIVER: Final = "simulated"
"""Stands in the inventory where a driver's version would, so that nobody mistakes the node for a real one."""
STATE: Final = "/run/fakegpu"
"""Where a simulated node's fake driver keeps its state, in the node's own view."""
_UUID: Final = re.compile(r"GPU-[-A-Za-z0-9]{1,80}")


class SimulatedGpus:
    """The GPUs of a description file.

    Args:
        file: the description.
        books: the fake driver's, in its state folder; they need not exist.
        now: CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(
        self, file: Path, *, books: Path = Path(STATE, "books"), now: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._file = file
        self._books = books
        self._now = now

    def read(self) -> Reading | None:
        """The file's GPUs; None while the file does not exist.

        Raises:
            GpuError: the file cannot be read; says which section and line.
        """
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as reason:
            raise GpuError(f"{self._file}: cannot be read: {reason}") from None
        return Reading(gpus=parse_description(text, where=str(self._file)), driver=DRIVER)

    def usage(self) -> tuple[GpuUsage, ...]:
        """What the books say.

        Raises:
            GpuError: description or books cannot be read.
        """
        try:
            held, reading = holdings(self._books), self.read()
        except (OSError, UnicodeDecodeError) as reason:
            raise GpuError(f"{self._books}: cannot be read: {reason}") from None
        return tuple(_usage(gpu, held, now=self._now()) for gpu in (reading.gpus if reading else ()))


def _usage(gpu: Gpu, held: Iterable[Holding], *, now: int) -> GpuUsage:
    mine = [one for one in held if one.uuid == gpu.uuid]
    used = sum(one.memory for one in mine)
    return GpuUsage(
        uuid=gpu.uuid,
        processes=tuple(GpuProcess(pid=one.pid, memory=one.memory) for one in mine),
        used=used,
        free=max(0, gpu.capacity.count - used),
        utilisation=float(any(one.busy > now for one in mine)),
    )


def parse_description(text: str, *, where: str) -> tuple[Gpu, ...]:
    """Read a description of simulated GPUs, in the order of its sections.

    Raises:
        GpuError: names the section, the value and what to write instead.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text, source=where)
    except configparser.Error as reason:
        raise GpuError(f"{where}: not an INI file: {' '.join(str(reason).split())}") from None
    return tuple(_gpu(index, uuid, parser[uuid], where=where) for index, uuid in enumerate(parser.sections()))


def _gpu(index: int, uuid: str, section: Mapping[str, str], *, where: str) -> Gpu:
    if not _UUID.fullmatch(uuid):
        raise GpuError(f"{where}: section [{uuid}]: not a GPU's UUID; write for example [GPU-00000000-0001]")
    model = section.get("model", "").strip()
    if not model:
        raise GpuError(f"{where}: section [{uuid}]: no model; write for example model = Tesla T4")
    sizes = {}
    for name, absent in (("memory", ""), ("reserve", "256Mi")):
        value = section.get(name, absent).strip()
        try:
            sizes[name] = Memory.parse(value)
        except QuantityError as reason:
            raise GpuError(f"{where}: section [{uuid}]: {name} is {value!r}: {reason}") from None
    return Gpu(uuid=uuid, index=index, model=model, memory=sizes["memory"], reserve=sizes["reserve"])
