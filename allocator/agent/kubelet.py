"""Finds the containers with slices of a node in the kubelet's folder, and what they use.

    <kubelet>/pods/<uid>/volumes/kubernetes.io~downward-api/vramshare-allocation-<container>/allocation
    <kubelet>/pods/<uid>/volumes/kubernetes.io~empty-dir/vramshare-region/<container>/region

The first is written by the kubelet and says what is allowed; the second by the tenant. Names of pods come from the
folder of their logs, `<namespace>_<pod>_<uid>`, so that no API server is needed to look at a node.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from allocator.agent import region
from allocator.agent.region import Region
from allocator.api import names
from allocator.api.allocation import Slice, parse_allocation_text, tenant_of
from allocator.api.errors import FormatError

T = TypeVar("T")

KUBELET_FOLDERS: Final = (
    "var/lib/kubelet",
    "var/snap/microk8s/common/var/lib/kubelet",
    "var/lib/k0s/kubelet",
)
"""Where distributions keep it, relative to the host's root; k3s and RKE2 use the first."""
LOGS: Final = "var/log/pods"
ALLOCATIONS: Final = "volumes/kubernetes.io~downward-api"
_REGIONS: Final = f"volumes/kubernetes.io~empty-dir/{names.VOLUME_REGION}"
_CONTAINER: Final = re.compile(r"[a-z0-9-]{1,63}")
_LARGEST_ALLOCATION: Final = 1 << 14
"""Bytes. A line for each of 64 GPUs has room in it; a pod that is no tenant writes there what it likes."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container with slices.

    Attributes:
        uid: its pod's UID.
        name: its own name.
        pod: `namespace/name`; the UID where that cannot be found out.
        slices: what it is allowed, as the kubelet wrote it.
        region: what it uses; None while it has not touched a GPU, or where the region cannot be read.
        problem: why something cannot be read; empty: nothing is wrong.
        tenant: what the GPU's timetable calls it; empty: an allocation of before there were timetables.
    """

    uid: str
    name: str
    pod: str
    slices: tuple[Slice, ...]
    region: Region | None
    problem: str = ""
    tenant: str = ""


def kubelet_folder(root: Path) -> Path | None:
    """The kubelet's folder on the host whose file system is at `root`; None where there is none."""
    return next((root / one for one in KUBELET_FOLDERS if (root / one / "pods").is_dir()), None)


def containers(kubelet: Path, *, logs: Path) -> Iterator[Container]:
    """All containers with slices, by pod UID and name."""
    known = named_pods(one.name for one in _entries(logs))
    for pod in _entries(kubelet / "pods"):
        for volume in _entries(pod / ALLOCATIONS):
            if volume.name.startswith(names.VOLUME_ALLOCATION_PREFIX):
                yield _container(pod, volume, shown=known.get(pod.name, pod.name))


def _container(pod: Path, volume: Path, *, shown: str) -> Container:
    name = volume.name.removeprefix(names.VOLUME_ALLOCATION_PREFIX)
    slices: tuple[Slice, ...] = ()
    found: Region | None = None
    problem = tenant = ""
    try:
        slices, tenant = read_allocation(volume)
        name = container_of(volume.name, tenant)
        found = _region(f"{pod}/{_REGIONS}", name, region.read_file)
    except (FormatError, OSError) as reason:
        problem = str(reason)
    return Container(uid=pod.name, name=name, pod=shown, slices=slices, region=found, problem=problem, tenant=tenant)


def container_of(volume: str, tenant: str) -> str:
    """The container that an allocation volume is for.

    Args:
        volume: its name, in which a name of more than 42 characters is cut.
        tenant: what timetables call the container, as its allocation says; it ends in the name in full. In a pod that
            is no tenant it may be anything.
    """
    named = tenant.partition("/")[2]
    if _CONTAINER.fullmatch(named) and names.allocation_volume(named) == volume:
        return named
    return volume.removeprefix(names.VOLUME_ALLOCATION_PREFIX)


def read_allocation(volume: Path) -> tuple[tuple[Slice, ...], str]:
    """What the kubelet wrote into an allocation volume: slices, and what timetables call the container.

    Raises:
        FormatError: it cannot be understood.
        OSError: it cannot be read.
    """
    with (volume / names.ALLOCATION_FILE).open(encoding="utf-8", errors="replace") as stream:
        text = stream.read(_LARGEST_ALLOCATION)
    return parse_allocation_text(text), tenant_of(text)


def read_region(kubelet: Path, uid: str, container: str) -> Region | None:
    """What a container uses; None while it has not touched a GPU.

    Raises:
        FormatError: its region is none.
        OSError: it cannot be reached.
    """
    return _region(f"{kubelet}/pods/{uid}/{_REGIONS}", container, region.read_file)


def activity(kubelet: Path, container: Container) -> dict[str, int]:
    """When a container last launched anything, by GPU (`region.GpuUse.active`); nothing where it cannot be read."""
    with contextlib.suppress(FormatError, OSError):
        volume = f"{kubelet}/pods/{container.uid}/{_REGIONS}"
        return _region(volume, container.name, region.read_activity) or {}
    return {}


def _region(volume: str, container: str, read: Callable[..., T]) -> T | None:
    """A container's region, read; None: there is none. Below the volume all is the tenant's: no link is followed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    outer = inner = -1
    try:
        outer = os.open(volume, flags)
        inner = os.open(container, flags | os.O_NOFOLLOW, dir_fd=outer)
        return read(names.REGION_FILE, folder=inner)
    except FileNotFoundError:
        return None
    finally:
        for descriptor in (inner, outer):
            if descriptor >= 0:
                os.close(descriptor)


def named_pods(folders: Iterable[str]) -> dict[str, str]:
    """`namespace/pod` by UID, from the names of the folders of pods' logs."""
    found = {}
    for folder in folders:
        parts = folder.split("_")
        if len(parts) == 3:
            found[parts[2]] = f"{parts[0]}/{parts[1]}"
    return found


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing where there is none (a pod may end at any moment)."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
