"""Publishes the timetable of each GPU of the node: who may launch when.

Tenants are the containers that the kubelet's folder shows; what they are allowed is the kubelet's word, only the
length of their units of work is their own, and is bounded. A table is replaced by rename and only when it changes. It
needs no agent to stay valid.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from allocator.agent.interposer import replace
from allocator.agent.kubelet import Container
from allocator.api import names
from allocator.core.timetable import LONGEST_CYCLE, Tenant, Timetable, build

LONGEST_UNIT: Final = LONGEST_CYCLE
"""A tenant that claims longer units of work is not believed: it would only lengthen everybody's cycle."""


@dataclass(slots=True)
class Timetables:
    """Keeps `<host_dir>/gpus/<uuid>` true.

    Attributes:
        host_dir: the folder that containers mount.
        look: lists the node's containers with slices.
    """

    host_dir: Path
    look: Callable[[], Iterable[Container]]
    _published: dict[str, Timetable] = field(default_factory=dict)

    def update(self) -> None:
        """Look at the node, publish what has changed, remove what nobody needs any more.

        Raises:
            OSError: the folder cannot be written; the next call tries again.
        """
        tables = tables_of(list(self.look()))
        folder = self.host_dir / names.HOST_TIMETABLES
        for uuid, table in tables.items():
            if self._published.get(uuid) != table:
                replace(folder / uuid, table.to_text().encode())
                self._published[uuid] = table
        for left in self._listed(folder) - tables.keys():
            (folder / left).unlink(missing_ok=True)
            self._published.pop(left, None)

    def _listed(self, folder: Path) -> set[str]:
        """GPUs that have a table now, also those that an agent before this one left."""
        with contextlib.suppress(FileNotFoundError):
            return {one.name for one in folder.iterdir() if not one.name.startswith(".")}
        return set()


def tables_of(containers: Iterable[Container]) -> dict[str, Timetable]:
    """The tables that a node's containers need."""
    tenants: dict[str, Tenant] = {}
    longest: dict[str, int] = {}
    for one in containers:
        if one.tenant:
            tenants[one.tenant] = Tenant(name=one.tenant, cores={part.uuid: part.cores for part in one.slices})
        for gpu in one.region.gpus if one.region else ():
            longest[gpu.uuid] = max(longest.get(gpu.uuid, 0), min(gpu.longest_unit, LONGEST_UNIT))
    return build(tenants.values(), longest)
